"""The Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv 1510.03336) for pipelines/joined/nab.yaml.

    python scripts/nab.py split DATA.parquet JOINED.parquet
    python scripts/nab.py score WINDOWS.json DATA.parquet OUTPUT-FOLDER

`split` puts the part beside each row: of each key the first 15 %, at most 750 rows, are there to learn from, as the
benchmark has it; the last 30 % of them are for validation. `score` reads the alerts that kolk wrote and prints their
score of the standard profile.
"""

import json
import math
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# The standard profile: what a detection within a window, one outside of all, and a missed window count.
HIT, FALSE_ALARM, MISS = 1.0, 0.11, 1.0


def rows_by_key(keys: list) -> dict:
    """The rows of each key, in their order."""
    rows = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def probation(rows: int) -> int:
    """Rows at the start of a series that are there to learn from."""
    return min(int(0.15 * rows), 750)


def split(data: str, target: str) -> None:
    table = pq.read_table(data, columns=["key", "ts", "value"])
    parts = np.full(table.num_rows, "test", dtype=object)
    for rows in rows_by_key(table["key"].to_pylist()).values():
        learn = probation(len(rows))
        parts[rows[:learn]] = "train"
        parts[rows[learn - int(0.3 * learn):learn]] = "validation"
    pq.write_table(table.append_column("split", pa.array(parts.tolist())), target, compression="zstd")


def sigmoid(position: float) -> float:
    return 2.0 / (1.0 + math.exp(min(5.0 * position, 700.0))) - 1.0


def spans(times: np.ndarray, windows: list) -> list:
    """First and last row of each window."""
    found = []
    for first, last in windows:
        within = np.flatnonzero((times >= np.datetime64(first)) & (times <= np.datetime64(last)))
        if len(within):
            found.append((within[0], within[-1]))
    return found


def worth(rows: int, windows: list) -> tuple:
    """Per row, what a detection there is worth, and the window that it hits (-1: none)."""
    value, window = np.full(rows, -FALSE_ALARM), np.full(rows, -1)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        for row in range(first, last + 1):
            value[row] = HIT * sigmoid(-(last - row + 1) / width) / sigmoid(-1.0)
            window[row] = number
        following = windows[number + 1][0] if number + 1 < len(windows) else rows
        for row in range(last + 1, following):
            value[row] = FALSE_ALARM * sigmoid((row - last) / max(width - 1, 1))
    return value, window


def score(labels: str, data: str, output: str) -> None:
    windows = {name.removesuffix(".csv"): found["windows"] for name, found in json.load(open(labels)).items()}
    table = pq.read_table(data, columns=["key", "ts"])
    times = table["ts"].to_numpy()
    output = pq.read_table(output, columns=["key", "alert"])
    written, alerts = rows_by_key(output["key"].to_pylist()), output["alert"].to_numpy(zero_copy_only=False)
    total, hits, false_alarms, there_are = 0.0, 0, 0, 0
    for key, rows in rows_by_key(table["key"].to_pylist()).items():
        if len(written.get(key, [])) != len(rows):
            sys.exit(f"{key} has {len(rows)} rows, but {len(written.get(key, []))} were written")
        of = spans(times[rows], windows[key])
        value, window = worth(len(rows), of)
        found = np.flatnonzero(alerts[written[key]])
        found = found[found >= probation(len(rows))]
        outside = found[window[found] < 0]
        # The best detection within a window counts, and every false alarm.
        best = [value[found[window[found] == number]].max(initial=-MISS) for number in range(len(of))]
        total += value[outside].sum() + sum(best)
        hits += len(np.unique(window[found[window[found] >= 0]]))
        false_alarms += len(outside)
        there_are += len(of)
    nothing, perfect = -MISS * there_are, HIT * there_are
    points = 100.0 * (total - nothing) / (perfect - nothing)
    print(f"NAB score {points:.1f}, standard profile: {hits} of {there_are} windows, {false_alarms} false alarms")


if __name__ == "__main__":
    {"split": split, "score": score}[sys.argv[1]](*sys.argv[2:])
