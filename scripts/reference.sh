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
need_kolk
need_onnxruntime
need_python
"$python" "$root/scripts/reference.py" "$kolk" "$folder"
