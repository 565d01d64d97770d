#!/usr/bin/env python3
"""Sound of many callers through Kafka, for scripts/demo_voice.sh: writes it in records of 20 ms, runs kolk and kills it
once, reads the probabilities of speech, and compares each with that of a loop in plain Python.

Runs in the Python of the tests (scripts/python.sh): NumPy, ONNX Runtime and Confluent's Kafka client.
"""

import argparse
import base64
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
import wave

import numpy as np
import onnxruntime
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

RATE = 16_000
RECORD = RATE // 50  # samples of a record: 20 ms
HOP, CONTEXT = 512, 64  # of a frame: new samples, and those of the frame before it, as silero-vad's wrapper has it
BEGIN = 1_767_225_600_000  # 2026-01-01, in milliseconds
TOLERANCE = 1e-6
PATIENCE = 120  # seconds without an output, after which the demo gives up


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kolk", help="the binary")
    parser.add_argument("pipeline")
    parser.add_argument("out", type=pathlib.Path, help="folder with the ONNX file, for the log and the picture")
    parser.add_argument("onnx", help="the name of that file")
    parser.add_argument("--callers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8, help="length of each caller's sound")
    parser.add_argument("--speech", type=pathlib.Path, help="folder of WAV files; by default synthetic bursts")
    return parser.parse_args()


# Sound


def at_rate(path: pathlib.Path) -> np.ndarray:
    """A WAV file of 16 bit, one channel, as floats at the model's rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float64)
        rate = file.getframerate()
    wanted = len(samples) * RATE // rate
    # Cut off above half of the new rate, so nothing is folded.
    return np.fft.irfft(np.fft.rfft(samples)[: wanted // 2 + 1], wanted) * (wanted / len(samples)) / 32768


def bursts() -> list[np.ndarray]:
    """Sounds with a few harmonics that swell and fade. They stand in for speech where there is none."""
    made = []
    for pitch in (95, 120, 160, 210, 250):
        t = np.arange(int(1.2 * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * pitch * n * t * (1 + 0.02 * np.sin(2 * np.pi * 3 * t))) / n for n in range(1, 12))
        made.append(0.1 * tone * np.sin(2 * np.pi * 2.5 * t) ** 2)
    return made


def caller(seed: int, count: int, voices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The int16 samples of a caller: pauses and sentences, in noise; and where the sentences are."""
    chance = np.random.default_rng(seed)
    sound, spoken = np.zeros(count), np.zeros(count, dtype=bool)
    at = int(chance.uniform(0.3, 1.5) * RATE)
    while at < count:
        voice = voices[chance.integers(len(voices))][: count - at]
        sound[at : at + len(voice)] = voice * chance.uniform(0.4, 1.2)
        spoken[at : at + len(voice)] = True
        at += len(voice) + int(chance.uniform(0.4, 1.5) * RATE)
    sound += chance.normal(0, 10 ** chance.uniform(-3.3, -2), count)
    return np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2"), spoken


# Kafka and kolk


class Kolk:
    """The process, and the CPU time that it and those before it took."""

    def __init__(self, binary: str, pipeline: str, log: pathlib.Path) -> None:
        self.command = [binary, "run", pipeline]
        self.log = log.open("wb")
        self.cpu = 0.0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += used.ru_utime + used.ru_stime


def write(broker: str, topic: str, sounds: list[np.ndarray], killed: threading.Event, failed: list[str]) -> None:
    """All callers at once: the first 20 ms of each, then the next. The last 40 % come after the kill, so the process
    that takes over goes on in the middle of each caller."""
    producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "linger.ms": 20,
                         "compression.type": "lz4", "enable.idempotence": True, "log_level": 3})

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    keys = [f"caller-{number:04}" for number in range(len(sounds))]
    for start in range(0, len(sounds[0]), RECORD):
        if start >= len(sounds[0]) * 0.6 and not killed.is_set():
            producer.flush()
            killed.wait()
        when = BEGIN + (start + RECORD) * 1000 // RATE
        for key, sound in zip(keys, sounds):
            pcm = base64.b64encode(sound[start : start + RECORD].tobytes()).decode()
            value = f'{{"ts":{when},"pcm":"{pcm}"}}'
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def read(broker: str, topic: str, kolk: Kolk, killed: threading.Event, got: np.ndarray, times: np.ndarray) -> None:
    """Reads until each frame has come, and then whether one comes again. Kills kolk after a third of them."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.subscribe([topic])
    rows, last = 0, time.monotonic()
    while True:
        messages = consumer.consume(1000, 1.0)
        for message in messages:
            if message.error():
                sys.exit(f"the outputs can't be read: {message.error()}")
            row = json.loads(message.value())
            number, frame = int(row["caller"].split("-")[1]), (row["ts"] - BEGIN) * RATE // 1000 // HOP - 1
            got[number, frame] = row["speech"]
            times[number, frame] += 1
        rows += len(messages)
        now = time.monotonic()
        if messages:
            last = now
        if rows >= got.size and now > last + 5:
            break
        if now > last + PATIENCE or kolk.ended():
            sys.exit(f"{rows} of {got.size} outputs came; the log of kolk: {kolk.log.name}")
        if rows >= got.size // 3 and not killed.is_set():
            print(f"$ kill -KILL {kolk.process.pid}     (after {rows} of {got.size} outputs; it is started again)",
                  flush=True)
            kolk.end(signal.SIGKILL)
            kolk.start()
            killed.set()
    consumer.close()


# What is expected


def loop(model: pathlib.Path, sounds: list[np.ndarray], frames: int) -> tuple[np.ndarray, float]:
    """What the wrapper of silero-vad does, in NumPy: one caller at a time, one frame at a time. Also its CPU time."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]
    fixed = {"sr": np.array(RATE, dtype=np.int64)} if "sr" in names else {}
    # One of two layers, or two of one; the outputs after the first are the next ones, in the same order.
    shapes = {"state": (2, 1, 128), "h": (1, 1, 128), "c": (1, 1, 128)}
    carried = [name for name in names if name in shapes]
    speech = np.empty((len(sounds), frames), dtype=np.float32)
    begin = time.process_time()
    for number, sound in enumerate(sounds):
        samples = sound.astype(np.float32) / 32768
        states = [np.zeros(shapes[name], dtype=np.float32) for name in carried]
        context = np.zeros((1, CONTEXT), dtype=np.float32)
        for frame in range(frames):
            x = np.concatenate([context, samples[None, frame * HOP : (frame + 1) * HOP]], axis=1)
            out, *states = session.run(None, {"input": x, **fixed, **dict(zip(carried, states))})
            context = x[:, -CONTEXT:]
            speech[number, frame] = out.item()
    return speech, time.process_time() - begin


