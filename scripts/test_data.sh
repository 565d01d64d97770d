#!/usr/bin/env bash
# Trains and runs a pipeline on each of six real data sets in $KOLK_DATA (they stay out of the repository), on three of
# them one with defaults alone too, and prints the table of errors on held-out time. All output is under out/data, which
# is emptied first. Arguments: names of pipelines, to run only those.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

[[ -n ${KOLK_DATA:-} ]] || die "KOLK_DATA is not set: the folder with forecast_etth1.parquet and the other sets"
export KOLK_DATA
KOLK_DATA=$(cd "$KOLK_DATA" && pwd)
need_kolk
out=out/data
export KOLK_OUT="$root/$out"
rm -rf "$out"
mkdir -p "$out"

sets=("$@")
if ((${#sets[@]} == 0)); then
    sets=(etth1 nab gafa aus_retail beijing_pm25 vic_elec defaults/{gafa,aus_retail,beijing_pm25})
fi
for set in "${sets[@]}"; do
    pipeline=pipelines/$set.yaml
    for command in train check run; do
        printf '\n$ kolk %s %s\n' "$command" "$pipeline"
        SECONDS=0
        "$kolk" "$command" "$pipeline"
        printf '(%s: %d s)\n' "$command" "$SECONDS"
    done
done

printf '\n'
python3 scripts/results.py "$out/models"
