# shellcheck shell=bash
# Shared by the benches on Kafka, which source it after lib.sh: a broker and a folder, a hardly trained LSTM(UNITS), the
# pipeline from JSON to JSON, and the metrics of a run. Everything is stopped at the end.

# KOLK: another binary, to compare two versions.
KOLK_BINARY="${KOLK:-${KOLK_BINARY:-}}"
need_kolk
units=${UNITS:-50}
need_onnxruntime
export KOLK_KAFKA_DIR="$cache/kafka/bench-$$"
work=$(mktemp -d "$cache/bench.XXXXXX")
port=${KOLK_HTTP_PORT:-19464}

running=""
stop_bench() {
    if [[ -n $running ]]; then kill -KILL "$running" 2>/dev/null || true; fi
    scripts/kafka.sh clean || true
    rm -rf "$work"
}
at_end stop_bench

# One epoch on little data: the quality of the model does not change what a step costs.
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

# Writes the pipeline, with the given lines at its end.
pipeline() {
    cat >"$work/kafka.yaml" <<YAML
name: bench
source: { kafka: { brokers: "$address", topic: bench-in, group: bench, key: key, properties: { session.timeout.ms: 6000 } } }
record: { key: key, time: { column: ts, unit: step }, values: [value] }
stages: [ infer: { model: m, mode: carry } ]
sink: { kafka: { topic: bench-out, fields: [value] } }
dead_letters: { kafka: { topic: bench-dead } }
$1
YAML
}

# Sends one record of each key from..to-1 at each time first..last.
send() { # from to first last
    awk -v from="$1" -v to="$2" -v first="$3" -v last="$4" 'BEGIN {
        for (t = first; t <= last; t++) for (i = from; i < to; i++) printf "sensor-%07d:{\"ts\":%d,\"value\":0.%d}\n", i, t, (i + t) % 1000
    }' | kcat -b "$address" -t bench-in -P -K: -X topic.partitioner=murmur2_random -X queue.buffering.max.messages=1000000
}

metric() { curl --silent --max-time 2 "http://127.0.0.1:$port/metrics" | awk -v name="$1" '$1 ~ "^" name { sum += $2 } END { printf "%d\n", sum }'; }

start_run() {
    "$kolk" run "$work/kafka.yaml" --http "127.0.0.1:$port" 2>>"$work/log" &
    running=$!
}

# Waits until the run has written that many rows.
reach() {
    until [[ $(metric kolk_records_out_total) -ge $1 ]]; do
        kill -0 "$running" 2>/dev/null || { tail -n 5 "$work/log" >&2; die "kolk ended"; }
        sleep 0.1
    done
}

end_run() { # signal
    kill "-$1" "$running"
    wait "$running" 2>/dev/null || true
    running=""
}

now() { date +%s.%N; }
