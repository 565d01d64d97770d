#!/usr/bin/env bash
# Makes the Python environment of the tests (the official ONNX checker, plain ONNX Runtime) from
# tests/python/requirements.txt and prints its interpreter. A second run does nothing and needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

python_environment venv "$root/tests/python/requirements.txt" "Python of the tests" "820 MB"
