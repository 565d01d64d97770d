#!/usr/bin/env python3
"""Writes the licences of everything that is compiled into the binary: licences.py FOLDER.

THIRD-PARTY.txt lists the crates and has each text once, with the crates that have it. It includes the texts of C code
that crates bring along. COPYRIGHT-rust.html is that of Rust's standard library. Fails if there is no text for a crate.
Needs cargo, and the crates in its cache: run it after a build.
"""

import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = re.compile(r"^((un)?licen[cs]es?|copying|copyright|notice|patents)([-._].*)?$", re.IGNORECASE)


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked() -> list[dict]:
    """The packages that the binary is made of, for this machine: no build scripts' and no tests' dependencies."""
    host = next(line.split()[1] for line in output("rustc", "-vV").splitlines() if line.startswith("host:"))
    found = json.loads(
        output("cargo", "metadata", "--locked", "--offline", "--format-version=1", f"--filter-platform={host}")
    )
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    (kolk,) = [package["id"] for package in found["packages"] if package["name"] == "kolk" and not package["source"]]
    seen, waiting = {kolk}, [kolk]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return sorted((packages[it] for it in seen - {kolk}), key=lambda it: (it["name"], it["version"]))


def texts(package: dict) -> list[tuple[str, str]]:
    """The files with licences and notices, by their path within the crate."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and NAMES.match(file.name)]
    if package["license_file"]:
        files.append(folder / package["license_file"])
    return [
        (file.relative_to(folder).as_posix(), file.read_text("utf-8", "replace").strip())
        for file in dict.fromkeys(files)
    ]


def main(target: pathlib.Path) -> None:
    packages = linked()
    own = {package["id"]: texts(package) for package in packages}
    users: dict[str, list[str]] = collections.defaultdict(list)
    for package in packages:
        found = own[package["id"]]
        if not found:
            # A crate without a file: those of its sibling in the same repository, or the standard text of Apache-2.0.
            repository = (package["repository"] or "").rstrip("/")
            siblings = [
                it
                for it in packages
                if repository and (it["repository"] or "").rstrip("/") == repository and own[it["id"]]
            ]
            if siblings:
                found = own[siblings[0]["id"]]
            elif "Apache-2.0" in re.split(r"[ /()]+", package["license"] or ""):
                found = [("Apache-2.0", (ROOT / "LICENSE").read_text("utf-8").strip())]
            else:
                sys.exit(f"licences: {package['name']} {package['version']} ({package['license']}) has no licence file")
        for path, text in found:
            users[text].append(f"{package['name']} {package['version']}: {path}")
    target.mkdir(parents=True, exist_ok=True)
    with open(target / "THIRD-PARTY.txt", "w", encoding="utf-8") as file:
        file.write("The kolk binary contains these Rust crates. Their licences follow; each text is here once.\n\n")
        for package in packages:
            file.write(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}\n")
        for text, names in users.items():
            file.write("\n" + "=" * 100 + "\n" + "\n".join(names) + "\n" + "-" * 100 + "\n\n" + text + "\n")
    notice = pathlib.Path(output("rustc", "--print=sysroot").strip()) / "share/doc/rust/COPYRIGHT-library.html"
    if not notice.is_file():
        sys.exit(f"licences: {notice}, the licences of Rust's standard library, is not there")
    shutil.copy(notice, target / "COPYRIGHT-rust.html")
    print(f"kolk: licences of {len(packages)} crates, {len(users)} texts", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
