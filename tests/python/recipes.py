"""What the recipes of docs/models.md need around their commands.

recipes.py files torch|keras FIXTURES FOLDER   the ONNX file and the reference that the recipe's Python makes
recipes.py data torch|keras|silero FOLDER      data.parquet
recipes.py check torch|keras|silero FOLDER     compares out/ with a loop over one key and one step at a time
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

KEYS = 3
ROWS = 60
TOLERANCE = 1e-6
SAMPLES, SIZE, HOP = 320, 576, 512  # of a record, of a frame, of what is new in a frame


def files(recipe: str, fixtures: pathlib.Path, folder: pathlib.Path) -> None:
    """Files that the frameworks exported once, under the names of the recipe."""
    if recipe == "torch":
        model = onnx.load(fixtures / "torch_gru_step_script.onnx")
        arrays = np.load(fixtures / "torch_gru.npz")
        np.savez(folder / "gru.npz", x=arrays["seq"], y=arrays["yseq"])
    else:
        model = onnx.load(fixtures / "keras_gru.onnx")
        arrays = np.load(fixtures / "keras_gru.npz")
        np.savez(folder / "gru.npz", x=arrays["x"], forecast=arrays["y"])
        given = model.graph.input[0]
        for node in model.graph.node:
            node.input[:] = ["x" if name == given.name else name for name in node.input]
        given.name = "x"
    onnx.save(model, folder / "gru.onnx")


def series(key: int) -> np.ndarray:
    return np.sin(np.arange(ROWS) * 0.3 + key) + 0.1 * key


def sound(key: int) -> np.ndarray:
    chance = np.random.default_rng(key)
    swell = np.sin(np.arange(ROWS * SAMPLES) / 4000) ** 2
    tone = sum(np.sin(np.arange(ROWS * SAMPLES) * 0.05 * n) / n for n in range(1, 9))
    return ((0.2 * swell * tone + chance.normal(0, 0.01, ROWS * SAMPLES)) * 32768).clip(-32768, 32767).astype("<i2")


def data(recipe: str, folder: pathlib.Path) -> None:
    at = [(row, key) for row in range(ROWS) for key in range(KEYS)]
    columns = {
        "key": [f"key-{key}" for _, key in at],
        "ts": pa.array([1_767_225_600_000 + row * 20 for row, _ in at], pa.timestamp("ms", tz="UTC")),
    }
    if recipe == "silero":
        sounds = [sound(key).reshape(ROWS, SAMPLES) for key in range(KEYS)]
        columns["pcm"] = pa.array([sounds[key][row].tobytes() for row, key in at], pa.binary())
    else:
        values = [series(key) for key in range(KEYS)]
        columns["value"] = [values[key][row] for row, key in at]
    pq.write_table(pa.table(columns), folder / "data.parquet")


def loop(recipe: str, folder: pathlib.Path, key: int) -> list:
    """The outputs of a key; None where there is none yet."""
    (model,) = folder.glob("*.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = []
    if recipe == "torch":
        state = np.zeros((1, 1, 50), np.float32)
        for value in series(key).astype(np.float32):
            y, state = session.run(["y", "hn"], {"x": value.reshape(1, 1, 1), "h": state})
            found.append(y.item())
    elif recipe == "keras":
        values = series(key).astype(np.float32)
        for row in range(ROWS):
            window = values[max(row - 9, 0) : row + 1]
            y = session.run(None, {"x": window.reshape(1, -1, 1)})[0].item() if len(window) == 10 else None
            found.append(y)
    else:
        samples = np.concatenate([np.zeros(SIZE - HOP, np.float32), sound(key).astype(np.float32) / 32768])
        state = np.zeros((2, 1, 128), np.float32)
        for start in range(0, len(samples) - SIZE + 1, HOP):
            feed = {"input": samples[None, start : start + SIZE], "sr": np.array(16000, np.int64), "state": state}
            y, state = session.run(["output", "stateN"], feed)
            found.append(y.item())
    return found


def check(recipe: str, folder: pathlib.Path) -> None:
    table = pq.read_table(folder / "out").to_pandas()
    column = "speech" if recipe == "silero" else "forecast"
    largest, rows = 0.0, 0
    for key in range(KEYS):
        found = table[table["key"] == f"key-{key}"][column]
        found = [None if value is None or value != value else value for value in found]
        expected = loop(recipe, folder, key)
        assert [v is None for v in found] == [v is None for v in expected], (key, found[:12], expected[:12])
        apart = [abs(a - b) for a, b in zip(found, expected) if a is not None]
        largest, rows = max([largest, *apart]), rows + len(apart)
    print(f"{rows} outputs differ from those of a loop by at most {largest:.1e}")
    assert rows > KEYS * 30 and largest <= TOLERANCE


if __name__ == "__main__":
    command, recipe, *folders = sys.argv[1:]
    {"files": files, "data": data, "check": check}[command](recipe, *map(pathlib.Path, folders))
