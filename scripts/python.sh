#!/usr/bin/env bash
# Makes the Python environment of the tests (the official ONNX checker, plain ONNX Runtime) from
# tests/python/requirements.txt and prints its interpreter. A second run does nothing and needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

requirements="$root/tests/python/requirements.txt"
hash=$(sha256sum "$requirements" | cut -c1-12)
venv="$cache/venv-$hash"
if [[ -f $venv/complete ]]; then
    say "Python of the tests: $venv/bin/python"
    printf '%s\n' "$venv/bin/python"
    exit
fi

python=""
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
[[ -n $python ]] || die "no Python 3.11 or later with venv found (Debian: apt-get install python3 python3-venv)"

say "Python of the tests: making $venv, once (about 820 MB)"
# A venv cannot be renamed (its scripts contain their path), so a file marks it as complete.
rm -rf "$venv"
mkdir -p "$cache"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary=:all: \
    --requirement "$requirements" >&2 || die "the packages could not be installed: try again with a network"
touch "$venv/complete"
say "Python of the tests: $venv/bin/python"
printf '%s\n' "$venv/bin/python"
