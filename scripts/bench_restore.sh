#!/usr/bin/env bash
# How long a killed run with many keys takes to be at the head of its topic again: starts a Kafka of its own, lets kolk take
# KEYS (1,000,000) keys of an LSTM(UNITS) (50), and then, for each number in REPLAY ("0 50000 200000 1000000"), kills it with that many records
# behind its last checkpoint and starts it again. Prints a row of a table for each. Needs what `make test` needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

kolk="${CARGO_TARGET_DIR:-$cache/target}/release/kolk"
[[ -x $kolk ]] || die "no $kolk: run make build first"
keys=${KEYS:-1000000} units=${UNITS:-50}
read -ra replays <<<"${REPLAY:-0 50000 200000 1000000}"
ORT_DYLIB_PATH=$(scripts/onnxruntime.sh 2>/dev/null)
export ORT_DYLIB_PATH KOLK_KAFKA_DIR="$cache/kafka/bench-$$"
work=$(mktemp -d "$cache/bench.XXXXXX")
port=${KOLK_HTTP_PORT:-19464}

running=""
stop() {
    local code=$?
    trap - EXIT
    if [[ -n $running ]]; then kill -KILL "$running" 2>/dev/null || true; fi
    scripts/kafka.sh clean || true
    rm -rf "$work"
    exit "$code"
}
trap stop EXIT

"$(scripts/python.sh)" - "$work/train.parquet" <<'PYTHON'
import sys, math, pyarrow as pa, pyarrow.parquet as pq
rows = [(f"k{k}", t, math.sin(t / 5 + k)) for k in range(20) for t in range(200)]
key, ts, value = zip(*rows)
pq.write_table(pa.table({"key": key, "ts": pa.array(ts, pa.int64()), "value": value}), sys.argv[1])
PYTHON
cat >"$work/train.yaml" <<YAML
name: bench
source: { parquet: { path: train.parquet } }
record: { key: key, time: ts, values: [value] }
stages: [ infer: { model: m, mode: carry } ]
train: { target: value, layers: [ { lstm: $units } ], epochs: 1 }
YAML
"$kolk" train "$work/train.yaml" >/dev/null 2>&1

address=$(scripts/kafka.sh start)
for topic in bench-in bench-out bench-dead; do scripts/kafka.sh topic "$topic" >/dev/null; done
pipeline() {
    cat <<YAML
name: bench
source: { kafka: { brokers: "$address", topic: bench-in, group: bench, key: key, properties: { session.timeout.ms: 6000 } } }
record: { key: key, time: { column: ts, unit: step }, values: [value] }
stages: [ infer: { model: m, mode: carry } ]
sink: { kafka: { topic: bench-out, fields: [value] } }
dead_letters: { kafka: { topic: bench-dead } }
state: { checkpoint_every: $1, or_records: 100000000 }
YAML
}
send() { # from to time
    awk -v from="$1" -v to="$2" -v t="$3" 'BEGIN { for (i = from; i < to; i++) printf "sensor-%07d:{\"ts\":%d,\"value\":0.%d}\n", i, t, i % 1000 }' |
        kcat -b "$address" -t bench-in -P -K: -X topic.partitioner=murmur2_random -X queue.buffering.max.messages=1000000
}
metric() { curl --silent --max-time 2 "http://127.0.0.1:$port/metrics" | awk -v name="$1" '$1 ~ "^" name { sum += $2 } END { printf "%d\n", sum }'; }
start() { # checkpoint interval
    pipeline "$1" >"$work/kafka.yaml"
    "$kolk" run "$work/kafka.yaml" --http "127.0.0.1:$port" 2>>"$work/log" &
    running=$!
}
reach() { # records
    until [[ $(metric kolk_records_out_total) -ge $1 ]]; do
        kill -0 "$running" 2>/dev/null || { tail -n 5 "$work/log" >&2; die "kolk ended"; }
        sleep 0.1
    done
}

say "sending $keys keys"
send 0 "$keys" 1
began=$(date +%s.%N)
start 1h
reach "$keys"
ended=$(date +%s.%N)
awk -v a="$began" -v b="$ended" -v n="$keys" 'BEGIN { printf "first pass: %d keys in %.1f s (%d a second, the start included)\n", n, b - a, n / (b - a) }'
kill -TERM "$running"; wait "$running" || true
megabytes=$(du -sm "$work/state" | cut -f1)

printf '| keys | units | checkpoints, MB | records behind | replayed | seconds |\n|---|---|---|---|---|---|\n'
step=2
for replay in "${replays[@]}"; do
    # Behind the checkpoint of the clean stop: records that only a replay brings back.
    start 1h
    for ((sent = 0; sent < replay; sent += keys)); do
        left=$((replay - sent))
        send 0 "$((left < keys ? left : keys))" "$step"
        step=$((step + 1))
    done
    if ((replay > 0)); then reach "$replay"; fi
    sleep 1
    kill -KILL "$running"; wait "$running" 2>/dev/null || true
    # The group has to notice first that the member is gone; that is Kafka's session, not the restore.
    sleep 8
    send 0 1000 "$step"
    step=$((step + 1))
    began=$(date +%s.%N)
    start 1h
    reach 1000
    ended=$(date +%s.%N)
    seconds=$(awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.1f", b - a }')
    printf '| %d | %d | %d | %d | %d | %s |\n' "$keys" "$units" "$megabytes" "$replay" "$(metric kolk_replayed_messages_total)" "$seconds"
    kill -TERM "$running"; wait "$running" || true
done
running=""
