#!/usr/bin/env bash
# Apache Kafka on the loopback interface, with one node or several, for tests and the demo.
#
#   start [N]  starts it, waits until it is ready, prints its address; if it runs already, only prints
#   stop [N]   stops it; its topics stay for the next start
#   clean      stops it and deletes its folder
#   status     reports whether it runs (exit code 3 if not)
#   address    if it runs, prints host:port of each node, separated by commas
#   secure     if it runs, prints host:port of the listener with TLS and SASL, and the file with the CA
#   proxied    prints one line per node: where a proxy has to listen, and where it has to connect, see below
#   pid N      prints the process id of a running node: a test may kill or freeze it
#   topic      creates the given topic, with four partitions
#   reassign   SHIFT COUNT TOPIC ...: moves partition P of each topic to COUNT nodes, from node P + SHIFT on, cyclically
#   acl        Kafka's own kafka-acls on this broker: scripts/kafka.sh acl --add --allow-principal User:kolk ...
#
# There are three listeners. The plain one allows everything. The second one is SASL_SSL with PLAIN; its user kolk, with
# the password below, may do what ACLs allow. The third one is plain too, but it gives clients the port of a proxy:
# scripts/kafka_proxy.py is in between and delays, cuts off or drops requests. Clients begin with the proxy's address.
#
# KOLK_KAFKA_DIR is its folder; each folder is a separate broker. KOLK_KAFKA_PORT sets the port; by default it is the
# first free one from 19592, and the folder keeps it. KOLK_KAFKA_HOST is where it listens (127.0.0.1); another address is
# for network namespaces, because everyone is admitted. KOLK_KAFKA_HEAP is Java's heap (512m; 320m for each of several
# nodes). Kafka comes as jars from Maven Central, once; a second run needs no network. KOLK_KAFKA_PASSWORD sets another
# password for the user kolk, until the next start. KOLK_KAFKA_VERSION sets another version of Kafka; use a separate
# folder for it.
#
# KOLK_KAFKA_NODES=3 creates a cluster of three nodes in a new folder. Each is broker and controller; topics have
# replication 3 and min.insync.replicas 2, so any one node may be away. N above is the number of a node, from 1.
# KOLK_KAFKA_SESSION_MS is how long a node may be silent until its partitions get other leaders (9000, as Kafka's
# default; 3000 for tests).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

# Not 4.3.1 and not 4.4.0 (KAFKA-20734): if the leader of a partition is away, they assume that the partition was
# deleted. They skip the markers of confirmed transactions there (TransactionMarkerChannelManager: "Couldn't find leader
# endpoint"). So a single broker that restarts loses half a transaction, or writes it twice. 4.2.1 waits for the leader.
kafka_version="${KOLK_KAFKA_VERSION:-4.2.1}"
log4j_version=2.25.4
first_port=19592
# Seconds within which it must be ready, and must have stopped.
start_limit=180
stop_limit=60
# Not a secret: only this machine reaches the broker, and its plain listener admits everyone.
kolk_password="${KOLK_KAFKA_PASSWORD:-loopback-not-a-secret}"
store_password=loopback

host="${KOLK_KAFKA_HOST:-127.0.0.1}"
dir="${KOLK_KAFKA_DIR:-$cache/kafka/broker}"
jars="$cache/kafka/$kafka_version"
# The folder records its number of nodes: `ports` has a line for each.
nodes=$(grep -c . "$dir/ports" 2>/dev/null) || nodes=${KOLK_KAFKA_NODES:-1}
if [[ ! $nodes =~ ^[1-9]$ || ${KOLK_KAFKA_NODES:-$nodes} != "$nodes" ]]; then
    die "KOLK_KAFKA_NODES=${KOLK_KAFKA_NODES:-}: must be from 1 to 9; an existing folder keeps its number ($dir: $nodes)"
fi

# The folder of a node: its data, log and process id. A single node uses the main folder.
node_dir() { if ((nodes == 1)); then printf '%s\n' "$dir"; else printf '%s\n' "$dir/$1"; fi; }

