#!/usr/bin/env bash
# Compares what `kolk size` predicts with a run on this machine: CPU of a record, memory of a key, bytes of a checkpoint
# per key. Starts its own Kafka, runs an LSTM(UNITS) (50) over KEYS (1,000,000) keys, JSON to JSON, exactly once, with one
# worker, and then RECORDS (2,000,000) records more. Prints a table. Needs what `make test` needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
# shellcheck source=scripts/bench_lib.sh
. scripts/bench_lib.sh

keys=${KEYS:-1000000} records=${RECORDS:-2000000}
pipeline "state: { checkpoint_every: 1h, or_records: 100000000 }
runtime: { workers: 1 }"

say "measuring with kolk size"
"$kolk" size "$work/kafka.yaml" --events 100k --keys "$keys" --json >"$work/size.json"
need_python
predicted() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["measured"][sys.argv[2]])' "$work/size.json" "$1"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$running/stat"; }
resident() { awk '/VmRSS/ { print $2 * 1024 }' "/proc/$running/status"; }

few=$((keys / 4))
say "sending $keys keys, then $records records"
send 0 "$few" 1 1
start_run
reach "$few"
before=$(resident)
send "$few" "$keys" 1 1
reach "$keys"
after=$(resident)
began=$(ticks)
send 0 "$keys" 2 "$((1 + records / keys))"
reach "$((keys + records / keys * keys))"
ended=$(ticks)
end_run TERM
stored=$(du -sb "$work/state" | cut -f1)

printf '| | predicted | measured | measured / predicted |\n|---|---|---|---|\n'
row() { awk -v name="$1" -v p="$2" -v m="$3" 'BEGIN { printf "| %s | %.2f | %.2f | %.2f |\n", name, p, m, m / p }'; }
row "CPU of a record, µs" "$(awk -v s="$(predicted message_cpu_seconds)" 'BEGIN { print s * 1e6 }')" \
    "$(awk -v t="$((ended - began))" -v hz="$(getconf CLK_TCK)" -v n="$((records / keys * keys))" 'BEGIN { print t / hz / n * 1e6 }')"
row "memory of a key, bytes" "$(predicted key_bytes)" "$(((after - before) / (keys - few)))"
row "a checkpoint, bytes per key" "$(predicted checkpoint_key_bytes)" "$((stored / keys))"
