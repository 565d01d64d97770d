#!/usr/bin/env bash
# Downloads the wheel of silero-vad, a model that tells speech from other sounds (MIT), checks its hash, unpacks it into
# the cache and prints the folder of its ONNX files. A second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

version=6.2.3
sha256=7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8
folder="$cache/silero-vad/$version"
if [[ ! -d $folder ]]; then
    python=$(pip_python)
    mkdir -p "$cache/silero-vad"
    new=$(mktemp -d "$cache/silero-vad/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    say "silero-vad $version: downloading, once (11 MB)"
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --dest "$new" \
        "silero-vad==$version" >&2 || die "silero-vad could not be downloaded: try again with a network"
    wheel=$(echo "$new"/*.whl)
    printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet >&2 ||
        die "$wheel is another file than the pinned one"
    "$python" -m zipfile -e "$wheel" "$new/unpacked"
    mv -T "$new/unpacked" "$folder"
fi
printf '%s\n' "$folder/silero_vad/data"
