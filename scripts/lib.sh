# shellcheck shell=bash Shared by the scripts of this folder; source it, do not run it. Messages go to stderr; stdout is
# for a script's result.

# The folder for everything that is downloaded or built, outside the clone.
# shellcheck disable=SC2034  # used by the scripts that source this file
cache="${XDG_CACHE_HOME:-$HOME/.cache}/kolk"

say() { printf '%s\n' "kolk: $*" >&2; }

die() {
    printf '%s\n' "kolk: $*" >&2
    exit 1
}

# A Python with pip.
pip_python() {
    local python
    for python in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return
        fi
    done
    die "python3 with pip is missing; install it (Debian: apt-get install python3 python3-pip python3-venv)"
}

# A Java of version 17 or later; fails if there is none.
java_17() {
    local java version
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" java /usr/lib/jvm/java-17-openjdk-*/bin/java; do
        [[ -n $java ]] && command -v "$java" >/dev/null || continue
        version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
        if ((${version:-0} >= 17)); then
            printf '%s\n' "$java"
            return
        fi
    done
    return 1
}
