#!/usr/bin/env bash
# Makes the published versions in models/: trains the pipelines whose data are in the repository, each from an empty
# registry, so that all of them are version 1. On the machine that models/made_on describes the bytes are those that
# are there; a test compares them.
#
# usage: scripts/make_models.sh [FOLDER]    (models/; another folder is written instead)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
to=$(realpath -m "${1:-$root/models}")
cd "$root"

need_kolk
need_onnxruntime
work=$(mktemp -d "${TMPDIR:-/tmp}/kolk-models.XXXXXX")
finish() { rm -rf "$work"; }
at_end finish

# Of the time zones those that are compiled in, whatever the machine has.
mkdir "$work/no-zones"
export TZDIR="$work/no-zones"

# What the bits of a training depend on besides the program: the processor's features, and the sizes of its caches, by
# which sums are cut.
made_on() {
    local features="" name index level kind
    for name in avx avx2 fma avx512f avx512vnni; do
        # /proc/cpuinfo has some names with an underscore.
        if grep -m 1 '^flags' /proc/cpuinfo | tr -d _ | grep -qw "$name"; then features+=" $name"; fi
    done
    printf 'cpu: %s%s\n' "$(uname -m)" "$features"
    for index in /sys/devices/system/cpu/cpu0/cache/index*; do
        [[ -r $index/size ]] || continue
        level=$(<"$index/level") kind=$(<"$index/type")
        [[ $kind != Instruction ]] || continue
        printf 'cache %s: %s, %s ways, lines of %s\n' "$level" "$(<"$index/size")" \
            "$(<"$index/ways_of_associativity")" "$(<"$index/coherency_line_size")"
    done
}

mkdir -p "$to"
for name in weather-gru weather-lstm weather-rnn; do
    KOLK_OUT="$work" KOLK_LOG=error "$kolk" train "pipelines/${name//-/_}.yaml" >/dev/null 2>"$work/log" ||
        { cat "$work/log" >&2; exit 1; }
    rm -rf "${to:?}/$name"
    cp -r "$work/models/$name" "$to/$name"
    printf '%9s bytes  %s/1\n' "$(du -sb --apparent-size "$to/$name" | cut -f 1)" "$name"
done
made_on >"$to/made_on"
