#!/usr/bin/env bash
# Downloads ONNX Runtime with CUDA from the official wheel on PyPI and prints its library's path. onnxruntime.version pins
# the version, scripts/onnxruntime_gpu.sha256 the wheel's hash. CUDA and cuDNN are not in it: `kolk check` names what is
# missing. A second run does nothing and needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

version=$(<"$root/onnxruntime.version")
folder="$cache/onnxruntime-gpu/$version/lib"
machine=$(uname -m)
[[ -f $folder/libonnxruntime.so.$version || ($(uname -s) == Linux && $machine == x86_64) ]] ||
    die "no pinned ONNX Runtime with CUDA for $(uname -s) $machine"
onnxruntime_wheel onnxruntime-gpu "$version" "$folder" "$machine" "ONNX Runtime $version with CUDA" "256 MB" "" \
    libonnxruntime_providers_cuda.so libonnxruntime_providers_shared.so
