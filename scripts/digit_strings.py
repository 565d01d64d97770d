"""Digit strings, made by joining recordings of one speaker: what pipelines/joined/digit_strings.yaml transcribes.

    python scripts/digit_strings.py SPOKEN_DIGITS.parquet STRINGS.parquet

Reads one row per frame: key, step, the mel columns, label (the digit), speaker, split. Writes the same with several
recordings under one key, their digits as `transcript`, and `last`, true at the last frame of a key. Recordings of the
test are joined with such of the test only. The same input gives the same output.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Strings per part, and digits in each.
STRINGS = {"train": 1500, "test": 300}
DIGITS = (2, 5)


def main(source: str, target: str) -> None:
    table = pq.read_table(source)
    keys = np.array(table["key"].to_pylist())
    mels = [name for name in table.column_names if name.startswith("mel")]
    frames = np.stack([table[name].to_numpy() for name in mels], axis=1)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    ends = np.r_[starts[1:], len(keys)]
    of = {name: [table[name][int(at)].as_py() for at in starts] for name in ("label", "speaker", "split")}
    random = np.random.default_rng(1)
    columns = {"key": [], "step": [], "transcript": [], "split": [], "last": []}
    parts = []
    for part, count in STRINGS.items():
        for number in range(count):
            speaker = random.choice(sorted(set(of["speaker"])))
            own = [i for i in range(len(starts)) if of["split"][i] == part and of["speaker"][i] == speaker]
            chosen = random.choice(own, random.integers(DIGITS[0], DIGITS[1] + 1))
            rows = np.concatenate([frames[starts[i]:ends[i]] for i in chosen])
            parts.append(rows)
            columns["key"] += [f"{part}_{number:04}"] * len(rows)
            columns["step"] += range(len(rows))
            columns["transcript"] += ["".join(of["label"][i] for i in chosen)] * len(rows)
            columns["split"] += [part] * len(rows)
            columns["last"] += [False] * (len(rows) - 1) + [True]
    rows = np.concatenate(parts).astype(frames.dtype)
    columns["step"] = pa.array(columns["step"], pa.int32())
    columns |= {name: rows[:, at] for at, name in enumerate(mels)}
    pq.write_table(pa.table(columns), target, compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])
