#!/usr/bin/env python3
"""The weather at three airports through Kafka, for scripts/demo_kafka.sh. Writes the records to a topic, one day per
second, and prints each forecast beside the value that was then observed.

Reads and writes with kcat, so that both ends use another client than kolk's. Needs nothing but Python.
"""

import argparse
import collections
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time

AIRPORTS = ("EWR", "JFK", "LGA")
HORIZON = 24
TARGETS = 2  # temp and pressure: a prediction holds both for each hour ahead
HOUR = 3_600_000
INPUT, OUTPUT = "weather", "weather-forecasts"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker", help="host:port")
    parser.add_argument("records", help="JSON lines, as kolk writes them to stdout")
    parser.add_argument("--live-from", default="2013-11-01", help="earlier records are written at once")
    parser.add_argument("--hours-per-second", type=float, default=24)
    parser.add_argument("--seconds", type=float, default=55, help="length of the live part; then it ends")
    parser.add_argument("--kill", help="a file with a process id; the process is killed after a third of that time")
    return parser.parse_args()


def kcat(broker: str, *options: str, **streams: object) -> subprocess.Popen:
    return subprocess.Popen(["kcat", "-q", "-b", broker, *options], text=True, **streams)


def millis(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def records(path: str) -> list[dict]:
    """The records of all airports in the order of time."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["time"] = millis(row["time"])
    rows.sort(key=lambda row: row["time"])
    return rows


def write(broker: str, rows: list[dict], live_from: int, pace: float, until: float) -> int:
    """Writes the records, those since `live_from` at a pace; returns the time of the last one."""
    producer = kcat(broker, "-P", "-t", INPUT, "-K", "\t", "-X", "linger.ms=5", "-X", "partitioner=murmur2_random",
                    stdin=subprocess.PIPE)
    last, started = 0, None
    for row in rows:
        if row["time"] >= live_from:
            started = started or time.monotonic()
            due = started + (row["time"] - live_from) / HOUR / pace
            if due > until:
                break
            if due > time.monotonic():
                producer.stdin.flush()
                time.sleep(max(0.0, due - time.monotonic()))
        last = row["time"]
        message = {name: value for name, value in row.items() if name != "origin"}
        producer.stdin.write(f"{row['origin']}\t{json.dumps(message)}\n")
    producer.stdin.close()
    if producer.wait() != 0:
        sys.exit("kcat could not write the records")
    return last


class Watch:
    """Reads the forecasts and compares them with the observed values."""

    def __init__(self) -> None:
        self.forecasts: dict[tuple[str, int], tuple[float, float]] = {}
        self.hours: dict[str, list[int]] = collections.defaultdict(list)
        self.errors: dict[str, list[float]] = collections.defaultdict(list)
        self.naive: dict[str, list[float]] = collections.defaultdict(list)
        self.lines: dict[int, dict[str, str]] = collections.defaultdict(dict)

    def take(self, row: dict) -> None:
        airport, now, temp = row["origin"], row["time"], row["temp"]
        self.hours[airport].append(now)
        made = self.forecasts.pop((airport, now), None)
        if made and temp is not None:
            forecast, before = made
            self.errors[airport].append(abs(forecast - temp))
            self.naive[airport].append(abs(before - temp))
            self.show(airport, now, forecast, temp)
        if row["prediction"] and temp is not None:
            predicted = row["prediction"][(HORIZON - 1) * TARGETS]
            self.forecasts[airport, now + HORIZON * HOUR] = (predicted, temp)

    def show(self, airport: str, now: int, forecast: float, temp: float) -> None:
        """Prints a line per day, when all airports have that hour."""
        when = datetime.datetime.fromtimestamp(now / 1000, datetime.timezone.utc)
        if when.hour != 17:
            return
        line = self.lines[now]
        line[airport] = f"{forecast:8.1f} {temp:8.1f} {forecast - temp:+7.1f}"
        if len(line) == len(AIRPORTS):
            print(f"{when:%Y-%m-%d %H:%M}  " + "   ".join(line[airport] for airport in AIRPORTS), flush=True)
            del self.lines[now]

    def head(self) -> None:
        print("Temperature in °F: as predicted 24 hours before, as observed, error.\n")
        print(" " * 18 + "   ".join(f"{airport:^25}" for airport in AIRPORTS))
        print("time (UTC)        " + "   ".join("predicted observed   error" for _ in AIRPORTS), flush=True)

    def summary(self) -> bool:
        print(f"\n{'airport':9}{'forecasts':>10}{'each once':>11}{'MAE':>8}{'last value':>12}")
        whole = True
        for airport in AIRPORTS:
            hours, errors, naive = self.hours[airport], self.errors[airport], self.naive[airport]
            once = bool(hours) and hours == list(range(hours[0], hours[-1] + HOUR, HOUR))
            whole &= once and bool(errors)
            shown = [f"{sum(part) / len(part):.2f}" if part else "none" for part in (errors, naive)]
            print(f"{airport:9}{len(hours):>10}{'yes' if once else 'NO':>11}{shown[0]:>8}{shown[1]:>12}")
        return whole


def main() -> None:
    options = arguments()
    rows = records(options.records)
    live_from = millis(options.live_from + "T00:00:00Z")
    watch = Watch()
    watch.head()
    consumer = kcat(options.broker, "-C", "-t", OUTPUT, "-o", "beginning", "-u", "-X", "isolation.level=read_committed",
                    stdout=subprocess.PIPE)

    def read() -> None:
        for line in consumer.stdout:
            watch.take(json.loads(line))

    def kill() -> None:
        time.sleep(options.seconds / 3)
        print("\n$ kill -KILL: the process is gone. It is started again. After 6 s the group notices, and the process resumes\n"
              "  where it stopped:\n", flush=True)
        with open(options.kill, encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    if options.kill:
        threading.Thread(target=kill, daemon=True).start()
    try:
        until = time.monotonic() + options.seconds
        last = write(options.broker, rows, live_from, options.hours_per_second, until)
        # An hour ends when a later record arrives, so there is no forecast of the last one yet.
        end = time.monotonic() + 30
        while any(watch.hours[airport][-1:] < [last - HOUR] for airport in AIRPORTS) and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        consumer.kill()
        reader.join()
    if not watch.summary():
        sys.exit("a forecast is missing, or came twice")


if __name__ == "__main__":
    main()
