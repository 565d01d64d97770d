#!/usr/bin/env bash
# Shows what a network does to transactions when it delays single requests of them. Starts its own broker and runs a
# plain client (librdkafka by Python) and kolk through scripts/kafka_proxy.py. Prints a Markdown table; scripts/torn.py
# explains its columns.
#
#   TRANSACTIONS=10000  of each client, request and form
#   REQUESTS="AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit"  the requests that are held
#   FORMS="hold cut"    hold: the connection stays until the client gives up; cut: the client's connection is cut at once
#   EVERY=100           holds one request in so many
#   CLIENTS="plain kolk"
#   RATE=1000           records per second for kolk, which commits every 10 ms
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
UNITS=${UNITS:-5}
# shellcheck source=scripts/bench_lib.sh
. scripts/bench_lib.sh

# torn.py fills in what differs between runs. After a second, the producer gives up a held request and sends it again by
# itself, as plain clients do.
cat >"$work/template.yaml" <<'YAML'
name: torn
source: { kafka: { brokers: "{BROKERS}", topic: {INPUT}, group: {GROUP}, key: key, properties: { session.timeout.ms: 6000 } } }
record: { key: key, time: { column: ts, unit: step }, values: [value] }
stages: [ infer: { model: m, mode: carry } ]
sink: { kafka: { topic: {OUTPUT}, fields: [value], properties: { socket.timeout.ms: {PATIENCE}, reconnect.backoff.ms: 20 } } }
dead_letters: { kafka: { topic: {DEAD} } }
state: { path: {GROUP}-state/ }
runtime: { workers: 1, instance: torn, commit_every: 10ms }
YAML
routes=()
while read -r listen target; do routes+=(--route "$listen=$target"); done < <(scripts/kafka.sh proxied)
read -ra requests <<<"${REQUESTS:-AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit}"
read -ra forms <<<"${FORMS:-hold cut}"
read -ra clients <<<"${CLIENTS:-plain kolk}"
"$(scripts/python.sh)" scripts/torn.py --brokers "$address" "${routes[@]}" --kolk "$kolk" --pipeline "$work/template.yaml" \
    --http "127.0.0.1:$port" --transactions "${TRANSACTIONS:-10000}" --every "${EVERY:-100}" --rate "${RATE:-1000}" \
    --requests "${requests[@]}" --forms "${forms[@]}" --clients "${clients[@]}" &
torn=$!
trap 'kill -TERM "$torn" 2>/dev/null || true; wait "$torn" || true; exit 143' INT TERM HUP
wait "$torn"
