#!/usr/bin/env bash
# An Apache Kafka of one node on the loopback interface, for tests and the demo: start, stop, clean, status, address, topic.
#
#   start    starts it, waits until it is ready, prints its address; if it runs already, only prints
#   stop     stops it; its topics stay for the next start
#   clean    stops it and deletes its folder
#   status   says whether it runs (exit code 3 if not)
#   address  prints host:port if it runs
#   topic    makes the topic named, with four partitions
#
# KOLK_KAFKA_DIR is its folder: another folder is another broker. KOLK_KAFKA_PORT asks for a port; without it the first
# free one from 19592 up is taken, and kept for as long as the folder is. KOLK_KAFKA_HEAP is Java's heap (512m). Kafka
# comes as jars from Maven Central, once; a second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

kafka_version=4.3.1
log4j_version=2.25.4
first_port=19592
# Seconds until it has to be ready, and until it has to be gone.
start_limit=180
stop_limit=60

dir="${KOLK_KAFKA_DIR:-$cache/kafka/broker}"
jars="$cache/kafka/$kafka_version"
log="$dir/server.log"

# Fetches Kafka with all it depends on, by Maven. The folder gets its name when it is whole.
fetch() {
    [[ -d $jars ]] && return
    command -v mvn >/dev/null || die "no mvn here: scripts/build-tools.sh test installs it (Debian: maven)"
    local work
    mkdir -p "$cache/kafka"
    work=$(mktemp -d "$cache/kafka/.fetch.XXXXXX")
    say "Kafka $kafka_version: fetching its jars from Maven Central, once (about 55 MB)"
    dependency() { printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' "$@"; }
    {
        printf '<project><modelVersion>4.0.0</modelVersion><groupId>kolk</groupId><artifactId>kafka</artifactId><version>1</version>\n<dependencies>\n'
        dependency org.apache.kafka kafka_2.13 "$kafka_version"
        dependency org.apache.kafka kafka-tools "$kafka_version"
        dependency org.apache.logging.log4j log4j-slf4j-impl "$log4j_version"
        dependency org.apache.logging.log4j log4j-core "$log4j_version"
        printf '</dependencies>\n</project>\n'
    } >"$work/pom.xml"
    if ! mvn --batch-mode --quiet --file "$work/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$work/jars" >"$work/mvn.log" 2>&1; then
        tail -n 20 "$work/mvn.log" >&2
        rm -rf "$work"
        die "Kafka's jars could not be fetched: try again with a network"
    fi
    # Another start may have been quicker; its jars are as good.
    mv -T "$work/jars" "$jars" 2>/dev/null || [[ -d $jars ]] || die "$jars could not be made"
    rm -rf "$work"
}

# The process id of the broker of this folder, if it runs. A number in a file is not enough: it may be anybody's by now.
running() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$dir/server.properties" || return 1
    printf '%s\n' "$pid"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Whether a port is that of another broker's folder, which may be stopped at present and come back.
reserved() {
    local by
    by=$(cat "$cache/kafka/ports/$1" 2>/dev/null) && [[ $by != "$dir" ]] && grep -qw "$1" "$by/ports" 2>/dev/null
}

# Sets `port` and `controller`: those that the folder has, those that are asked for, or the first two that are free.
choose_ports() {
    port="" controller=""
    if [[ -f $dir/ports ]]; then
        read -r port controller <"$dir/ports"
    fi
    if [[ -n ${KOLK_KAFKA_PORT:-} && ${KOLK_KAFKA_PORT:-} != "$port" ]]; then
        port=$KOLK_KAFKA_PORT controller=""
    fi
    if [[ -n $port ]] && taken "$port"; then
        die "port $port is taken: stop what listens there, or set KOLK_KAFKA_PORT to another"
    fi
    local candidate=$first_port
    while [[ -z $port || -z $controller ]]; do
        ((candidate < 32768)) || die "no free port from $first_port up"
        if [[ $candidate != "$port" ]] && ! reserved "$candidate" && ! taken "$candidate"; then
            if [[ -z $port ]]; then port=$candidate; else controller=$candidate; fi
        fi
        candidate=$((candidate + 1))
    done
    printf '%s %s\n' "$port" "$controller" >"$dir/ports"
    mkdir -p "$cache/kafka/ports"
    printf '%s\n' "$dir" | tee "$cache/kafka/ports/$port" >"$cache/kafka/ports/$controller"
}

configure() {
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
# One node: nothing can be kept twice.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Few, so that a cold start is quick.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
num.partitions=4
# A topic with a wrong name must fail, not appear.
auto.create.topics.enable=false
# Processes are killed here all the time: what they leave open is found and given to others soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=2000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# Compaction and retention within seconds, for the tests of both.
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=4194304
log.retention.check.interval.ms=1000
num.network.threads=2
num.io.threads=4
PROPERTIES
    cat >"$dir/log4j2.properties" <<'PROPERTIES'
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%n
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
PROPERTIES
}

java_options() {
    printf '%s\n' "-Xmx${KOLK_KAFKA_HEAP:-512m}" -XX:+UseSerialGC -Djava.awt.headless=true \
        "-Dlog4j2.configurationFile=file:$dir/log4j2.properties" -cp "$jars/*"
}

# Shows the end of the broker's log and fails.
failed() {
    printf '\n%s\n' "kolk: the last lines of $log:" >&2
    tail -n 25 "$log" >&2 || true
    die "Kafka $1"
}

start() {
    if running >/dev/null; then
        say "Kafka runs already: $(address)"
        address
        return
    fi
    local java pid options
    java=$(java_17) ||
        die "no Java 17 or later here: scripts/build-tools.sh test installs it (Debian: openjdk-17-jre-headless)"
    fetch
    mkdir -p "$dir"
    # Two that start at once must not choose the same port.
    exec 9>"$cache/kafka/lock"
    flock 9
    choose_ports
    configure
    mapfile -t options < <(java_options)
    [[ ! -f $log ]] || mv "$log" "$log.old"
    if [[ ! -f $dir/data/meta.properties ]]; then
        local id
        id=K$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-20)w
        "$java" "${options[@]}" kafka.tools.StorageTool format --cluster-id "$id" --config "$dir/server.properties" \
            >"$log" 2>&1 </dev/null 9>&- || failed "could not make its data folder"
    fi
    setsid "$java" "${options[@]}" kafka.Kafka "$dir/server.properties" >>"$log" 2>&1 </dev/null 9>&- &
    pid=$!
    printf '%s\n' "$pid" >"$dir/pid"
    local end=$((SECONDS + start_limit))
    until grep -q 'Kafka Server started' "$log"; do
        kill -0 "$pid" 2>/dev/null || failed "ended while it started"
        if ((SECONDS > end)); then
            kill -KILL "$pid" 2>/dev/null || true
            failed "was not ready within $start_limit s"
        fi
        sleep 0.2
    done
    say "Kafka $kafka_version: 127.0.0.1:$port (log: $log)"
    address
}

