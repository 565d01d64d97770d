#!/usr/bin/env bash
# Speech or not, of many callers at once: silero-vad's ONNX file, imported, on sound that comes in through Kafka. In
# between the process is killed. Then each probability is compared with those of a loop in Python.
#
# usage: scripts/demo_voice.sh [CALLERS [SECONDS]]    (1000 callers, 8 s of sound of each; small numbers for a try)
#
# EXPORT names another of the six ONNX files of silero-vad, such as silero_vad.onnx.
# KOLK_KAFKA names a broker that runs already; without it the demo starts its own and stops it at the end.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

callers=${1:-${CALLERS:-1000}}
seconds=${2:-${LENGTH:-8}}
export=${EXPORT:-silero_vad_16k_op15.onnx}
need_kolk
out=out/demo-voice
export KOLK_OUT="$root/$out"
need_onnxruntime
rm -rf "$out"
mkdir -p "$out"

need_python
silero=$(scripts/silero.sh)
[[ -f $silero/$export ]] || die "silero-vad has no $export: $(cd "$silero" && echo ./*.onnx)"
cp "$silero/$export" "$out/"

own=""
stop() {
    if [[ -n $own ]]; then scripts/kafka.sh clean || true; fi
}
at_end stop

if [[ -z ${KOLK_KAFKA:-} ]]; then
    export KOLK_KAFKA_DIR="$cache/kafka/demo-$$"
    own=yes
    KOLK_KAFKA=$(scripts/kafka.sh start)
    export KOLK_KAFKA
fi

# Not all of them have the same inputs and states.
layout=step rate="sr: { constant: 16000 }" output=output
states="state: { out: stateN, shape: [2, batch, 128], init: zero }"
input="input: { columns: [pcm], shape: [batch, 576] }"
case $export in
    *half* | *openvino*) rate="" ;;
    *sequence*)
        layout=time_only rate="" output=speech_probs
        input="input: { columns: [pcm], shape: [time, 576] }"
        states="h: { out: hn, shape: [1, batch, 128] }
  c: { out: cn, shape: [1, batch, 128] }"
        ;;
esac
cat >"$out/voice.card.yaml" <<YAML
onnx: $export
name: voice
layout: $layout
inputs:
  $input
  $rate
states:
  $states
outputs:
  $output: { column: speech }
YAML
printf '\n$ kolk models import %s --models %s\n' "$out/voice.card.yaml" "$out/models"
"$kolk" models import "$out/voice.card.yaml" --models "$out/models" 2>"$out/import.log" ||
    { cat "$out/import.log" >&2; exit 1; }

speech=()
if scripts/espeak.sh "$out/speech" >"$out/espeak.log" 2>&1; then
    speech=(--speech "$out/speech")
else
    say "no speech: $(tail -n 1 "$out/espeak.log")"
    say "instead of speech there are bursts of synthetic sound: the comparison holds, the picture says little"
fi
"$python" scripts/demo_voice.py "$kolk" pipelines/voice_kafka.yaml "$out" "$export" \
    --callers "$callers" --seconds "$seconds" "${speech[@]}"
