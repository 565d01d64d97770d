"""Becomes a container: container.py SPEC.json, run as process 1 of namespaces of its own (mounts, processes, network).

The root is what an image has: the machine's programs and libraries, kolk and ONNX Runtime, all of it read-only. The
volumes are mounted where the rendered object says. Then the process becomes the container's command, as its user and
without rights. Lives here: what happens within the container's namespaces. Everything else is sandbox.py.
"""

import json
import os
import pathlib
import subprocess
import sys

# What an image has from its base.
BASE = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl", "/etc/ld.so.cache", "/etc/ld.so.conf.d", "/etc/localtime"]
DEVICES = ["null", "zero", "random", "urandom"]


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def bind(source, target, read_only):
    source, target = pathlib.Path(source), pathlib.Path(target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", source, target)
    mount("-o", f"remount,bind,nosuid,nodev,{'ro' if read_only else 'rw'}", target)


def main():
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
    root = pathlib.Path(spec["root"])
    mount("-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", root)
    for path in map(pathlib.Path, BASE):
        target = root / path.relative_to("/")
        if path.is_symlink() and path.resolve().is_relative_to("/usr"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.readlink(path))
        elif path.exists():
            bind(path, target, True)
    for source, path in spec["image"].items():
        bind(source, root / path.lstrip("/"), True)
    (root / "proc").mkdir()
    mount("-t", "proc", "proc", root / "proc")
    (root / "dev").mkdir()
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", root / "dev" / name)
    for volume in spec["volumes"]:
        target = root / volume["path"].lstrip("/")
        if volume["source"] is None:
            target.mkdir(parents=True, exist_ok=True)
            mount("-t", "tmpfs", "-o", f"size={volume['size']},mode=1777,nosuid,nodev", "tmpfs", target)
        else:
            bind(volume["source"], target, volume["read_only"])
    mount("-o", "remount,ro", root)
    os.chroot(root)
    os.chdir("/")
    command = ["setpriv", f"--reuid={spec['user']}", f"--regid={spec['group']}", "--clear-groups", "--no-new-privs"]
    command += ["--bounding-set=-all", "--inh-caps=-all", "--", *spec["command"]]
    os.execvpe("/usr/bin/setpriv", command, spec["env"])


main()
