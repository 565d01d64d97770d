#!/usr/bin/env bash
# Downloads ONNX Runtime with CUDA from the official wheel on PyPI and prints its library's path. onnxruntime.version pins
# the version, scripts/onnxruntime_gpu.sha256 the wheel's hash. CUDA and cuDNN are not in it: `kolk check` names what is
# missing. A second run does nothing and needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

version=$(<"$root/onnxruntime.version")
name="libonnxruntime.so.$version"
folder="$cache/onnxruntime-gpu/$version/lib"
if [[ -f $folder/$name ]]; then
    say "ONNX Runtime $version with CUDA: $folder/$name"
    printf '%s\n' "$folder/$name"
    exit
fi

machine=$(uname -m)
[[ $(uname -s) == Linux && $machine == x86_64 ]] || die "no pinned ONNX Runtime with CUDA for $(uname -s) $machine"

python=$(pip_python)
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "ONNX Runtime $version with CUDA: downloading the official wheel from PyPI, once (about 256 MB)"
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
    --platform "manylinux_2_28_$machine" --python-version 3.12 --implementation cp \
    --dest "$work" "onnxruntime-gpu==$version" >&2 ||
    die "the wheel could not be downloaded: try again with a network"
(cd "$work" && sha256sum --check --strict --quiet "$root/scripts/onnxruntime_gpu.sha256" >&2) ||
    die "the wheel is not the pinned one (scripts/onnxruntime_gpu.sha256): nothing was installed"

"$python" - "$work" "$name" <<'PY'
import pathlib, sys, zipfile

work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = work.glob("*.whl")
capi = "onnxruntime/capi"
members = [f"{capi}/{name}", f"{capi}/libonnxruntime_providers_cuda.so", f"{capi}/libonnxruntime_providers_shared.so"]
with zipfile.ZipFile(wheel) as archive:
    for member in members + ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"]:
        with archive.open(member) as packed, open(work / pathlib.Path(member).name, "wb") as unpacked:
            while piece := packed.read(1 << 24):
                unpacked.write(piece)
PY
# The library comes last and by rename: it is there completely or not at all.
mv "$work/LICENSE" "$work/ThirdPartyNotices.txt" "$work"/libonnxruntime_providers_*.so "$folder/"
chmod 755 "$work/$name"
mv "$work/$name" "$folder/$name"
say "ONNX Runtime $version with CUDA: $folder/$name"
printf '%s\n' "$folder/$name"