# The picture


def picture(path: pathlib.Path, samples: np.ndarray, speech: np.ndarray, title: str) -> None:
    """Above the waveform, below the probability of speech, over the same time."""
    width, height, left, gap = 960, 130, 46, 34
    columns = np.array_split(samples.astype(np.float64) / 32768, width)
    top = max(max(abs(c.min()), abs(c.max())) for c in columns) or 1.0
    middle = 30 + height / 2
    shape = [f"{left + i},{middle - c.max() / top * height / 2:.1f}" for i, c in enumerate(columns)]
    shape += [f"{left + i},{middle - c.min() / top * height / 2:.1f}" for i, c in reversed(list(enumerate(columns)))]
    base = 30 + height + gap + height
    seconds = len(samples) / RATE
    step = HOP / RATE / seconds * width
    line = [f"{left + (frame + 1) * step:.1f},{base - p * height:.1f}" for frame, p in enumerate(speech)]
    parts = [f'<text x="{left}" y="18" font-weight="bold">{title}</text>',
             f'<polygon points="{" ".join(shape)}" fill="#5b7fa6"/>',
             f'<text x="{left}" y="{30 + height + gap - 8}">probability of speech</text>']
    for share in (0, 0.5, 1):
        y = base - share * height
        parts.append(f'<path d="M{left} {y}h{width}" stroke="#ddd"/><text x="{left - 6}" y="{y + 4}" '
                     f'text-anchor="end">{share:g}</text>')
    parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="#c0392b" stroke-width="1.5"/>')
    for second in range(int(seconds) + 1):
        x = left + second / seconds * width
        parts.append(f'<text x="{x:.0f}" y="{base + 18}" text-anchor="middle">{second} s</text>')
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {base + 28}" '
                    'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
                    + "".join(parts) + "</svg>\n", encoding="utf-8")


