#!/usr/bin/env bash
# Makes the Python environment of the comparisons with other frameworks (make bench-train, make test-parity) from
# benches/peers/requirements.txt and prints its interpreter. Several gigabytes, once; a second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

requirements="$root/benches/peers/requirements.txt"
venv="$cache/peers-$(sha256sum "$requirements" | cut -c1-12)"
if [[ ! -f $venv/complete ]]; then
    python=$(pip_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "no Python with venv found (Debian: apt-get install python3-venv)"
    say "PyTorch and Keras: making $venv, once (about 6 GB)"
    # A venv cannot be renamed (its scripts contain their path), so a file marks it as complete.
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary=:all: \
        --requirement "$requirements" >&2 || die "PyTorch and Keras could not be installed: try again with a network"
    touch "$venv/complete"
fi
printf '%s\n' "$venv/bin/python"
