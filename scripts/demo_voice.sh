#!/usr/bin/env bash
# Speech or not, of many callers at once: silero-vad's ONNX file, imported, on sound that comes in through Kafka. In
# between the process is killed. Then each probability is compared with those of a loop in Python.
#
# usage: scripts/demo_voice.sh [CALLERS [SECONDS]]    (1000 callers, 8 s of sound of each; small numbers for a try)
#
# KOLK_KAFKA names a broker that runs already; without it the demo starts its own and stops it at the end.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

callers=${1:-${CALLERS:-1000}}
seconds=${2:-${LENGTH:-8}}
kolk="${CARGO_TARGET_DIR:-$cache/target}/release/kolk"
[[ -x $kolk ]] || die "no $kolk: run make build first"
out=out/demo-voice
export KOLK_OUT="$root/$out"
ORT_DYLIB_PATH=$(scripts/onnxruntime.sh 2>/dev/null) || die "no ONNX Runtime: run make onnxruntime first"
export ORT_DYLIB_PATH
rm -rf "$out"
mkdir -p "$out"

python=$(scripts/python.sh 2>/dev/null) || die "no Python of the tests: scripts/python.sh says why"
silero=$(scripts/silero.sh)
cp "$silero/silero_vad_16k_op15.onnx" "$out/"

own=""
stop() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n $own ]]; then scripts/kafka.sh clean || true; fi
    exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [[ -z ${KOLK_KAFKA:-} ]]; then
    export KOLK_KAFKA_DIR="$cache/kafka/demo-$$"
    own=yes
    KOLK_KAFKA=$(scripts/kafka.sh start)
    export KOLK_KAFKA
fi

cat >"$out/voice.card.yaml" <<'YAML'
onnx: silero_vad_16k_op15.onnx
name: voice
layout: step
inputs:
  input: { columns: [pcm], shape: [batch, 576] }
  sr: { constant: 16000 }
states:
  state: { out: stateN, shape: [2, batch, 128], init: zero }
outputs:
  output: { column: speech }
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
"$python" scripts/demo_voice.py "$kolk" pipelines/voice_kafka.yaml "$out" \
    --callers "$callers" --seconds "$seconds" "${speech[@]}"
