#!/usr/bin/env bash
# Fuzzes everything that reads bytes of others with cargo-fuzz and libFuzzer: each target of fuzz/, or the one given,
# for SECONDS_EACH (60), or for RUNS inputs; with MEMORY megabytes (512) in all, and 10 s for an input. Each begins with
# valid bytes: those that the target makes, and small files of the repo. A corpus grows under fuzz/corpus. Inputs that
# fail are left under fuzz/artifacts, and the script ends with an error. The first run compiles all dependencies again.
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

# The small files of the repo that a target reads.
files() {
    case $1 in
    onnx) find tests/fixtures -name '*.onnx' -size -64k ;;
    weights) find tests/fixtures -size -64k \( -name '*.keras' -o -name '*.safetensors' \) ;;
    pipeline) find pipelines examples -name '*.yaml' ;;
    checkpoint) find tests/fixtures/state -type f -size -64k ;;
    esac
}

if (($# > 0)); then targets=("$@"); else mapfile -t targets < <("$bin" list); fi
bound=(-max_total_time="${SECONDS_EACH:-60}")
shown="${SECONDS_EACH:-60} s"
if [[ -n ${RUNS:-} ]]; then bound=(-runs="$RUNS") shown="$RUNS runs"; fi
memory=${MEMORY:-512}
# The coverage flags are unstable; nothing else is without a sanitizer. Nothing that reads bytes of others has unsafe
# code of kolk's for a sanitizer to check.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$cache/fuzz" CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_DEBUG=0
for target in "${targets[@]}"; do
    # Files of all kinds and encodings take more than messages do: the bound of a batch alone is 1 GiB.
    of=$memory
    if [[ $target == parquet && -z ${MEMORY:-} ]]; then of=2048; fi
    say "$target: $shown, $of MB, 10 s for an input"
    corpus="fuzz/corpus/$target"
    mkdir -p "$corpus"
    files "$target" | while read -r file; do cp "$file" "$corpus/$(basename "$file")"; done
    KOLK_SEEDS="$corpus" "$bin" run "$target" --sanitizer none -- "${bound[@]}" -rss_limit_mb="$of" \
        -malloc_limit_mb="$of" -timeout=10 -max_len=65536 -print_final_stats=1
done
