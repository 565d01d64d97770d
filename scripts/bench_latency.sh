#!/usr/bin/env bash
# Measures how long a record takes from topic to topic, at each rate of RATES ("500 2000 5000" records per second), for
# SECONDS_EACH (30). Starts its own Kafka and runs an LSTM(UNITS) (50) with KEYS (10,000) keys, JSON to JSON, exactly
# once. EXTRA: further lines of the pipeline, such as "runtime: { commit_every: 20ms }". Broker, sender and reader run
# on the same cores. Needs what `make test` needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
# shellcheck source=scripts/bench_lib.sh
. scripts/bench_lib.sh

read -ra rates <<<"${RATES:-500 2000 5000}"
python=$(scripts/python.sh)
# The time is the moment of sending, in microseconds; the output carries it.
pipeline "${EXTRA:-}"
start_run
until [[ $(metric kolk_partitions) -ge 4 ]]; do sleep 0.2; done
# A first round warms up the broker (Java compiles) and is not reported.
"$python" scripts/bench_latency.py "$address" bench-in bench-out 2000 20 "${KEYS:-10000}" >/dev/null
printf '| records a second | median ms | p99 ms | most ms |\n|---|---|---|---|\n'
for rate in "${rates[@]}"; do
    "$python" scripts/bench_latency.py "$address" bench-in bench-out "$rate" "${SECONDS_EACH:-30}" "${KEYS:-10000}"
done
end_run TERM
