#!/usr/bin/env bash
# Training of kolk beside PyTorch's CPU modules: one run, both in turn (benches/peers/compare.py). Without PyTorch, kolk
# alone.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

bench=$(cargo bench --locked --bench train --no-run --message-format json-render-diagnostics |
    sed -n 's/.*"name":"train".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[[ -x $bench ]] || die "the bench was not built"
peers=$(scripts/peers.sh) || say "PyTorch could not be had: kolk alone"
python=$(pip_python)
"$python" benches/peers/compare.py "$bench" ${peers:+"$peers"}
