#!/usr/bin/env python3
"""Writes the SBOM of the image, CycloneDX as JSON: sbom.py CRATES ROOT ARCHITECTURE REVISION >image.cdx.json

CRATES is what cargo-cyclonedx wrote about the binary. ROOT is the unpacked image: its Debian packages and ONNX Runtime
are added. With SOURCE_DATE_EPOCH, the same image gives the same bytes.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import sys
import urllib.parse

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# Debian's names of architectures, and those of wheels.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def paragraphs(text: str) -> list[dict[str, str]]:
    """Debian's control format, without continued lines."""
    fields = re.compile(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", re.MULTILINE)
    return [dict(fields.findall(paragraph)) for paragraph in text.split("\n\n") if paragraph.strip()]


def debian(root: pathlib.Path) -> list[dict]:
    """The installed packages, by dpkg's status."""
    release = (root / "etc/os-release").read_text("utf-8")
    system = dict(line.replace('"', "").split("=", 1) for line in release.splitlines() if "=" in line)
    name, number = system["ID"], system.get("VERSION_ID", "")
    found = [{"type": "operating-system", "bom-ref": f"os:{name}", "name": name, "version": number}]
    for package in paragraphs((root / "var/lib/dpkg/status").read_text("utf-8")):
        if package["Status"] != "install ok installed":
            continue
        version = urllib.parse.quote(package["Version"], safe="")
        purl = f"pkg:deb/{name}/{package['Package']}@{version}?arch={package['Architecture']}&distro={name}-{number}"
        entry = {
            "type": "library",
            "bom-ref": purl,
            "name": package["Package"],
            "version": package["Version"],
            "purl": purl,
        }
        entry["supplier"] = {"name": package["Maintainer"]}
        # `source (version)`, where they differ from the package's; scanners look for faults by the source.
        source = package.get("Source", package["Package"])
        entry["properties"] = [{"name": "debian:source", "value": source}]
        entry["licenses"] = [{"license": {"name": f"see /usr/share/doc/{package['Package']}/copyright"}}]
        found.append(entry)
    return found


def onnxruntime(root: pathlib.Path, machine: str) -> dict:
    """The library's own hash, and that of the wheel that it comes from."""
    version = (REPOSITORY / "onnxruntime.version").read_text().strip()
    folder = root / "usr/local/lib/kolk"
    cuda = (folder / "libonnxruntime_providers_cuda.so").is_file()
    package = "onnxruntime-gpu" if cuda else "onnxruntime"
    library = folder / f"libonnxruntime.so.{version}"
    hashed = hashlib.sha256(library.read_bytes()).hexdigest()
    purl = f"pkg:pypi/{package}@{version}"
    (wheel,) = [
        line.split()
        for line in (REPOSITORY / f"scripts/{package.replace('-gpu', '_gpu')}.sha256").read_text().splitlines()
        if line.endswith(f"{machine}.whl")
    ]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package,
        "version": version,
        "purl": purl,
        "description": f"ONNX Runtime, the library {library.name} of the wheel on PyPI",
        "supplier": {"name": "Microsoft"},
        "hashes": [{"alg": "SHA-256", "content": hashed}],
        "licenses": [{"license": {"id": "MIT"}}],
        "externalReferences": [
            {"type": "website", "url": "https://onnxruntime.ai"},
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{package}/{version}/",
                "comment": wheel[1],
                "hashes": [{"alg": "SHA-256", "content": wheel[0]}],
            },
        ],
    }


def crates(path: pathlib.Path) -> dict:
    """What cargo-cyclonedx wrote, with names for what it names by the folder that it ran in."""
    text = path.read_text("utf-8")
    text = re.sub(r'path\+file://[^"#]*#(?:kolk@)?', "kolk@", text)
    text = re.sub(r"\?download_url=file://[^\"#]*", "", text)
    return json.loads(text)


def main(path: str, folder: str, architecture: str, revision: str) -> None:
    root = pathlib.Path(folder)
    found = crates(pathlib.Path(path))
    binary = found["metadata"]["component"]
    # Its targets are parts of one binary.
    binary.pop("components", None)
    library, packages = onnxruntime(root, MACHINES.get(architecture, architecture)), debian(root)
    time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    image = {
        "type": "container",
        "bom-ref": "image",
        "name": "kolk",
        "version": binary["version"],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [{"name": "architecture", "value": architecture}, {"name": "revision", "value": revision}],
    }
    dependencies = {it["ref"]: sorted(it.get("dependsOn", [])) for it in found["dependencies"]}
    dependencies[binary["bom-ref"]] = sorted([*dependencies[binary["bom-ref"]], library["bom-ref"]])
    dependencies["image"] = sorted([binary["bom-ref"], library["bom-ref"], *(it["bom-ref"] for it in packages)])
    for it in [library, *packages]:
        dependencies.setdefault(it["bom-ref"], [])
    result = {
        "bomFormat": "CycloneDX",
        "specVersion": found["specVersion"],
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": found["metadata"]["tools"],
            "component": image,
        },
        "components": [binary, library, *sorted(found["components"], key=lambda it: it["bom-ref"]), *packages],
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in sorted(dependencies.items())],
    }
    assert len({it["bom-ref"] for it in result["components"]}) == len(result["components"]), (
        "a component is there twice"
    )
    json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
    print(
        f"kolk: SBOM of {len(found['components'])} crates, {len(packages) - 1} Debian packages, {library['name']}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
