#!/usr/bin/env bash
# A hundred Adam steps of every cell in Keras and PyTorch, made now, and the same in kolk: prints how far each tensor is
# away by its norm, and fails beyond 1e-4.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

peers=$(scripts/peers.sh)
mkdir -p "$cache"
KOLK_PARITY=$(mktemp -d "$cache/parity.XXXXXX")
export KOLK_PARITY
remove() { rm -rf "$KOLK_PARITY"; }
at_end remove
"$peers" benches/peers/parity.py tests/fixtures "$KOLK_PARITY"
cargo test --release --locked --lib -- --nocapture --test-threads=1 train::parity_tests::a_hundred_updates
