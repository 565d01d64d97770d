"""What is in the image, and what is not: labels, user, files, licences, SBOM."""

import json
import os
import pathlib
import stat
import sys

from image import Image

FORBIDDEN = "cc gcc g++ cpp as ld make cargo rustc python3 pip curl wget apt-get sudo gdb".split()
LABELS = "title description source documentation version revision licenses".split()


def configuration(image: Image, version: str) -> None:
    config = image.config
    assert config["User"] == "10001:10001", config["User"]
    assert config["Entrypoint"] == ["/usr/local/bin/kolk"], (
        "the entry point is not kolk alone: it would not be process 1"
    )
    labels = config["Labels"]
    missing = [label for label in LABELS if not labels.get(f"org.opencontainers.image.{label}")]
    assert not missing, f"labels are missing: {missing}"
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"] != "unknown"
    print(f"labels: {', '.join(LABELS)}; user {config['User']}; entry point {config['Entrypoint'][0]}")


def runs(path: pathlib.Path) -> bool:
    """Whether it is a program or a library, not only a file that somebody made executable."""
    with open(path, "rb") as file:
        return file.read(4).startswith((b"\x7fELF", b"#!"))


def files(root: pathlib.Path) -> int:
    """No setuid, nothing that everybody may write but /tmp, and no program but Debian's and kolk."""
    owned = set()
    for listed in (root / "var/lib/dpkg/info").glob("*.list"):
        # Packages may still name /bin, which is a link to /usr/bin.
        lines = listed.read_text("utf-8").splitlines()
        owned |= {os.path.realpath(f"{root}{line}") for line in lines}
    total, own = 0, []
    for folder, _, names in os.walk(root):
        for name in [".", *names]:
            path = pathlib.Path(folder, name)
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                continue
            shown = f"/{path.relative_to(root)}"
            total += found.st_size
            assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), f"{shown} is setuid or setgid"
            assert not found.st_mode & stat.S_IWOTH or shown == "/tmp", f"everybody may write {shown}"
            assert found.st_uid != 10001 or shown.startswith("/var/lib/kolk"), f"kolk's user may write {shown}"
            assert stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode), f"{shown} is a device or a pipe"
            if (
                stat.S_ISREG(found.st_mode)
                and found.st_mode & 0o111
                and str(path.resolve()) not in owned
                and runs(path)
            ):
                own.append(shown)
            assert name not in FORBIDDEN or not found.st_mode & 0o111, f"{shown} is in the image"
    programs = [path for path in own if not path.startswith(("/usr/local/lib/kolk/", "/var/lib/dpkg/info/"))]
    assert programs == ["/usr/local/bin/kolk"], f"programs that Debian doesn't have: {programs}"
    # Sections of a binary that isn't stripped.
    assert b"\0.symtab\0" not in (root / "usr/local/bin/kolk").read_bytes(), "kolk is not stripped"
    return total


def licences(root: pathlib.Path, sbom: dict) -> None:
    doc = root / "usr/share/doc"
    for name in [
        "LICENSE",
        "NOTICE",
        "COPYRIGHT-rust.html",
        "onnxruntime/LICENSE",
        "onnxruntime/ThirdPartyNotices.txt",
    ]:
        assert (doc / "kolk" / name).stat().st_size > 400, name
    crates = [it for it in sbom["components"] if it.get("purl", "").startswith("pkg:cargo/")]
    listed = (doc / "kolk/THIRD-PARTY.txt").read_text("utf-8")
    index, _, texts = listed.partition("=" * 100)
    for crate in crates:
        if crate["name"] != "kolk":
            assert f"\n{crate['name']} {crate['version']}: " in index, (
                f"no licence of {crate['name']} {crate['version']}"
            )
    assert "librdkafka/LICENSES.txt" in texts, "the licences of librdkafka's parts are missing"
    packages = [it for it in sbom["components"] if it.get("purl", "").startswith("pkg:deb/")]
    without = [it["name"] for it in packages if not (doc / it["name"] / "copyright").is_file()]
    assert not without, f"Debian packages without their copyright: {without}"
    print(f"licences: {len(crates)} crates, {len(packages)} Debian packages, ONNX Runtime, Rust's library")


def main(folder: str, inspected: str, sbom: str, version: str) -> None:
    image, root = Image(folder, inspected), pathlib.Path(folder)
    configuration(image, version)
    total = files(root)
    inside = (root / "usr/share/doc/kolk/sbom.cdx.json").read_bytes()
    assert inside == pathlib.Path(sbom).read_bytes(), "the SBOM in the image is another one than that beside it"
    licences(root, json.loads(inside))
    print(
        f"no setuid, nothing that everybody may write but /tmp, no compilers, kolk stripped; {total / 1e6:.0f} MB unpacked"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
