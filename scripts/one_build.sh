#!/usr/bin/env bash
# Checks that the dependencies have the same features with and without the dev-dependencies. Where they differ, cargo
# compiles them, and everything that depends on them, once for `cargo build` and again for `cargo test`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

features() {
    cargo tree --locked --edges "$1" --prefix none --format '{p} [{f}]' | sed 's/ (\*)$//; s/ (proc-macro)//' | sort -u
}

without=$(features normal,build)
with=$(features normal,build,dev)
other=$(comm -23 <(printf '%s\n' "$without") <(printf '%s\n' "$with"))
[[ -z $other ]] || die "other features with dev-dependencies, so compiled twice (see Cargo.toml): $other"
