#!/usr/bin/env bash
# Speech for the demo: Debian's espeak-ng and the libraries that it needs, unpacked into the cache, without root. Writes
# sentences of several voices as WAV files into the given folder. Fails where there is no apt, or no network at first.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

[[ -n ${1:-} ]] || die "usage: scripts/espeak.sh FOLDER"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
unpacked="$cache/espeak-ng"

unpack() {
    local new packages=()
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || die "no apt-get and dpkg here: no espeak-ng"
    # What apt would install: espeak-ng with all that isn't there yet.
    mapfile -t packages < <(apt-get -o Debug::NoLocking=1 --print-uris -qq --no-install-recommends install espeak-ng |
        awk '{ sub(/_.*/, "", $2); print $2 }')
    ((${#packages[@]} > 0)) || die "apt-get knows no espeak-ng: apt-get update"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/espeak-ng.XXXXXX")
    (cd "$new" && apt-get download -qq "${packages[@]}" >&2) ||
        { rm -rf "$new"; die "espeak-ng could not be downloaded"; }
    for package in "$new"/*.deb; do dpkg -x "$package" "$new"; done
    rm -f "$new"/*.deb
    mv -T "$new" "$unpacked"
}

espeak=espeak-ng
if ! command -v espeak-ng >/dev/null; then
    [[ -d $unpacked ]] || unpack
    espeak="$unpacked/usr/bin/espeak-ng"
    libraries=$(dirname "$(find "$unpacked/usr/lib" -name 'libespeak-ng.so.1' | head -n 1)")
    export LD_LIBRARY_PATH="$libraries:$libraries/pulseaudio" ESPEAK_DATA_PATH="$libraries/espeak-ng-data"
fi

sentences=(
    "Good morning, you have reached the flower shop. How can I help you?"
    "I would like to order twelve roses for Saturday, please."
    "Could you tell me your address once more? The line is very bad."
    "It is the third house on the left, behind the railway station."
    "Thank you very much. We will call you as soon as they are on their way."
    "No."
)
for voice in en-us en-us+m3 en-us+m7 en-us+f2 en-us+f4; do
    for number in "${!sentences[@]}"; do
        "$espeak" -v "$voice" -s $((140 + 15 * (number % 3))) -w "$folder/$voice-$number.wav" "${sentences[number]}"
    done
done
