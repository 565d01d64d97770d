#!/usr/bin/env bash
# Runs the image that make image built, or another OCI archive, as a cluster would: as user 10001 on a read-only root,
# with kolk as process 1 (bubblewrap). Checks what is in it, ends it by signals before it has begun, runs the demo, and
# runs the pipeline of deploy/ on a Kafka outside of it. Needs root, to unpack the image.
#
#   scripts/image_test.sh [ARCHIVE]
#
# KOLK_KAFKA names a broker that scripts/kafka.sh started, in the folder KOLK_KAFKA_DIR; otherwise the script starts
# one, and stops it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
archive="${1:-$cache/image/out/kolk-$version-$(dpkg --print-architecture).oci.tar}"
sbom="${archive%.oci.tar}.cdx.json"
[[ -f $archive && -f $sbom ]] || die "no $archive with its SBOM: run make image first"
[[ $(id -u) == 0 ]] || die "unpacking the image needs root: sudo make image-test"
for command in buildah bwrap setpriv kcat; do
    command -v "$command" >/dev/null || die "$command is missing: make image test-tools installs it"
done
started=$SECONDS
step() { printf '\n== %s\n' "$*"; }

# User 10001 must reach it.
work=$(mktemp -d "${KOLK_IMAGE_WORK:-/tmp}/kolk-image.XXXXXX")
chmod 755 "$work"
own_kafka="" container=""
finish() {
    if [[ -n $own_kafka ]]; then scripts/kafka.sh clean || true; fi
    if [[ -n $container ]]; then buildah rm "$container" >/dev/null || true; fi
    if [[ -n ${KEEP:-} ]]; then say "kept: $work"; else rm -rf "$work"; fi
}
at_end finish

# The archive itself, in a store of its own.
own_images "$work"
container=$(buildah from --quiet "oci-archive:$archive")
buildah inspect "$container" >"$work/inspect.json"
cp -a "$(buildah mount "$container")" "$work/root"
buildah rm "$container" >/dev/null
container=""
rm -rf "$work/store"
unset CONTAINERS_STORAGE_CONF TMPDIR

export PYTHONDONTWRITEBYTECODE=1
checks=tests/image
step "$(basename "$archive"), $(du -m "$archive" | cut -f 1) MB: what is in it"
python3 "$checks/contents.py" "$work/root" "$work/inspect.json" "$sbom" "$version"

step "SBOM: the schema of CycloneDX"
venv="$cache/image/venv-$(sha256sum "$checks/requirements.txt" | cut -c1-12)"
if [[ ! -f $venv/complete ]]; then
    say "CycloneDX's validator: downloading it from PyPI, once"
    rm -rf "$venv"
    python3 -m venv "$venv" || die "no venv (Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$checks/requirements.txt" >&2 ||
        die "the packages could not be installed: try again with a network"
    touch "$venv/complete"
fi
"$venv/bin/python" "$checks/schema.py" "$sbom"

step "signals to process 1"
python3 "$checks/signals.py" "$work/root" "$work/inspect.json" "$work/signals"

step "the demo, and Kafka"
if [[ -z ${KOLK_KAFKA:-} ]]; then
    export KOLK_KAFKA_DIR="$cache/kafka/image-$$"
    own_kafka=yes
    KOLK_KAFKA=$(scripts/kafka.sh start)
fi
topic="image-$$-$RANDOM"
for name in "$topic" "$topic-forecasts" "$topic-refused"; do scripts/kafka.sh topic "$name"; done
python3 "$checks/pipelines.py" "$work/root" "$work/inspect.json" "$work/pipelines" "$KOLK_KAFKA" "$topic"
printf '\n%s\n' "the image: all checks passed in $((SECONDS - started)) s"
