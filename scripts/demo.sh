#!/usr/bin/env bash
# The demo. For each of the three cells: train on the past, print the model, check the pipeline, run it over the future.
# All output is under out/demo, which is emptied first. DEMO=short: only the GRU.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

need_kolk
out=out/demo
export KOLK_OUT="$root/$out"
rm -rf "$out"
mkdir -p "$out"

cells=(lstm gru rnn)
if [[ ${DEMO:-} == short ]]; then
    cells=(gru)
fi

show() {
    printf '\n$ kolk %s\n' "$*"
    "$kolk" "$@"
}

for cell in "${cells[@]}"; do
    pipeline=pipelines/weather_$cell.yaml
    show train "$pipeline"
    show summary "$pipeline"
    show check "$pipeline"
    show run "$pipeline"
done
show models --models "$out/models" list

printf '\nErrors on the held-out weeks, and those of the naive forecasts:\n'
python3 scripts/results.py "$out/models"

printf '\nFiles under %s:\n' "$out"
find "$out" -path "$out/state" -prune -o -type f -printf '%10s  %p\n' | sort -k 2
printf '%10s  %s\n' "$(du -sb "$out/state" | cut -f 1)" "$out/state (the state per key: kolk state list PIPELINE)"
printf '\nPictures of the forecasts, to open in a browser:\n'
find "$out/models" -name report.html | sort
