#!/usr/bin/env bash
# The numbers and pictures of docs/gradients.md: makes the adding problem over 200 steps, trains a network of each cell
# on it, prints a table, and writes the pictures into docs/ (DOCS names another folder). Output is under out/gradients.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

need_kolk
need_python
export KOLK_OUT="${KOLK_OUT:-$root/out/gradients}"
rm -rf "$KOLK_OUT"
mkdir -p "$KOLK_OUT"
"$python" scripts/gradients.py data "$KOLK_OUT/adding.parquet" 10000 200

names=(rnn_sgd rnn_sgd_clipped rnn lstm gru)
for name in "${names[@]}"; do
    say "train pipelines/gradients/$name.yaml"
    # One of them fails: that is what it shows.
    "$kolk" train "pipelines/gradients/$name.yaml" >"$KOLK_OUT/$name.txt" 2>"$KOLK_OUT/$name.log" || true
done
"$python" scripts/gradients.py table "$KOLK_OUT/models" "${DOCS:-docs}" "${names[@]}"
