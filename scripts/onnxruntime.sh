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
name="libonnxruntime.so.$version"
folder="$cache/onnxruntime/$version/lib"
if [[ -f $folder/$name ]]; then
    say "ONNX Runtime $version: $folder/$name"
    printf '%s\n' "$folder/$name"
    exit
fi

machine=$(uname -m)
[[ $(uname -s) == Linux && ($machine == x86_64 || $machine == aarch64) ]] ||
    die "no pinned ONNX Runtime for $(uname -s) $machine: get version $version yourself and set ORT_DYLIB_PATH to its library"

python=$(pip_python)
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "ONNX Runtime $version: downloading the official wheel from PyPI, once (about 20 MB)"
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
    --platform "manylinux_2_28_$machine" --python-version 3.12 --implementation cp \
    --dest "$work" "onnxruntime==$version" >&2 ||
    die "the wheel could not be downloaded: try again with a network, or set ORT_DYLIB_PATH to a library of version $version"
(cd "$work" && sha256sum --check --strict --quiet --ignore-missing "$root/scripts/onnxruntime.sha256" >&2) ||
    die "the wheel is not the pinned one (scripts/onnxruntime.sha256): nothing was installed"

"$python" - "$work" "$name" <<'PY'
import pathlib, sys, zipfile

work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for member in [f"onnxruntime/capi/{name}", "onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"]:
        (work / pathlib.Path(member).name).write_bytes(archive.read(member))
PY
# The library comes last and by rename: it is there completely or not at all.
mv "$work/LICENSE" "$work/ThirdPartyNotices.txt" "$folder/"
chmod 755 "$work/$name"
mv "$work/$name" "$folder/$name"
say "ONNX Runtime $version: $folder/$name"
printf '%s\n' "$folder/$name"
