#!/usr/bin/env bash
# Measures what a record costs from topic to topic. Starts its own Kafka, fills a topic with RECORDS (2,000,000) records
# of KEYS (10,000) keys, and runs an LSTM(UNITS) (50) over them, JSON to JSON, exactly once, with each number of WORKERS
# ("1 2"). Prints a table row for each: records per second of wall time, start included; CPU seconds of the process per
# million records; its peak memory. The broker runs on the same cores. EXTRA: further lines of the pipeline. Needs what
# `make test` needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
# shellcheck source=scripts/bench_lib.sh
. scripts/bench_lib.sh

records=${RECORDS:-2000000} keys=${KEYS:-10000}
read -ra workers <<<"${WORKERS:-1 2}"

say "sending $records records of $keys keys"
send 0 "$keys" 1 "$((records / keys))"
printf '| records | keys | workers | records a second | CPU s a million | peak MB |\n|---|---|---|---|---|---|\n'
for count in "${workers[@]}"; do
    # A new group begins at the start of the topic, with its own state.
    pipeline "state: { path: state-$count/ }
runtime: { workers: $count }
${EXTRA:-}"
    sed -i "s/group: bench/group: bench-$count/" "$work/kafka.yaml"
    began=$(now)
    start_run
    reach "$records"
    ended=$(now)
    # Fields 14 and 15: ticks in user and kernel mode. The name of the process, field 2, has no space.
    read -ra stat <"/proc/$running/stat"
    peak=$(awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$running/status")
    end_run TERM
    awk -v a="$began" -v b="$ended" -v n="$records" -v keys="$keys" -v w="$count" -v peak="$peak" -v ticks="$((stat[13] + stat[14]))" \
        -v hz="$(getconf CLK_TCK)" 'BEGIN {
        printf "| %d | %d | %d | %d | %.2f | %d |\n", n, keys, w, n / (b - a), ticks / hz / n * 1e6, peak
    }'
done
