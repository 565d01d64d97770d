#!/usr/bin/env bash
# Downloads ONNX Runtime's shared library from the official wheel on PyPI and prints its path. onnxruntime.version pins
# the version, scripts/onnxruntime.sha256 the hashes of the wheels. A second run does nothing and needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

if [[ -n ${ORT_DYLIB_PATH:-} ]]; then
    [[ -f $ORT_DYLIB_PATH ]] || die "ORT_DYLIB_PATH names $ORT_DYLIB_PATH, which does not exist: unset it or correct it"
    say "ONNX Runtime: $ORT_DYLIB_PATH (from ORT_DYLIB_PATH)"
    printf '%s\n' "$ORT_DYLIB_PATH"
    exit
fi

version=$(<"$root/onnxruntime.version")
folder="$cache/onnxruntime/$version/lib"
machine=$(uname -m)
[[ -f $folder/libonnxruntime.so.$version || ($(uname -s) == Linux && ($machine == x86_64 || $machine == aarch64)) ]] ||
    die "no pinned ONNX Runtime for $(uname -s) $machine: get version $version yourself and set ORT_DYLIB_PATH to its library"
onnxruntime_wheel onnxruntime "$version" "$folder" "$machine" "ONNX Runtime $version" "20 MB" \
    ", or set ORT_DYLIB_PATH to a library of version $version"
