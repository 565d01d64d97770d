"""What a container runtime does with an image, by bubblewrap: a read-only root, user 10001, process 1, signals.

Lives here: the sandbox and its processes. Must not live here: what is expected of them.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

USER = 10001
# Minutes: only a real fault reaches it.
LIMIT = 300


class Image:
    """An image's unpacked root file system, and its configuration."""

    def __init__(self, root: str, inspected: str) -> None:
        self.root = pathlib.Path(root)
        self.config = json.loads(pathlib.Path(inspected).read_text())["OCIv1"]["config"]

    def command(
        self,
        *arguments: str,
        program: list[str] | None = None,
        mounts: list[tuple[str, str, str]] = (),
        variables: dict[str, str] | None = None,
    ) -> list[str]:
        """The entry point, or another program, in its sandbox. Mounts are (ro or rw, folder here, folder there)."""
        line = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "bwrap"]
        line += [
            "--unshare-user",
            "--uid",
            str(USER),
            "--gid",
            str(USER),
            "--unshare-pid",
            "--as-pid-1",
            "--unshare-ipc",
        ]
        line += ["--unshare-uts", "--die-with-parent", "--new-session", "--ro-bind", str(self.root), "/"]
        line += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv"]
        for kind, here, there in mounts:
            line += ["--ro-bind" if kind == "ro" else "--bind", str(here), there]
        settings = dict(variable.split("=", 1) for variable in self.config["Env"]) | (variables or {})
        for name, value in settings.items():
            line += ["--setenv", name, value]
        line += ["--chdir", self.config["WorkingDir"], "--info-fd", "{info}", "--"]
        return line + (program or self.config["Entrypoint"]) + list(arguments)

    def run(self, *arguments: str, code: int = 0, shown: bool = False, **options: object) -> str:
        """Runs it to its end; the output. With another exit code than that, fails."""
        with self.started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options) as process:
            output, _ = process.child.communicate(timeout=6 * LIMIT)
        ended = process.child.returncode
        assert ended == code, f"{arguments}: exit code {ended} instead of {code}\n{output}"
        if shown:
            print(f"\n$ kolk {' '.join(arguments)}\n{output}", end="")
        return output

    @contextlib.contextmanager
    def started(self, *arguments: str, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options: object):
        """Starts it. At the end of the block it is gone."""
        reads, writes = os.pipe()
        line = [str(writes) if it == "{info}" else it for it in self.command(*arguments, **options)]
        # A SIGHUP that is ignored here would stay ignored there.
        child = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            pass_fds=[writes],
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        os.close(writes)
        with open(reads, encoding="utf-8") as info:
            text = info.read()
        process = Process(child, json.loads(text)["child-pid"] if text else None)
        try:
            yield process
        finally:
            if child.poll() is None:
                process.kill(signal.SIGKILL)
                child.wait()


class Process:
    """A process that is number 1 of its namespace; here it has another number."""

    def __init__(self, child: subprocess.Popen, number: int | None) -> None:
        self.child, self.number = child, number

    def kill(self, which: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.number:
                os.kill(self.number, which)
            elif which == signal.SIGKILL:
                self.child.kill()

    def until(self, attempt, what: str):
        """Waits for something while the process runs."""
        end = time.monotonic() + LIMIT
        while not (found := attempt()):
            assert self.child.poll() is None, f"{what}: it ended by itself, with exit code {self.child.returncode}"
            assert time.monotonic() < end, f"{what}: not within {LIMIT} s"
            time.sleep(0.0005)
        return found

    def ends(self) -> int:
        return self.child.wait(LIMIT)

    def is_program(self, name: str) -> bool:
        """Whether the sandbox has become that program: before, it is bubblewrap's."""
        with contextlib.suppress(OSError):
            return pathlib.Path(os.readlink(f"/proc/{self.number}/exe")).name == name
        return False

    def catches(self, which: int) -> bool:
        """Whether it has a handler for that signal."""
        status = pathlib.Path(f"/proc/{self.number}/status").read_text()
        (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(mask, 16) >> (which - 1) & 1)

    def inner_number(self) -> int:
        """Its number in its own namespace."""
        status = pathlib.Path(f"/proc/{self.number}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.number}/task"))