# Downloads Kafka and its dependencies with Maven. The folder gets its name when it is complete.
fetch() {
    [[ -d $jars ]] && return
    command -v mvn >/dev/null || die "mvn is missing: scripts/build-tools.sh test installs it (Debian: maven)"
    local work
    mkdir -p "$cache/kafka"
    work=$(mktemp -d "$cache/kafka/.fetch.XXXXXX")
    say "Kafka $kafka_version: downloading its jars from Maven Central, once (about 55 MB)"
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
        die "Kafka's jars could not be downloaded: try again with a network"
    fi
    # Another start may have been quicker; its jars are the same.
    mv -T "$work/jars" "$jars" 2>/dev/null || [[ -d $jars ]] || die "$jars could not be created"
    rm -rf "$work"
}

# The process id of a node, if it runs. The number in the file is not enough: another process may have it by now.
running() { # node
    local pid here
    here=$(node_dir "$1")
    pid=$(cat "$here/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$here/server.properties" || return 1
    printf '%s\n' "$pid"
}

any_runs() {
    local node
    for ((node = 1; node <= nodes; node++)); do
        if running "$node" >/dev/null; then return; fi
    done
    return 1
}

taken() { (exec 3<>"/dev/tcp/$host/$1") 2>/dev/null; }

# Whether a port belongs to the folder of another broker, which may be stopped and start again.
reserved() {
    local by
    by=$(cat "$cache/kafka/ports/$1" 2>/dev/null) && [[ $by != "$dir" ]] && grep -qw "$1" "$by/ports" 2>/dev/null
}

# The ports of a node, in their order in a line of the file `ports`: listener of clients, of controllers, with TLS, that
# to which the proxy connects, and the proxy's own.
uses=(port controller secure proxied proxy)

# A port of a node: `port_of 2 secure`.
port_of() {
    local use ports
    read -ra ports < <(sed -n "${1}p" "$dir/ports")
    for use in "${!uses[@]}"; do
        if [[ ${uses[use]} == "$2" ]]; then printf '%s\n' "${ports[use]}"; fi
    done
}

# Writes the file `ports`: the ports that the folder has, the one that was asked for, and the first free ones.
choose_ports() {
    local node use line ports candidate=$first_port chosen=()
    for ((node = 1; node <= nodes; node++)); do
        # A folder of an older version of this script has fewer.
        read -ra line < <(sed -n "${node}p" "$dir/ports" 2>/dev/null) || line=()
        if ((node == 1)) && [[ -n ${KOLK_KAFKA_PORT:-} && ${KOLK_KAFKA_PORT:-} != "${line[0]:-}" ]]; then
            line=("$KOLK_KAFKA_PORT")
        fi
        if [[ -n ${line[0]:-} ]] && ! running "$node" >/dev/null && taken "${line[0]}"; then
            die "port ${line[0]} is taken: stop what listens there, or set KOLK_KAFKA_PORT to another"
        fi
        chosen+=("${line[*]}")
    done
    for node in "${!chosen[@]}"; do
        read -ra line <<<"${chosen[node]}" || line=()
        for use in "${!uses[@]}"; do
            while [[ -z ${line[use]:-} ]]; do
                ((candidate < 32768)) || die "no free port from $first_port up"
                ports=" ${chosen[*]} ${line[*]} "
                if [[ $ports != *" $candidate "* ]] && ! reserved "$candidate" && ! taken "$candidate"; then
                    line[use]=$candidate
                fi
                candidate=$((candidate + 1))
            done
        done
        chosen[node]="${line[*]}"
    done
    printf '%s\n' "${chosen[@]}" >"$dir/ports"
    mkdir -p "$cache/kafka/ports"
    for candidate in ${chosen[*]}; do printf '%s\n' "$dir" >"$cache/kafka/ports/$candidate"; done
}

# Creates the broker's certificate, which is its own CA, once per folder, with Java's keytool. $1: java.
certify() {
    local keytool
    [[ -f $dir/ca.pem ]] && return
    keytool="$(dirname "$(readlink -f "$(command -v "$1")")")/keytool"
    rm -f "$dir/keys.p12"
    if ! {
        "$keytool" -genkeypair -alias broker -keyalg RSA -keysize 2048 -dname "CN=Kafka of kolk's tests" -validity 36500 \
            -ext san=ip:$host,dns:localhost -ext bc:c -storetype PKCS12 -keystore "$dir/keys.p12" -storepass "$store_password"
        "$keytool" -exportcert -rfc -alias broker -keystore "$dir/keys.p12" -storepass "$store_password" -file "$dir/ca.new"
    } >"$dir/keytool.log" 2>&1 </dev/null; then
        failed "could not create its certificate with $keytool" "$dir/keytool.log"
    fi
    mv "$dir/ca.new" "$dir/ca.pem"
}

configure() { # node
    local here node voters="" copies=$((nodes < 3 ? nodes : 3)) in_sync session=${KOLK_KAFKA_SESSION_MS:-9000}
    # One node may be away if there are enough nodes.
    in_sync=$((copies > 2 ? copies - 1 : 1))
    here=$(node_dir "$1")
    for ((node = 1; node <= nodes; node++)); do voters+="${voters:+,}$node@$host:$(port_of "$node" controller)"; done
    cat >"$here/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$voters
listeners=PLAINTEXT://$host:$(port_of "$1" port),CONTROLLER://$host:$(port_of "$1" controller),\
  SASL_SSL://$host:$(port_of "$1" secure),PROXIED://$host:$(port_of "$1" proxied)
# The last one gives clients the proxy's port.
advertised.listeners=PLAINTEXT://$host:$(port_of "$1" port),SASL_SSL://$host:$(port_of "$1" secure),\
  PROXIED://$host:$(port_of "$1" proxy)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/keys.p12
ssl.keystore.password=$store_password
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_kolk="$kolk_password";
# Clients of the plain listeners have no name.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs=$here/data
# As many as there are nodes, at most three.
default.replication.factor=$copies
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$copies
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$in_sync
broker.session.timeout.ms=$session
broker.heartbeat.interval.ms=$((session < 12000 ? session / 6 : 2000))
# Few, for a quick start.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
num.partitions=4
# A wrong topic name must fail, not create a topic.
auto.create.topics.enable=false
# Tests kill processes all the time: open transactions and dead members must be detected soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=2000
# Groups of the consumer protocol have these from the broker.
group.consumer.min.session.timeout.ms=2000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
${KOLK_KAFKA_PROTOCOLS:+group.coordinator.rebalance.protocols=$KOLK_KAFKA_PROTOCOLS}
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# Compaction and retention within seconds, for their tests.
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=4194304
log.retention.check.interval.ms=1000
num.network.threads=2
num.io.threads=4
PROPERTIES
    cat >"$here/log4j2.properties" <<'PROPERTIES'
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%n
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
PROPERTIES
}

java_options() { # folder
    printf '%s\n' "-Xmx${KOLK_KAFKA_HEAP:-$((nodes > 1 ? 320 : 512))m}" -XX:+UseSerialGC -Djava.awt.headless=true \
        "-Dlog4j2.configurationFile=file:$1/log4j2.properties" -cp "$jars/*"
}

# Shows the end of a log and fails.
failed() { # what log
    printf '\n%s\n' "kolk: the last lines of $2:" >&2
    tail -n 25 "$2" >&2 || true
    die "Kafka $1"
}

# The id of the cluster: that of a node that has data, or a new one.
cluster_id() {
    local id
    id=$(cat "$dir"/data/meta.properties "$dir"/[1-9]/data/meta.properties 2>/dev/null | sed -n 's/^cluster.id=//p' | head -n 1)
    printf '%s\n' "${id:-K$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-20)w}"
}

# Starts a node and waits until it is ready.
launch() { # node cluster-id java
    local here log pid options java=$3
    here=$(node_dir "$1")
    log="$here/server.log"
    mkdir -p "$here"
    [[ ! -f $log ]] || mv "$log" "$log.old"
    configure "$1"
    mapfile -t options < <(java_options "$here")
    if [[ ! -f $here/data/meta.properties ]]; then
        "$java" "${options[@]}" kafka.tools.StorageTool format --cluster-id "$2" --config "$here/server.properties" \
            >"$log" 2>&1 </dev/null || failed "could not create its data folder" "$log"
    fi
    setsid "$java" "${options[@]}" kafka.Kafka "$here/server.properties" >>"$log" 2>&1 </dev/null &
    pid=$!
    printf '%s\n' "$pid" >"$here/pid"
    local end=$((SECONDS + start_limit))
    until grep -q 'Kafka Server started' "$log"; do
        kill -0 "$pid" 2>/dev/null || failed "ended while it started" "$log"
        if ((SECONDS > end)); then
            kill -KILL "$pid" 2>/dev/null || true
            failed "was not ready within $start_limit s" "$log"
        fi
        sleep 0.2
    done
    say "Kafka $kafka_version: $host:$(port_of "$1" port) (log: $log)"
}

# The given node, or all nodes.
meant() {
    if [[ -z ${1:-} ]]; then
        seq "$nodes"
    elif [[ $1 =~ ^[1-9]$ ]] && (($1 <= nodes)); then
        printf '%s\n' "$1"
    else
        die "$1 is not a node: there are $nodes"
    fi
}

start() {
    local node java id away=() jobs=()
    for node in $(meant "${1:-}"); do
        running "$node" >/dev/null || away+=("$node")
    done
    if ((${#away[@]} == 0)); then
        say "Kafka is running already: $(address)"
        address
        return
    fi
    java=$(java_17) ||
        die "Java 17 or later is missing: scripts/build-tools.sh test installs it (Debian: openjdk-17-jre-headless)"
    fetch
    mkdir -p "$dir"
    # Two starts at the same time must not choose the same port.
    exec 9>"$cache/kafka/lock"
    flock 9
    choose_ports
    exec 9>&-
    certify "$java"
    id=$(cluster_id)
    # All at the same time: a controller waits for a majority.
    for node in "${away[@]}"; do
        launch "$node" "$id" "$java" &
        jobs+=($!)
    done
    local ok=yes job
    for job in "${jobs[@]}"; do wait "$job" || ok=""; done
    if [[ -z $ok ]]; then
        for node in "${away[@]}"; do kill_node "$node"; done
        exit 1
    fi
    address
}

kill_node() {
    local pid
    while pid=$(running "$1"); do
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$(node_dir "$1")/pid"
}

stop() {
    local node pid end ran=""
    for node in $(meant "${1:-}"); do
        if pid=$(running "$node"); then
            ran=yes
            kill -TERM "$pid"
            # A frozen node receives the signal only then.
            kill -CONT "$pid"
        fi
    done
    end=$((SECONDS + stop_limit))
    for node in $(meant "${1:-}"); do
        # Without a majority of controllers, nodes cannot leave in order. When all nodes are stopped, do not wait for
        # that.
        while running "$node" >/dev/null && ((SECONDS <= end)); do
            if ((nodes > 1)) && [[ -z ${1:-} ]] && (($(running_nodes) * 2 <= nodes)); then break; fi
            sleep 0.1
        done
        if ((SECONDS > end)); then say "Kafka did not stop within $stop_limit s: killed"; fi
        kill_node "$node"
    done
    if [[ -n $ran ]]; then say "Kafka: stopped"; else say "Kafka is not running"; fi
}

running_nodes() {
    local node count=0
    for ((node = 1; node <= nodes; node++)); do
        if running "$node" >/dev/null; then count=$((count + 1)); fi
    done
    printf '%s\n' "$count"
}

clean() {
    local node here ports
    if ((nodes > 1)); then
        # None of its data is needed.
        for ((node = 1; node <= nodes; node++)); do kill_node "$node"; done
        say "Kafka: stopped"
    else
        stop
    fi
    if read -rd '' -a ports 2>/dev/null <"$dir/ports" || ((${#ports[@]} > 0)); then
        rm -f "${ports[@]/#/$cache/kafka/ports/}"
    fi
    # Deletes only what this script wrote: the caller chose the folder.
    for ((node = 1; node <= nodes; node++)); do
        here=$(node_dir "$node")
        rm -rf "$here/data" "$here/server.properties" "$here/log4j2.properties" "$here/server.log" "$here/server.log.old"
        rmdir "$here" 2>/dev/null || true
    done
    rm -f "$dir/ports" "$dir/moves.json" "$dir/keys.p12" "$dir/ca.pem" "$dir/ca.new" "$dir/keytool.log"
    rmdir "$dir" 2>/dev/null || true
}

# Addresses of all nodes: a client needs one that runs, and a node that is away comes back at the same address.
address() {
    any_runs || return 3
    local node all=""
    for ((node = 1; node <= nodes; node++)); do all+="${all:+,}$host:$(port_of "$node" port)"; done
    printf '%s\n' "$all"
}

secure() {
    any_runs || return 3
    printf '%s:%s %s\n' "$host" "$(port_of 1 secure)" "$dir/ca.pem"
}

proxied() {
    any_runs || return 3
    local node
    for ((node = 1; node <= nodes; node++)); do
        printf '%s:%s %s:%s\n' "$host" "$(port_of "$node" proxy)" "$host" "$(port_of "$node" proxied)"
    done
}

pid() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh pid N"
    running "$(meant "$1")" || return 3
}

status() {
    local node pid all=yes
    for ((node = 1; node <= nodes; node++)); do
        if pid=$(running "$node"); then
            say "Kafka is running: $host:$(port_of "$node" port), process $pid, folder $(node_dir "$node")"
        else
            say "Kafka is not running (folder $(node_dir "$node"))"
            all=""
        fi
    done
    [[ -n $all ]] || exit 3
}

# Runs one of Kafka's own commands, $1, on this broker. If it fails, its output goes to stderr.
command_of_kafka() {
    local java options said class=$1
    shift
    java=$(java_17) || die "Java 17 or later is missing"
    any_runs || die "Kafka is not running"
    mapfile -t options < <(java_options "$(node_dir 1)")
    said=$("$java" "${options[@]}" "$class" --bootstrap-server "$(address)" "$@" 2>&1 </dev/null) ||
        { printf '%s\n' "$said" >&2; return 1; }
}

topic() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh topic NAME"
    command_of_kafka org.apache.kafka.tools.TopicCommand --create --if-not-exists --topic "$1" --partitions 4 ||
        die "topic $1 could not be created"
}

reassign() { # shift count topics
    local topic partition replica replicas moves=()
    [[ -n ${3:-} ]] || die "usage: scripts/kafka.sh reassign SHIFT COUNT TOPIC ..."
    for topic in "${@:3}"; do
        for partition in 0 1 2 3; do
            replicas=()
            for ((replica = 0; replica < $2; replica++)); do
                replicas+=("$(((partition + $1 + replica) % nodes + 1))")
            done
            moves+=("{\"topic\":\"$topic\",\"partition\":$partition,\"replicas\":[$(list "${replicas[@]}")]}")
        done
    done
    printf '{"version":1,"partitions":[%s]}\n' "$(list "${moves[@]}")" >"$dir/moves.json"
    command_of_kafka org.apache.kafka.tools.reassign.ReassignPartitionsCommand --additional --execute \
        --reassignment-json-file "$dir/moves.json" || die "the partitions could not be moved"
}

# Its arguments, separated by commas.
list() {
    local IFS=,
    printf '%s' "$*"
}

acl() {
    [[ -n ${1:-} ]] || die "usage: scripts/kafka.sh acl --add|--remove --allow-principal User:NAME --operation WORD ..."
    command_of_kafka org.apache.kafka.tools.AclCommand --force "$@" || die "the ACL could not be changed"
}

case "${1:-}" in
    start | stop | pid) "$1" "${2:-}" ;;
    clean | status | address | secure | proxied) "$1" ;;
    topic) topic "${2:-}" ;;
    reassign) reassign "${@:2}" ;;
    acl) acl "${@:2}" ;;
    *) die "usage: scripts/kafka.sh start|stop|clean|status|address|secure|proxied|pid|topic|reassign|acl" ;;
esac
