"""A network of pods on one machine: a bridge, and for each pod a network namespace with an address of its own.

The driver runs in namespaces of its own (situations.py), so nothing here has a name or a port that another run could
have, and everything is gone when the driver ends, however it ends. Lives here: links, addresses, and starting a
container in a sandbox. Must not live here: what a StatefulSet does.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

# Of the driver, where the broker and the store listen. Pods have the addresses after it.
HOST = "10.64.0.1"
CONTAINER = pathlib.Path(__file__).with_name("container.py")


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True)


class Network:
    """The bridge."""

    def __init__(self):
        self.used = 0
        ip("link", "set", "lo", "up")
        ip("link", "add", "pods", "type", "bridge")
        ip("address", "add", f"{HOST}/16", "dev", "pods")
        ip("link", "set", "pods", "up")

    def sandbox(self):
        """A new namespace with the next address: what a node makes for a pod. It stays while containers restart."""
        self.used += 1
        return Sandbox(self.used)


class Sandbox:
    def __init__(self, number):
        self.address = f"10.64.{(number + 1) // 250}.{(number + 1) % 250 + 1}"
        self.link = f"pod{number}"
        # Holds the namespace, as the pause container of a pod does. It says when it is there.
        command = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        self.holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.holder.pid)
        ip("link", "set", self.link, "master", "pods", "up")
        self._inside("address", "add", f"{self.address}/16", "dev", "eth0")
        self._inside("link", "set", "eth0", "up")
        self._inside("link", "set", "lo", "up")

    def _inside(self, *words):
        subprocess.run(["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "ip", *words], check=True)

    def cut(self):
        """Nothing comes in or goes out any more, and nobody is told."""
        ip("link", "set", self.link, "down")

    def mend(self):
        ip("link", "set", self.link, "up")

    def remove(self):
        """With its namespace the link is gone too."""
        self.holder.kill()
        self.holder.wait()


class Container:
    """A container that runs in a sandbox."""

    def __init__(self, sandbox, spec, folder, log):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "root").mkdir(exist_ok=True)
        path = folder / "container.json"
        path.write_text(json.dumps(spec | {"root": str(folder / "root")}), encoding="utf-8")
        command = ["nsenter", f"--net=/proc/{sandbox.holder.pid}/ns/net"]
        command += ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, str(CONTAINER), str(path)]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.started = time.monotonic()

    def _first(self):
        """Process 1 of the container, as the driver sees it."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            found = children.read_text("utf-8").split()
        except OSError:
            found = []
        return int(found[0]) if found else None

    def signal(self, number):
        pid = self._first()
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        """SIGKILL, with everything that runs in it."""
        self.signal(signal.SIGKILL)
        if self.process.poll() is None:
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def code(self):
        """The exit code, None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, grace):
        """SIGTERM, and SIGKILL after the grace period; gives the exit code and the seconds that it took."""
        begin = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.code(), time.monotonic() - begin
