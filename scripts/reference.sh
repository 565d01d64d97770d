#!/usr/bin/env bash
# Imports every ONNX file of a folder from the card that `kolk models inspect` proposes, compares each with what the
# framework gave (an .npz of the same name or the beginning of it), and prints a table: imported or refused, why, and
# how large the difference is. It fails if one is refused that isn't unrolled, or differs by more than 1e-6 of its
# largest number.
#
# usage: scripts/reference.sh [FOLDER]    ($KOLK_REFERENCE, else the exports of Keras and PyTorch in tests/fixtures)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

folder=${1:-${KOLK_REFERENCE:-$root/tests/fixtures}}
kolk="${CARGO_TARGET_DIR:-$cache/target}/release/kolk"
[[ -x $kolk ]] || die "no $kolk: run make build first"
ORT_DYLIB_PATH=$("$root/scripts/onnxruntime.sh" 2>/dev/null) || die "no ONNX Runtime: run make onnxruntime first"
export ORT_DYLIB_PATH
python=$("$root/scripts/python.sh" 2>/dev/null) || die "no Python of the tests: scripts/python.sh says why"
"$python" "$root/scripts/reference.py" "$kolk" "$folder"
