#!/usr/bin/env bash
# Checks for what the build needs besides Rust: compilers for C and C++, make, pkg-config and the OpenSSL headers (zstd,
# ring, librdkafka), and Python with pip and venv. With the argument test, also for what the tests need: Java, Maven,
# kcat and ip. On Debian as root it installs what is missing; otherwise it prints the command. If nothing is missing, it does
# nothing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
what="${1:-build}"
[[ $what == build || $what == test ]] || die "usage: scripts/build-tools.sh [test]"

if ! command -v cargo >/dev/null; then
    die "cargo is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or later (rustup)"
fi

packages=()
# Requires a command. Its package has the same name, or is the second argument.
want() { command -v "$1" >/dev/null || packages+=("${2:-$1}"); }
want cc gcc
want g++
want make
want ar binutils
want pkg-config
printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null || packages+=(libc6-dev)
printf '#include <openssl/ssl.h>\nint main(void) { return OPENSSL_init_ssl(0, 0); }\n' |
    cc -x c -o /dev/null - -lssl -lcrypto 2>/dev/null || packages+=(libssl-dev)
want python3
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
want sha256sum coreutils
if [[ $what == test ]]; then
    java_17 >/dev/null || packages+=(openjdk-17-jre-headless)
    want mvn maven
    want kcat
    want ip iproute2
fi

if ((${#packages[@]} == 0)); then
    say "$what tools: complete"
    exit
fi
line="apt-get install -y --no-install-recommends ${packages[*]}"
command -v apt-get >/dev/null || die "missing: ${packages[*]} (names of Debian packages); install them and try again"
[[ $(id -u) == 0 ]] || die "missing: ${packages[*]}; type: sudo $line"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
# Debian 13 has only Java 21 and later, which Kafka accepts.
if [[ " ${packages[*]} " == *" openjdk-17-jre-headless "* && -z $(apt-cache policy openjdk-17-jre-headless) ]]; then
    packages=("${packages[@]/openjdk-17-jre-headless/default-jre-headless}")
fi
say "$what tools: installing ${packages[*]}"
apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
