#!/usr/bin/env bash
# Checks for what the build needs beside Rust: a C compiler (zstd, ring) and Python with pip and venv. On
# Debian and as root it installs what is missing, else it prints the line to type. Nothing missing: nothing happens.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

if ! command -v cargo >/dev/null; then
    die "no cargo here: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or later (rustup)"
fi

packages=()
command -v cc >/dev/null || packages+=(gcc)
command -v ar >/dev/null || packages+=(binutils)
printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null || packages+=(libc6-dev)
command -v python3 >/dev/null || packages+=(python3)
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
command -v sha256sum >/dev/null || packages+=(coreutils)

if ((${#packages[@]} == 0)); then
    say "build tools: all there"
    exit
fi
line="apt-get install -y --no-install-recommends ${packages[*]}"
command -v apt-get >/dev/null || die "missing: ${packages[*]} (names of Debian packages); install them and try again"
[[ $(id -u) == 0 ]] || die "missing: ${packages[*]}; type: sudo $line"
say "build tools: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
