# shellcheck shell=bash
# Shared by the scripts of this folder; source it, do not run it. Messages go to stderr; stdout is
# for a script's result.

# The folder for everything that is downloaded or built, outside the clone.
# shellcheck disable=SC2034  # used by the scripts that source this file
cache="${XDG_CACHE_HOME:-$HOME/.cache}/kolk"

say() { printf '%s\n' "kolk: $*" >&2; }

die() {
    printf '%s\n' "kolk: $*" >&2
    exit 1
}

# Sets `kolk` to the binary that `make build` writes; KOLK_BINARY names another one.
# shellcheck disable=SC2034  # used by the scripts that source this file
need_kolk() {
    kolk="${KOLK_BINARY:-${CARGO_TARGET_DIR:-$cache/target}/release/kolk}"
    [[ -x $kolk ]] || die "no $kolk: run make build first"
}

# Sets ORT_DYLIB_PATH to the ONNX Runtime that `make onnxruntime` fetches.
need_onnxruntime() {
    ORT_DYLIB_PATH=$("$root/scripts/onnxruntime.sh" 2>/dev/null) || die "no ONNX Runtime: run make onnxruntime first"
    export ORT_DYLIB_PATH
}

# Sets `python` to the one of the tests.
# shellcheck disable=SC2034
need_python() {
    python=$("$root/scripts/python.sh" 2>/dev/null) || die "no Python of the tests: scripts/python.sh says why"
}

# Runs a function when the script ends, also by a signal, and keeps the script's exit code. A second signal doesn't cut
# it short.
# at_end FUNCTION
at_end() {
    at_end_runs=$1
    trap ended EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

ended() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    "$at_end_runs"
    exit "$code"
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

# Makes a Python environment of pinned packages in the cache, once, and prints its interpreter.
# python_environment NAME REQUIREMENTS SHOWN SIZE
python_environment() {
    local requirements=$2 shown=$3 size=$4 venv python="" candidate
    venv="$cache/$1-$(sha256sum "$requirements" | cut -c1-12)"
    if [[ ! -f $venv/complete ]]; then
        for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
            if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
                python=$candidate
                break
            fi
        done
        [[ -n $python ]] || die "no Python 3.11 or later with venv found (Debian: apt-get install python3 python3-venv)"
        say "$shown: making $venv, once (about $size)"
        # A venv cannot be renamed (its scripts contain their path), so a file marks it as complete.
        rm -rf "$venv"
        mkdir -p "$cache"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary=:all: \
            --requirement "$requirements" >&2 || die "the packages could not be installed: try again with a network"
        touch "$venv/complete"
    fi
    say "$shown: $venv/bin/python"
    printf '%s\n' "$venv/bin/python"
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

# Downloads a wheel of Python files from PyPI, once: checks its hash, unpacks it into the cache and prints the folder.
# unpacked_wheel PACKAGE VERSION SHA256 SIZE
unpacked_wheel() {
    local package=$1 version=$2 sha256=$3 size=$4 folder="$cache/$1/$2" python wheel
    if [[ ! -d $folder ]]; then
        python=$(pip_python)
        mkdir -p "$cache/$package"
        new=$(mktemp -d "$cache/$package/new.XXXXXX")
        trap 'rm -rf "$new"' EXIT
        say "$package $version: downloading, once ($size)"
        "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --dest "$new" \
            "$package==$version" >&2 || die "$package could not be downloaded: try again with a network"
        wheel=$(echo "$new"/*.whl)
        printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet >&2 ||
            die "$wheel is another file than the pinned one"
        "$python" -m zipfile -e "$wheel" "$new/unpacked"
        mv -T "$new/unpacked" "$folder"
    fi
    printf '%s\n' "$folder"
}

# Takes files out of an official wheel of ONNX Runtime on PyPI, once: the library, its licences, and further members of
# onnxruntime/capi. Prints the library's path.
# onnxruntime_wheel PACKAGE VERSION FOLDER MACHINE SHOWN SIZE OTHERWISE [MEMBER…]
onnxruntime_wheel() {
    local package=$1 version=$2 folder=$3 machine=$4 shown=$5 size=$6 otherwise=$7 name="libonnxruntime.so.$2"
    local hashes="${package//-/_}.sha256" python
    shift 7
    if [[ ! -f $folder/$name ]]; then
        python=$(pip_python)
        mkdir -p "$folder"
        work=$(mktemp -d "$folder/.fetch.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        say "$shown: downloading the official wheel from PyPI, once (about $size)"
        "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
            --platform "manylinux_2_28_$machine" --python-version 3.12 --implementation cp \
            --dest "$work" "$package==$version" >&2 ||
            die "the wheel could not be downloaded: try again with a network$otherwise"
        (cd "$work" && sha256sum --check --strict --quiet --ignore-missing "$root/scripts/$hashes" >&2) ||
            die "the wheel is not the pinned one (scripts/$hashes): nothing was installed"
        "$python" - "$work" "$name" "$@" <<'PY'
import pathlib, sys, zipfile

work, libraries = pathlib.Path(sys.argv[1]), sys.argv[2:]
(wheel,) = work.glob("*.whl")
members = [f"onnxruntime/capi/{library}" for library in libraries]
with zipfile.ZipFile(wheel) as archive:
    for member in members + ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"]:
        with archive.open(member) as packed, open(work / pathlib.Path(member).name, "wb") as unpacked:
            while piece := packed.read(1 << 24):
                unpacked.write(piece)
PY
        # The library comes last and by rename: it is there completely or not at all.
        (cd "$work" && mv LICENSE ThirdPartyNotices.txt "$@" "$folder/")
        chmod 755 "$work/$name"
        mv "$work/$name" "$folder/$name"
    fi
    say "$shown: $folder/$name"
    printf '%s\n' "$folder/$name"
}

# A store of images in that folder, where buildah leaves the machine's own alone. Its temporary files are there too.
own_images() {
    export CONTAINERS_STORAGE_CONF="$1/storage.conf" TMPDIR="${2:-$1}"
    cat >"$CONTAINERS_STORAGE_CONF" <<TOML
[storage]
driver = "${KOLK_IMAGE_STORAGE:-overlay}"
graphroot = "$1/store"
runroot = "$1/run"
TOML
}
