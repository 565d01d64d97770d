#!/usr/bin/env python3
"""The adding problem (Hochreiter and Schmidhuber 1997) as a Parquet file, and what trainings on it show.

    gradients.py data FILE SEQUENCES STEPS     makes the data
    gradients.py table MODELS DOCS NAME…       prints a table, and writes pictures of the reports into the folder DOCS

Of each sequence two numbers are marked, one in each half; the sum is what the last step asks for. To say 1 always has a
mean squared error of 1/6, the variance of the sum of two numbers from 0 to 1.
"""

import json
import pathlib
import re
import sys

REACH = "How far back the gradient reaches"
SHOWN = {"rnn", "lstm", "gru"}


def data(file: str, sequences: int, steps: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    random = np.random.default_rng(7)
    # One more row: it holds the sum, one step after the last number.
    rows = steps + 1
    numbers = random.random((sequences, rows))
    marks = np.zeros((sequences, rows))
    first = random.integers(0, steps // 2, sequences)
    second = random.integers(steps // 2, steps, sequences)
    every = np.arange(sequences)
    marks[every, first] = marks[every, second] = 1.0
    # The sum is asked for at the last step only, elsewhere it is null. The first value, their mean, is what the naive
    # forecast says.
    sums = np.full((sequences, rows), np.nan)
    sums[:, 0] = 1.0
    sums[:, -1] = (numbers * marks).sum(axis=1)
    parts = np.where(every < sequences * 8 // 10, "train", np.where(every < sequences * 9 // 10, "validation", "test"))
    table = pa.table({
        "sequence": pa.array([f"{sequence:05}" for sequence in every]).take(pa.array(every.repeat(rows))),
        "step": pa.array(np.tile(np.arange(rows), sequences)),
        "number": numbers.ravel(),
        "mark": marks.ravel(),
        "sum": pa.array(sums.ravel(), from_pandas=True),
        "part": pa.array(parts).take(pa.array(every.repeat(rows))),
    })
    pyarrow.parquet.write_table(table, file)


def picture(report: str, name: str, docs: pathlib.Path) -> None:
    """The report's picture of how far back the gradient reaches, as a file."""
    for svg in re.findall(r"<figure>(<svg.*?</svg>)</figure>", report, re.DOTALL):
        if REACH in svg:
            if "xmlns=" not in svg:
                svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
            (docs / f"gradients_{name}_reach.svg").write_text(svg.strip() + "\n")


def table(models: pathlib.Path, docs: pathlib.Path, names: list[str]) -> None:
    print("| pipeline | mean squared error on the test part | what log and report say |\n|---|---|---|")
    for name in names:
        folder = models / name / "1"
        if not folder.exists():
            log = (models.parent / f"{name}.log").read_text()
            why = [line for line in log.splitlines() if "no longer finite" in line]
            print(f"| `{name}` | – | {re.sub(r'^.*?the loss', 'the loss', why[-1]) if why else 'failed'} |")
            continue
        metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
        report = (folder / "report.html").read_text()
        words = re.findall(r"(The gradient of recurrent_0 .*?)</p>", report)
        print(f"| `{name}` | {metrics['sum.rmse'] ** 2:.4f} | {words[0] if words else ''} |")
        if name in SHOWN:
            picture(report, name, docs)


if sys.argv[1] == "data":
    data(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    table(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
