"""SIGTERM, SIGINT and SIGHUP to kolk as process 1 of the image: it ends at once, with the code of the signal.

The kernel drops a signal for process 1 that has no handler for it. So a handler that came too late would leave kolk
running, or with another exit code. What is waited for has no bound of time but that of a fault.
"""

import os
import signal
import socket
import sys
import time

from image import Image

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}

PIPELINE = """
name: signals
source: {{ kafka: {{ brokers: "127.0.0.1:{port}", topic: in, key: key }} }}
record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}
stages: [ infer: {{ model: m, mode: carry }} ]
sink: {{ kafka: {{ topic: out }} }}
dead_letters: {{ kafka: {{ topic: dead }} }}
state: {{ path: /tmp/state/ }}
models: /tmp/models
"""


def without_handler(image: Image) -> None:
    """The counterpart: a program without a handler doesn't notice SIGTERM there. Otherwise the rest would show nothing."""
    with image.started("600", program=["/bin/sleep"]) as process:
        process.until(lambda: process.is_program("sleep"), "sleep")
        assert process.inner_number() == 1
        process.kill(signal.SIGTERM)
        time.sleep(0.5)
        assert process.child.poll() is None, "process 1 ended by a signal for which it has no handler"


def first(image: Image, mounts: list) -> list[float]:
    """As soon as it has the handler, which is before it has read its pipeline file: a pipe, where it would wait."""
    waits = []
    for which, code in list(CODES.items()) * 5:
        with image.started("run", "/etc/kolk/pipe.yaml", mounts=mounts) as process:
            process.until(lambda: process.is_program("kolk"), "kolk")
            began = time.monotonic()
            process.until(lambda: process.catches(which), "a handler")
            process.kill(which)
            waits.append(time.monotonic() - began)
            assert (ended := process.ends()) == code, f"signal {which}: exit code {ended} instead of {code}"
    return waits


def before_its_file(image: Image, mounts: list, pipe: str) -> None:
    """While it waits for its pipeline file."""
    for command in ["run", "train", "check"]:
        with image.started(command, "/etc/kolk/pipe.yaml", mounts=mounts) as process:

            def opened() -> int | None:
                try:
                    return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:
                    return None

            held = process.until(opened, "the pipeline file")
            assert process.inner_number() == 1
            process.kill(signal.SIGTERM)
            assert (ended := process.ends()) == 143, f"{command}: exit code {ended}"
            os.close(held)


def before_its_broker(image: Image, folder: str, mounts: list) -> None:
    """While it waits for a broker that takes its connection and says nothing, and for one that isn't there."""
    for which, code in CODES.items():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(120)
            write(folder, listener.getsockname()[1])
            with image.started("run", "/etc/kolk/kafka.yaml", mounts=mounts) as process:
                connection, _ = listener.accept()
                process.kill(which)
                assert (ended := process.ends()) == code, f"silent broker, signal {which}: exit code {ended}"
                connection.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    write(folder, port)
    with image.started("run", "/etc/kolk/kafka.yaml", mounts=mounts) as process:
        # The client's threads run: it asks for its broker.
        process.until(lambda: process.threads() > 2, "threads")
        process.kill(signal.SIGTERM)
        assert (ended := process.ends()) == 143, f"no broker: exit code {ended}"


def write(folder: str, port: int) -> None:
    with open(f"{folder}/kafka.yaml", "w", encoding="utf-8") as file:
        file.write(PIPELINE.format(port=port))


def main(root: str, inspected: str, folder: str) -> None:
    image = Image(root, inspected)
    os.makedirs(folder, exist_ok=True)
    pipe = f"{folder}/pipe.yaml"
    os.mkfifo(pipe)
    os.chmod(pipe, 0o644)
    mounts = [("ro", folder, "/etc/kolk")]
    without_handler(image)
    waits = sorted(first(image, mounts))
    before_its_file(image, mounts, pipe)
    before_its_broker(image, folder, mounts)
    print("process 1 ends at once by SIGTERM, SIGINT, SIGHUP: as soon as it runs, before its file, before its broker")
    print(
        f"its handler was there {waits[len(waits) // 2] * 1000:.1f} ms after it was started (median; longest {waits[-1] * 1000:.1f} ms)"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
