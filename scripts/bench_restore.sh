#!/usr/bin/env bash
# Measures how long a killed run with many keys takes to reach the end of its topic again. Starts its own Kafka and lets
# kolk process KEYS (1,000,000) keys of an LSTM(UNITS) (50). Then, for each number in REPLAY ("0 50000 200000 1000000"),
# kills it with that many records after its last checkpoint and starts it again. Prints a table row for each. Needs what
# `make test` needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
# shellcheck source=scripts/bench_lib.sh
. scripts/bench_lib.sh

keys=${KEYS:-1000000}
read -ra replays <<<"${REPLAY:-0 50000 200000 1000000}"
pipeline "state: { checkpoint_every: 1h, or_records: 100000000 }"

say "sending $keys keys"
send 0 "$keys" 1 1
began=$(now)
start_run
reach "$keys"
awk -v a="$began" -v b="$(now)" -v n="$keys" 'BEGIN { printf "first pass: %d keys in %.1f s (%d a second, the start included)\n", n, b - a, n / (b - a) }'
end_run TERM
megabytes=$(du -sm "$work/state" | cut -f1)

printf '| keys | units | checkpoints, MB | records after the checkpoint | replayed | seconds |\n|---|---|---|---|---|---|\n'
step=2
for replay in "${replays[@]}"; do
    # Records after the checkpoint of the clean stop: only a replay restores them.
    start_run
    for ((sent = 0; sent < replay; sent += keys)); do
        left=$((replay - sent))
        send 0 "$((left < keys ? left : keys))" "$step" "$step"
        step=$((step + 1))
    done
    if ((replay > 0)); then reach "$replay"; fi
    sleep 1
    end_run KILL
    # First the group has to notice that the member is gone: that is Kafka's session, not the restore.
    sleep 8
    send 0 1000 "$step" "$step"
    step=$((step + 1))
    began=$(now)
    start_run
    reach 1000
    seconds=$(awk -v a="$began" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }')
    printf '| %d | %d | %d | %d | %d | %s |\n' "$keys" "$units" "$megabytes" "$replay" "$(metric kolk_replayed_messages_total)" "$seconds"
    end_run TERM
done
