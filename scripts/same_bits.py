#!/usr/bin/env python3
"""Compares what two kolk binaries left, for scripts/same_bits.sh, which says what is compared and what isn't.

    same_bits.py models BEFORE AFTER       two folders of one model in a registry
    same_bits.py output BEFORE AFTER       two folders of output; a registry, state and logs in them are left out
    same_bits.py interrupt STATE COMMAND   kills a command after a few checkpoints; fails if that was its end
    same_bits.py messages RECORDS          the demo's JSON lines as messages in the order of time: key, tab, payload

The first two print one line: "same", or "differs: " and where. Needs nothing but Python.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

from demo_kafka import records

NOT_OUTPUT = ("models", "state")
DURATION = re.compile(r"\b\d+(\.\d+)?\s?(ms|s|min|h)\b")
UPLOAD = re.compile(r"#\d+$")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def files(folder: pathlib.Path, without: tuple[str, ...] = ()) -> dict[str, pathlib.Path]:
    """All files under a folder by their relative path, without some folders at its top. What a killed upload left
    (`name#1`, where no reader looks) is not counted: the next run deletes it after an hour."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not UPLOAD.search(path.name))
    named = {str(path.relative_to(folder)): path for path in found}
    return {name: path for name, path in named.items() if name.split("/")[0] not in without}


def output(before: pathlib.Path, after: pathlib.Path) -> str:
    """Compares every file byte by byte."""
    old, new = files(before, NOT_OUTPUT), files(after, NOT_OUTPUT)
    if not any(path.stat().st_size for path in old.values()):
        return "differs: BEFORE wrote nothing"
    differing = sorted(name for name in old.keys() | new.keys() if not same_bytes(old.get(name), new.get(name)))
    count = f"{len(old)} file{'s' if len(old) > 1 else ''}"
    return f"differs: {', '.join(differing)}" if differing else f"same ({count})"


def same_bytes(one: pathlib.Path | None, other: pathlib.Path | None) -> bool:
    return one is not None and other is not None and one.read_bytes() == other.read_bytes()


def fields(value: object, path: str = "") -> dict[str, object]:
    """The leaves of a JSON value by their paths."""
    if isinstance(value, dict) and value:
        return {name: leaf for key, inner in value.items() for name, leaf in fields(inner, f"{path}.{key}").items()}
    return {path.lstrip("."): value}


def manifests(before: pathlib.Path, after: pathlib.Path) -> tuple[list[str], list[str]]:
    """What differs between two manifests, and what only the second has."""
    old, new = (fields(json.loads(path.read_text())) for path in (before, after))
    changed = [name for name in old if name != "files.report.html" and (name not in new or old[name] != new[name])]
    return [f"manifest.json ({', '.join(changed)})"] if changed else [], [name for name in new if name not in old]


def reports(before: pathlib.Path, after: pathlib.Path) -> tuple[list[str], list[str]]:
    """Whether two reports show other numbers, or only other words, or more."""
    old, new = (DURATION.sub("", path.read_text()) for path in (before, after))
    if old == new:
        return [], []
    if NUMBER.findall(old) == NUMBER.findall(new):
        return [], ["words of report.html"]
    found = iter(NUMBER.findall(new))
    if all(number in found for number in NUMBER.findall(old)):
        return [], ["more in report.html"]
    return ["report.html"], []


def models(before: pathlib.Path, after: pathlib.Path) -> str:
    """Compares every version of a model."""
    old, new = files(before), files(after)
    if not old:
        return "differs: BEFORE published nothing"
    differing, others = [], []
    for name in sorted(old.keys() | new.keys()):
        if same_bytes(old.get(name), new.get(name)):
            continue
        judge = {"manifest.json": manifests, "report.html": reports}.get(name.split("/")[-1])
        if judge is None or name not in old or name not in new:
            differing.append(name)
            continue
        wrong, allowed = judge(old[name], new[name])
        differing += wrong
        others += allowed
    if differing:
        return f"differs: {', '.join(differing)}"
    return f"same (but for: {', '.join(others)})" if others else "same"


def progress(state: pathlib.Path) -> tuple[int, bool]:
    """The highest number of a manifest of any partition, and whether all partitions are done."""
    newest: dict[pathlib.Path, pathlib.Path] = {}
    for path in sorted(state.glob("*/[0-9]*.json")):
        newest[path.parent] = path
    done = bool(newest) and all(b'"finished": true' in path.read_bytes() for path in newest.values())
    return max((int(path.stem.split("-")[0]) for path in newest.values()), default=-1), done


def interrupt(state: pathlib.Path, command: list[str]) -> None:
    """Kills a run after its third checkpoint."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and progress(state)[0] < 2:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    if child.returncode != -signal.SIGKILL or progress(state)[1]:
        sys.exit("the run was over before it was killed")


def messages(path: str) -> None:
    for row in records(path):
        message = {name: value for name, value in row.items() if name != "origin"}
        print(f"{row['origin']}\t{json.dumps(message)}")


def main() -> None:
    match sys.argv[1:]:
        case ["models", before, after]:
            print(models(pathlib.Path(before), pathlib.Path(after)))
        case ["output", before, after]:
            print(output(pathlib.Path(before), pathlib.Path(after)))
        case ["interrupt", state, *command] if command:
            interrupt(pathlib.Path(state), command)
        case ["messages", path]:
            messages(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
