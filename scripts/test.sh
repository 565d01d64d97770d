#!/usr/bin/env bash
# Checks deploy/ in the quick form of make deploy-test, then runs cargo test with what the tests of whole runs need: ONNX
# Runtime, Python, a Kafka broker and a schema registry. It starts both services and stops them in any case. Its
# arguments go to cargo test; with arguments, deploy/ is left out. If KOLK_KAFKA names a broker, that
# one is used and keeps running. The tests of TLS, SASL and ACLs need a broker that scripts/kafka.sh started:
# KOLK_KAFKA_SECURE is its secure listener, KOLK_KAFKA_CA the file with its CA, KOLK_KAFKA_DIR its folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

own_kafka="" own_registry=""
kafkas="$cache/kafka/test-$$"
stop() {
    if [[ -n $own_registry ]]; then
        scripts/registry.sh stop || true
        rm -rf "$KOLK_REGISTRY_DIR"
    fi
    if [[ -n $own_kafka ]]; then
        scripts/kafka.sh clean || true
        # Tests with their own broker put its folder beside this one, and keep it if they fail.
        for KOLK_KAFKA_DIR in "$kafkas"/*; do
            if [[ -d $KOLK_KAFKA_DIR ]]; then scripts/kafka.sh stop || true; fi
        done
        rmdir "$kafkas" 2>/dev/null || true
    fi
}
at_end stop

need_onnxruntime
KOLK_PYTHON=$(scripts/python.sh)
export KOLK_PYTHON

if [[ -z ${KOLK_KAFKA:-} ]]; then
    export KOLK_KAFKA_DIR="$kafkas/shared"
    own_kafka=yes
    KOLK_KAFKA=$(scripts/kafka.sh start)
    export KOLK_KAFKA
fi
if [[ -z ${KOLK_KAFKA_SECURE:-} ]] && secure=$(scripts/kafka.sh secure); then
    read -r KOLK_KAFKA_SECURE KOLK_KAFKA_CA <<<"$secure"
    export KOLK_KAFKA_SECURE KOLK_KAFKA_CA
fi
if [[ -z ${KOLK_REGISTRY:-} ]]; then
    export KOLK_REGISTRY_DIR="$cache/registry/test-$$"
    own_registry=yes
    KOLK_REGISTRY=$(scripts/registry.sh start)
    export KOLK_REGISTRY
fi

if (($# == 0)); then scripts/deploy_test.sh quick; fi
cargo test --release --locked "$@"
