#!/usr/bin/env bash
# Fuzzes the decoders and the pipeline file with cargo-fuzz and libFuzzer: each target of fuzz/ for SECONDS_EACH (60),
# or the one given. A corpus grows under fuzz/corpus. Inputs that fail are left under fuzz/artifacts, and the script
# ends with an error. The first run compiles all dependencies again.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

version=0.13.1
bin="$cache/cargo-fuzz-$version/bin/cargo-fuzz"
if [[ ! -x $bin ]]; then
    say "cargo-fuzz $version: installing it, once"
    CARGO_TARGET_DIR="$cache/fuzz" cargo install --quiet --locked --root "${bin%/bin/*}" --version "$version" cargo-fuzz >&2
fi

if (($# > 0)); then targets=("$@"); else mapfile -t targets < <("$bin" list); fi
# The coverage flags are unstable; nothing else is without a sanitizer. kolk's decoders have no unsafe code for a
# sanitizer to check.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$cache/fuzz"
for target in "${targets[@]}"; do
    say "$target for ${SECONDS_EACH:-60} s"
    "$bin" run "$target" --sanitizer none -- -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -print_final_stats=1
done