def main() -> None:
    options = arguments()
    broker, topic = os.environ["KOLK_KAFKA"], f"voice-{uuid.uuid4().hex[:8]}"
    os.environ["KOLK_VOICE"] = topic
    count = int(options.seconds * RATE) // RECORD * RECORD
    frames = count // HOP
    voices = [at_rate(path) for path in sorted(options.speech.glob("*.wav"))] if options.speech else bursts()
    random.Random(7).shuffle(voices)
    made = [caller(number, count, voices) for number in range(options.callers)]
    sounds = [samples for samples, _ in made]

    admin = AdminClient({"bootstrap.servers": broker})
    topics = [topic, f"{topic}-speech", f"{topic}-refused"]
    for future in admin.create_topics([NewTopic(name, num_partitions=4) for name in topics]).values():
        future.result()
    records = options.callers * count // RECORD
    print(f"\n{options.callers} callers, {count / RATE:g} s of sound each: {records} records of 20 ms, "
          f"{options.callers * frames} frames of 32 ms\n\n$ kolk run {options.pipeline}", flush=True)
    got = np.full((options.callers, frames), np.nan, dtype=np.float32)
    times = np.zeros((options.callers, frames), dtype=np.int64)
    failed: list[str] = []
    killed = threading.Event()
    kolk = Kolk(options.kolk, options.pipeline, options.out / "kolk.log")
    began = time.monotonic()
    try:
        threading.Thread(target=write, args=(broker, topic, sounds, killed, failed), daemon=True).start()
        read(broker, topics[1], kolk, killed, got, times)
        kolk.end(signal.SIGTERM)
    finally:
        if not kolk.ended():
            kolk.process.kill()
        for future in admin.delete_topics(topics).values():
            future.result()
    if failed:
        sys.exit(f"{len(failed)} records could not be written: {failed[0]}")
    print(f"all outputs after {time.monotonic() - began - 5:.1f} s\n", flush=True)

    expected, cpu = loop(options.out / options.onnx, sounds, frames)
    difference = float(np.max(np.abs(got - expected)))
    once = bool((times == 1).all())
    spoken = np.array([where[: frames * HOP].reshape(frames, HOP).mean(axis=1) for _, where in made])
    print(f"frames of each caller         {frames}, each exactly once: {'yes' if once else 'NO'}")
    print(f"largest difference to Python  {difference:.1e}")
    print(f"probability of speech         {got[spoken == 1].mean():.2f} in sentences, {got[spoken == 0].mean():.2f} "
          f"in pauses{'' if options.speech else ' (synthetic bursts, no speech)'}")
    print(f"CPU time of kolk              {kolk.cpu:.2f} s with Kafka, decoding, checkpoints and what the kill undid")
    print(f"CPU time of the Python loop   {cpu:.2f} s without Kafka")
    image = options.out / "voice.svg"
    picture(image, sounds[0], got[0], "caller-0000" + ("" if options.speech else ": synthetic bursts, no speech"))
    print(f"\nwaveform and probability of one caller: {image}")
    if not once or not difference <= TOLERANCE:
        sys.exit("a frame is missing, came twice, or differs from that of the Python loop")


if __name__ == "__main__":
    main()
