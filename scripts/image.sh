#!/usr/bin/env bash
# Builds the image of deploy/Dockerfile without a registry and without Docker, and checks what is in it: licences and
# origins of the crates, an SBOM, the tests of scripts/image_test.sh. Prints the path of the image, an OCI archive; its
# SBOM lies beside it. For Debian as root; elsewhere use docker build. Arguments are passed to buildah bud.
#
# Buildah builds it, in a chroot, on bases that mmdebstrap makes from Debian's packages. Rust is this machine's own. The
# first build downloads crates, ONNX Runtime, cargo-deny and cargo-cyclonedx, all kept in the cache; later ones compile
# what has changed. KOLK_IMAGE_FRESH=1 makes the bases again, with Debian's newest packages.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

deny=0.20.2
cyclonedx=0.5.9
work="$cache/image"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
revision=$(git rev-parse HEAD 2>/dev/null || printf 'unknown')
[[ -z $(git status --porcelain 2>/dev/null) ]] || revision+="-modified"
# The time of the image and of the SBOM, so that the same commit has the same.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || printf '0')}
export SOURCE_DATE_EPOCH

# What is written in two files.
rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
for line in "VERSION=$version" "RUST=rust:$rust-bookworm"; do
    grep -qx "ARG $line" deploy/Dockerfile || die "deploy/Dockerfile has another default than ARG $line"
done

scripts/build-tools.sh >&2
packages=()
for command in buildah mmdebstrap; do command -v "$command" >/dev/null || packages+=("$command"); done
command -v bwrap >/dev/null || packages+=(bubblewrap)
if ((${#packages[@]} > 0)); then
    line="apt-get install -y --no-install-recommends ${packages[*]}"
    command -v apt-get >/dev/null || die "this needs Debian (missing: ${packages[*]}); docker build works anywhere"
    [[ $(id -u) == 0 ]] || die "missing: ${packages[*]}; type: sudo $line"
    say "image tools: installing ${packages[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi
[[ $(id -u) == 0 ]] || die "mmdebstrap and buildah need root: sudo make image; docker build needs none"

# Everything of theirs is in the cache, and nothing of the machine's containers is touched.
mkdir -p "$work/tmp" "$work/build" "$work/out"
own_images "$work" "$work/tmp"
# Two builds at the same time must not share the compiled crates.
exec 9>"$work/lock"
flock 9

containers=()
finish() {
    local container
    for container in "${containers[@]}"; do buildah rm "$container" >/dev/null || true; done
}
at_end finish

# cargo_tool NAME VERSION: prints the folder of its binary.
cargo_tool() {
    local folder="$work/tools/$1-$2"
    if [[ ! -x $folder/bin/$1 ]]; then
        say "$1 $2: building it, once (some minutes)"
        CARGO_TARGET_DIR="$work/tools/target" cargo install --quiet --locked --root "$folder" "$1@$2" >&2 ||
            die "$1 could not be built: try again with a network"
        rm -rf "$work/tools/target"
    fi
    printf '%s\n' "$folder/bin"
}
deny=$(cargo_tool cargo-deny "$deny")
cyclonedx=$(cargo_tool cargo-cyclonedx "$cyclonedx")

say "licences, bans and sources of the crates (deny.toml)"
PATH="$deny:$PATH" cargo deny --locked check licenses bans sources >&2

# base NAME PACKAGES: an image of Debian's essential packages and these, without manuals and translations.
suite=${KOLK_IMAGE_SUITE:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
base() {
    local name="localhost/kolk-$1" container
    if [[ -z ${KOLK_IMAGE_FRESH:-} ]] && buildah inspect --type image "$name" >/dev/null 2>&1; then return; fi
    say "$name: making it from Debian's packages, once"
    mmdebstrap --quiet --variant=essential --include="$2" --skip=output/dev \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' "$suite" "$work/tmp/base.tar" >&2 ||
        die "the base could not be made: try again with a network"
    container=$(buildah from scratch)
    containers+=("$container")
    buildah add --quiet "$container" "$work/tmp/base.tar" / >/dev/null
    buildah config --env "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$container"
    # Where this machine's Rust will be, and that it finds all crates in the cache, see below.
    [[ $1 != rust* ]] || buildah config --env "PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --env CARGO_NET_OFFLINE=true "$container"
    buildah commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$container" "$name" >/dev/null
    rm "$work/tmp/base.tar"
}
# Another Rust is another base, so that everything is compiled again.
rust="$suite-rust-$(rustc -V | cut -d ' ' -f 2)"
base base:"$suite" ca-certificates,libgcc-s1,libssl3,libstdc++6,tzdata,zlib1g
base "rust:$rust" ca-certificates,g++,gcc,libssl-dev,make,pkg-config,python3-pip,python3-venv,zlib1g-dev

# What is downloaded is downloaded here; the build itself needs no network.
here="$work/build/$(uname -m)"
host=$(rustc -vV | sed -n 's/^host: //p')
CARGO_HOME="$here/cargo" cargo fetch --quiet --locked --target "$host"
XDG_CACHE_HOME="$here" ORT_DYLIB_PATH="" scripts/onnxruntime.sh >/dev/null
# The cache of the build is a folder of this machine: where both are, buildah takes one or the other.
sed 's/--mount=type=cache[^ ]* //' deploy/Dockerfile >"$work/tmp/Dockerfile"
say "building the image; the first time it compiles all crates (some minutes)"
buildah bud --isolation chroot --pull-never --layers --timestamp "$SOURCE_DATE_EPOCH" --format oci \
    --volume "$(rustc --print sysroot):/usr/local/rust:ro" --volume "$work/build:/var/cache/kolk" \
    --build-arg "RUST=localhost/kolk-rust:$rust" --build-arg "BASE=localhost/kolk-base:$suite" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$@" \
    --tag localhost/kolk:plain --file "$work/tmp/Dockerfile" . >&2

say "SBOM"
container=$(buildah from --pull-never localhost/kolk:plain)
containers+=("$container")
mounted=$(buildah mount "$container")
architecture=$(dpkg --print-architecture)
image="$work/out/kolk-$version-$architecture"
# cargo-cyclonedx writes beside each Cargo.toml: in a copy.
rm -rf "$work/tmp/sbom"
mkdir -p "$work/tmp/sbom"
cp -r Cargo.toml Cargo.lock build.rs src benches fuzz "$work/tmp/sbom/"
(
    cd "$work/tmp/sbom"
    PATH="$cyclonedx:$PATH" CARGO_HOME="$here/cargo" cargo cyclonedx --quiet --format json --spec-version 1.5 --all \
        --no-build-deps --target "$host" --override-filename crates
)
python3 scripts/sbom.py "$work/tmp/sbom/crates.json" "$mounted" "$architecture" "$revision" >"$image.cdx.json"
rm -rf "$work/tmp/sbom"
buildah copy --quiet "$container" "$image.cdx.json" /usr/share/doc/kolk/sbom.cdx.json >/dev/null
buildah commit --quiet --timestamp "$SOURCE_DATE_EPOCH" --format oci "$container" "localhost/kolk:$version" >/dev/null
rm -f "$image.oci.tar"
buildah push --quiet "localhost/kolk:$version" "oci-archive:$image.oci.tar:kolk:$version"
size=$(du -m "$image.oci.tar" | cut -f 1)
say "kolk:$version, $size MB, in $SECONDS s: $image.oci.tar, and its SBOM $image.cdx.json"
printf '%s\n' "$image.oci.tar"
