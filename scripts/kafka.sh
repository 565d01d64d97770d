#!/usr/bin/env bash
# An Apache Kafka of one node on the loopback interface, for tests and the demo: start, stop, clean, status, address, secure,
# topic, acl.
#
#   start    starts it, waits until it is ready, prints its address; if it runs already, only prints
#   stop     stops it; its topics stay for the next start
#   clean    stops it and deletes its folder
#   status   says whether it runs (exit code 3 if not)
#   address  prints host:port if it runs
#   secure   prints host:port of the listener with TLS and SASL, and the file with the CA, if it runs
#   topic    makes the topic named, with four partitions
#   acl      Kafka's own kafka-acls on this broker: scripts/kafka.sh acl --add --allow-principal User:kolk ...
#
# Who comes over the plain listener may do everything. Over the other one, SASL_SSL with PLAIN, comes the user kolk, whose
# password is below and who may do what an ACL allows.
#
# KOLK_KAFKA_DIR is its folder: another folder is another broker. KOLK_KAFKA_PORT asks for a port; without it the first
# free one from 19592 up is taken, and kept for as long as the folder is. KOLK_KAFKA_HEAP is Java's heap (512m). Kafka
# comes as jars from Maven Central, once; a second run needs no network. KOLK_KAFKA_PASSWORD is another
# password for the user kolk, until the next start.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

# Not 4.3.1: it takes a partition that has no leader for a moment for one that was deleted, and skips the markers of transactions there
# that are confirmed already (TransactionMarkerChannelManager: "Couldn't find leader endpoint"). One broker that is restarted so loses
# half a transaction, or writes it twice. 4.2.1 waits for the leader.
kafka_version=4.2.1
log4j_version=2.25.4
first_port=19592
# Seconds until it has to be ready, and until it has to be gone.
start_limit=180
stop_limit=60
# Of a broker that only this machine reaches, and that lets everyone in by its plain listener: no secrets.
kolk_password="${KOLK_KAFKA_PASSWORD:-loopback-not-a-secret}"
store_password=loopback

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

# Sets `port`, `controller` and `secure`: those that the folder has, those that are asked for, or the first that are free.
choose_ports() {
    port="" controller="" secure=""
    if [[ -f $dir/ports ]]; then
        # A folder of an older version of this script has two.
        read -r port controller secure <"$dir/ports"
    fi
    if [[ -n ${KOLK_KAFKA_PORT:-} && ${KOLK_KAFKA_PORT:-} != "$port" ]]; then
        port=$KOLK_KAFKA_PORT controller="" secure=""
    fi
    if [[ -n $port ]] && taken "$port"; then
        die "port $port is taken: stop what listens there, or set KOLK_KAFKA_PORT to another"
    fi
    local candidate=$first_port
    while [[ -z $port || -z $controller || -z $secure ]]; do
        ((candidate < 32768)) || die "no free port from $first_port up"
        if [[ $candidate != "$port" && $candidate != "$controller" ]] && ! reserved "$candidate" && ! taken "$candidate"; then
            if [[ -z $port ]]; then
                port=$candidate
            elif [[ -z $controller ]]; then
                controller=$candidate
            else
                secure=$candidate
            fi
        fi
        candidate=$((candidate + 1))
    done
    printf '%s %s %s\n' "$port" "$controller" "$secure" >"$dir/ports"
    mkdir -p "$cache/kafka/ports"
    printf '%s\n' "$dir" | tee "$cache/kafka/ports/$port" "$cache/kafka/ports/$controller" >"$cache/kafka/ports/$secure"
}

# The broker's certificate, which is its own CA, made once for each folder by Java's keytool. $1: java.
certify() {
    local keytool
    [[ -f $dir/ca.pem ]] && return
    keytool="$(dirname "$(readlink -f "$(command -v "$1")")")/keytool"
    rm -f "$dir/keys.p12"
    if ! {
        "$keytool" -genkeypair -alias broker -keyalg RSA -keysize 2048 -dname "CN=Kafka of kolk's tests" -validity 36500 \
            -ext san=ip:127.0.0.1,dns:localhost -ext bc:c -storetype PKCS12 -keystore "$dir/keys.p12" -storepass "$store_password"
        "$keytool" -exportcert -rfc -alias broker -keystore "$dir/keys.p12" -storepass "$store_password" -file "$dir/ca.new"
    } >"$log" 2>&1 </dev/null; then
        failed "could not make its certificate with $keytool"
    fi
    mv "$dir/ca.new" "$dir/ca.pem"
}

configure() {
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller,SASL_SSL://127.0.0.1:$secure
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_SSL://127.0.0.1:$secure
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/keys.p12
ssl.keystore.password=$store_password
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_kolk="$kolk_password";
# Whoever has no name came over the plain listener.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
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
    [[ ! -f $log ]] || mv "$log" "$log.old"
    certify "$java"
    configure
    mapfile -t options < <(java_options)
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
    local ports
    if read -ra ports 2>/dev/null <"$dir/ports"; then
        rm -f "${ports[@]/#/$cache/kafka/ports/}"
    fi
    # Only what this script wrote: the folder is the caller's word.
    rm -rf "$dir/data" "$dir/ports" "$dir/server.properties" "$dir/log4j2.properties" "$log" "$log.old" \
        "$dir/keys.p12" "$dir/ca.pem" "$dir/ca.new"
    rmdir "$dir" 2>/dev/null || true
}

address() {
    running >/dev/null || return 3
    printf '127.0.0.1:%s\n' "$(cut -d ' ' -f 1 "$dir/ports")"
}

secure() {
    running >/dev/null || return 3
    printf '127.0.0.1:%s %s\n' "$(cut -d ' ' -f 3 "$dir/ports")" "$dir/ca.pem"
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

# Runs one of Kafka's own commands, $1, on this broker. What it says goes to stderr if it fails.
command_of_kafka() {
    local java options said class=$1
    shift
    java=$(java_17) || die "no Java 17 or later here"
    running >/dev/null || die "Kafka does not run"
    mapfile -t options < <(java_options)
    said=$("$java" "${options[@]}" "$class" --bootstrap-server "$(address)" "$@" 2>&1 </dev/null) ||
        { printf '%s\n' "$said" >&2; return 1; }
}

topic() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh topic NAME"
    command_of_kafka org.apache.kafka.tools.TopicCommand --create --if-not-exists --topic "$1" --partitions 4 ||
        die "topic $1 could not be made"
}

acl() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh acl --add|--remove --allow-principal User:NAME --operation WORD ..."
    command_of_kafka org.apache.kafka.tools.AclCommand --force "$@" || die "the ACL could not be changed"
}

case "${1:-}" in
    start | stop | clean | status | address | secure) "$1" ;;
    topic) topic "${2:-}" ;;
    acl) acl "${@:2}" ;;
    *) die "usage: scripts/kafka.sh start|stop|clean|status|address|secure|topic|acl" ;;
esac
