#!/usr/bin/env bash
# Downloads the wheel of silero-vad, a model that tells speech from other sounds (MIT), checks its hash, unpacks it into
# the cache and prints the folder of its ONNX files. A second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

folder=$(unpacked_wheel silero-vad 6.2.3 7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8 "11 MB")
printf '%s\n' "$folder/silero_vad/data"