stop() {
    local pid end
    if ! pid=$(running); then
        rm -f "$dir/pid"
        say "Kafka does not run"
        return
    fi
    kill -TERM "$pid"
    end=$((SECONDS + stop_limit))
    while running >/dev/null; do
        if ((SECONDS > end)); then
            say "Kafka did not stop within $stop_limit s: killed"
            kill -KILL "$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    rm -f "$dir/pid"
    say "Kafka: stopped"
}

clean() {
    stop
    local port controller
    if read -r port controller 2>/dev/null <"$dir/ports"; then
        rm -f "$cache/kafka/ports/$port" "$cache/kafka/ports/$controller"
    fi
    # Only what this script wrote: the folder is the caller's word.
    rm -rf "$dir/data" "$dir/ports" "$dir/server.properties" "$dir/log4j2.properties" "$log" "$log.old"
    rmdir "$dir" 2>/dev/null || true
}

address() {
    running >/dev/null || return 3
    printf '127.0.0.1:%s\n' "$(cut -d ' ' -f 1 "$dir/ports")"
}

status() {
    local pid
    if pid=$(running); then
        say "Kafka runs: $(address), process $pid, folder $dir"
    else
        say "Kafka does not run (folder $dir)"
        exit 3
    fi
}

topic() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh topic NAME"
    local java options
    java=$(java_17) || die "no Java 17 or later here"
    running >/dev/null || die "Kafka does not run"
    mapfile -t options < <(java_options)
    "$java" "${options[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "$(address)" \
        --create --if-not-exists --topic "$1" --partitions 4 >/dev/null 2>"$dir/topic.log" </dev/null ||
        { cat "$dir/topic.log" >&2; die "topic $1 could not be made"; }
    rm -f "$dir/topic.log"
}

case "${1:-}" in
    start | stop | clean | status | address) "$1" ;;
    topic) topic "${2:-}" ;;
    *) die "usage: scripts/kafka.sh start|stop|clean|status|address|topic" ;;
esac
