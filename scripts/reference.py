#!/usr/bin/env python3
"""Imports the ONNX files of a folder and compares them with their frameworks, for scripts/reference.sh.

Runs in the Python of the tests (scripts/python.sh): NumPy.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

TOLERANCE = 1e-6


def kolk(binary: str, *words: object) -> tuple[int, str, str]:
    done = subprocess.run([binary, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def arrays(onnx: pathlib.Path) -> pathlib.Path | None:
    """The .npz with the longest name that the file's name begins with."""
    names = [path for path in onnx.parent.glob("*.npz") if f"{onnx.stem}_".startswith(f"{path.stem}_")]
    return max(names, key=lambda path: len(path.stem), default=None)


def reference(path: pathlib.Path, found: dict, card: str, folder: pathlib.Path) -> pathlib.Path:
    """The arrays under the names of the graph. Steps from zero state are `seq` and `yseq`, windows `x` and `y`."""
    given = np.load(path)
    carried = re.findall(r"^  \"?([^\"\n]+?)\"?: \{ out: \"?([^\",\n]+)", card, re.MULTILINE)
    inputs = [one["name"] for one in found["inputs"] if one["name"] not in [name for name, _ in carried]]
    outputs = [one["name"] for one in found["outputs"] if one["name"] not in [out for _, out in carried]]
    x, y = ("seq", "yseq") if carried and "seq" in given else ("x", "y")
    made = folder / "reference.npz"
    np.savez(made, **{inputs[0]: given[x], outputs[0]: given[y]})
    return made


def one(binary: str, onnx: pathlib.Path, folder: pathlib.Path) -> tuple[str, str, bool]:
    """The layout, what came of the file, and whether that is as it should be."""
    code, text, errors = kolk(binary, "models", "inspect", onnx, "--json")
    if code != 0:
        return "-", errors.strip(), False
    found = json.loads(text)
    card = folder / "card.yaml"
    card.write_text(found["card"].replace(f"onnx: {onnx.name}", f"onnx: {json.dumps(str(onnx.resolve()))}"))
    layout = re.search(r"^layout: (\w+)", found["card"], re.MULTILINE).group(1)
    words = ["models", "import", card, "--models", folder / "models"]
    if path := arrays(onnx):
        words += ["--reference", reference(path, found, found["card"], folder)]
    code, _, errors = kolk(binary, *words)
    if code != 0:
        lines = [line.split("card.yaml:", 1)[1] for line in errors.splitlines() if "card.yaml:" in line]
        why = lines[0].split(": ", 1)[-1] if lines else errors.strip()
        return layout, f"refused: {why}", "unrolled" in why
    bitwise = re.search(r"bitwise: (yes \(one by one\)|\w+)", errors).group(1)
    apart = [float(number) for number in re.findall(r"differs from the reference by at most ([0-9.e+-]+)", errors)]
    compared = f"differs by {max(apart):.1e} at most" if apart else "not compared: there is no .npz"
    return layout, f"imported, bitwise: {bitwise}; {compared}", all(difference <= TOLERANCE for difference in apart)


def main() -> None:
    binary, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    files = sorted(folder.glob("*.onnx"))
    if not files:
        sys.exit(f"{folder}: no ONNX files")
    width, wrong = max(len(path.name) for path in files), []
    for path in files:
        with tempfile.TemporaryDirectory() as temporary:
            layout, outcome, good = one(binary, path, pathlib.Path(temporary))
        print(f"{path.name:{width}}  {layout:11}  {outcome}", flush=True)
        if not good:
            wrong.append(path.name)
    if wrong:
        sys.exit(f"not as expected: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
