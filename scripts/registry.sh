#!/usr/bin/env bash
# A schema registry (Apicurio, in memory) on the loopback interface, for tests: start, stop, url.
#
#   start  starts it, waits until it is ready, prints the URL of its Confluent API; if it runs already, only prints
#   stop   stops it; its schemas are lost
#   url    prints the URL if it runs
#
# KOLK_REGISTRY_DIR is its folder; each folder is a separate registry. KOLK_REGISTRY_PORT sets the port; by default it
# is the first free one from 19692. The registry comes from Maven Central, once, and is verified by hash; a second run
# needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

version=3.0.9
sha256=2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43
first_port=19692
start_limit=180
dir="${KOLK_REGISTRY_DIR:-$cache/registry/run}"
app="$cache/registry/$version"
log="$dir/registry.log"

fetch() {
    [[ -d $app ]] && return
    command -v mvn >/dev/null || die "mvn is missing: scripts/build-tools.sh test installs it (Debian: maven)"
    local work archive
    mkdir -p "$cache/registry"
    work=$(mktemp -d "$cache/registry/.fetch.XXXXXX")
    say "Apicurio $version: downloading it from Maven Central, once (109 MB)"
    # dependency:copy fails on this artifact; dependency:get stores it in a separate local repository.
    if ! mvn --batch-mode --quiet -Dmaven.repo.local="$work/m2" org.apache.maven.plugins:maven-dependency-plugin:2.8:get \
        -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -Dtransitive=false >"$work/mvn.log" 2>&1; then
        tail -n 20 "$work/mvn.log" >&2
        rm -rf "$work"
        die "the registry could not be downloaded: try again with a network"
    fi
    archive="$work/m2/io/apicurio/apicurio-registry-app/$version/apicurio-registry-app-$version-all.tar.gz"
    printf '%s  %s\n' "$sha256" "$archive" | sha256sum --check --quiet >&2 || die "$archive has the wrong hash"
    mkdir "$work/app"
    tar -xzf "$archive" -C "$work/app"
    mv -T "$work/app" "$app" 2>/dev/null || [[ -d $app ]] || die "$app could not be created"
    rm -rf "$work"
}

# The process id of the registry of this folder, if it runs.
running() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "-Dkolk.registry=$dir" || return 1
    printf '%s\n' "$pid"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

url() {
    running >/dev/null || return 3
    printf 'http://127.0.0.1:%s/apis/ccompat/v7\n' "$(cat "$dir/port")"
}

failed() {
    printf '\n%s\n' "kolk: the last lines of $log:" >&2
    tail -n 25 "$log" >&2 || true
    die "the registry $1"
}

start() {
    if running >/dev/null; then
        url
        return
    fi
    local java port pid end
    java=$(java_17) ||
        die "Java 17 or later is missing: scripts/build-tools.sh test installs it (Debian: openjdk-17-jre-headless)"
    fetch
    mkdir -p "$dir"
    exec 9>"$cache/registry/lock"
    flock 9
    port=${KOLK_REGISTRY_PORT:-}
    if [[ -n $port ]] && taken "$port"; then die "port $port is taken: set KOLK_REGISTRY_PORT to another"; fi
    if [[ -z $port ]]; then
        port=$first_port
        while taken "$port"; do port=$((port + 1)); done
    fi
    printf '%s\n' "$port" >"$dir/port"
    # Ids follow the content, and schemas must stay compatible, as in Confluent's own registry.
    (
        cd "$dir"
        exec setsid "$java" -Xmx512m -XX:+UseSerialGC "-Dkolk.registry=$dir" \
            -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$port" \
            -Dapicurio.rules.global.compatibility=BACKWARD -Dapicurio.ccompat.use-canonical-hash=true \
            -jar "$app/apicurio-registry-app-$version-runner.jar"
    ) >"$log" 2>&1 </dev/null 9>&- &
    pid=$!
    printf '%s\n' "$pid" >"$dir/pid"
    end=$((SECONDS + start_limit))
    until curl --silent --fail --max-time 2 "http://127.0.0.1:$port/apis/ccompat/v7/subjects" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || failed "ended while it started"
        if ((SECONDS > end)); then
            kill -KILL "$pid" 2>/dev/null || true
            failed "was not ready within $start_limit s"
        fi
        sleep 0.3
    done
    say "schema registry: Apicurio $version (log: $log)"
    url
}

stop() {
    local pid
    if ! pid=$(running); then
        rm -f "$dir/pid"
        say "the registry is not running"
        return
    fi
    kill -TERM "$pid"
    for _ in {1..150}; do
        running >/dev/null || break
        sleep 0.2
    done
    if running >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
    rm -f "$dir/pid"
    say "the registry is stopped"
}

case "${1:-}" in
    start | stop) "$1" ;;
    url) url || die "the registry is not running" ;;
    *) die "usage: scripts/registry.sh start|stop|url" ;;
esac
