#!/usr/bin/env bash
# Makes the Python environment of the comparisons with other frameworks (make bench-train, make test-parity) from
# benches/peers/requirements.txt and prints its interpreter. Several gigabytes, once; a second run needs no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

python_environment peers "$root/benches/peers/requirements.txt" "PyTorch and Keras" "6 GB"
