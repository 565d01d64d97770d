"""Records that keep coming, and what becomes of them: whether the output topic is that of an undisturbed run, and how
long it had gaps.

Lives here: the producer, the reader that stands for a downstream system (read_committed), and the comparison.
"""

import datetime
import hashlib
import re
import threading
import time

import confluent_kafka
import confluent_kafka.admin

import cluster

KEYS = [f"station-{it}" for it in range(16)]
# One record of each key in this many seconds.
EVERY = 0.05
BEGIN = datetime.datetime(2013, 1, 1)
PARTITIONS = 4


def topics(brokers, names):
    """Creates topics."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": brokers})
    wanted = [confluent_kafka.admin.NewTopic(name, PARTITIONS, 1) for name in names]
    for future in admin.create_topics(wanted, operation_timeout=60).values():
        future.result(timeout=cluster.PATIENCE)


def value(key, hour):
    """The record of a key for an hour: the same in each run."""
    time_of = (BEGIN + datetime.timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
    noise = hashlib.sha256(f"{key}/{hour}".encode()).digest()
    temp = 40 + 20 * ((hour % 24) / 24) + noise[0] / 16
    values = f'"temp":{temp},"dewp":{temp - noise[1] / 16},"humid":{noise[2] / 3:.2f},"wind_speed":{noise[3] / 10}'
    return f'{{"time":"{time_of}",{values},"pressure":{1000 + noise[4] / 8}}}'


class Producer:
    """Sends an hour of all keys after the other, until it is stopped; up to a limit at once."""

    def __init__(self, brokers, topic, begin=0, limit=None):
        self.hours, self.limit, self.over, self.failed = begin, limit, threading.Event(), []
        settings = {"bootstrap.servers": brokers, "partitioner": "murmur2", "enable.idempotence": True, "linger.ms": 5, "log_level": 3}
        self.client = confluent_kafka.Producer(settings)
        self.topic = topic
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def _send(self):
        due = time.monotonic()
        while not self.over.is_set() and self.hours != self.limit:
            for key in KEYS:
                self.client.produce(self.topic, value(key, self.hours), key, on_delivery=self._delivered)
            self.hours += 1
            if self.limit is None:
                due += EVERY
                time.sleep(max(due - time.monotonic(), 0))
            elif self.hours % 1000 == 0:
                self.client.flush()
            self.client.poll(0)

    def _delivered(self, error, _message):
        if error is not None:
            self.failed.append(str(error))

    def wait(self):
        """When all is acknowledged."""
        self.thread.join()
        left = self.client.flush(cluster.PATIENCE)
        assert left == 0 and not self.failed, f"the producer: {left} unsent, {self.failed[:3]}"
        return self.hours

    def stop(self):
        self.over.set()
        return self.wait()


def committed(brokers, topic):
    """A reader of a topic's committed messages, from its beginning."""
    settings = {"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False, "fetch.wait.max.ms": 50}
    client = confluent_kafka.Consumer(settings | {"isolation.level": "read_committed", "enable.partition.eof": True})
    client.assign([confluent_kafka.TopicPartition(topic, it, 0) for it in range(PARTITIONS)])
    return client


def read(brokers, topic):
    """What a topic holds now: values by key, in their order."""
    client, found, ends = committed(brokers, topic), {}, set()
    while len(ends) < PARTITIONS:
        for it in client.consume(5000, 0.2):
            if it.error() is None:
                found.setdefault(it.key().decode(), []).append(it.value())
            elif it.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                ends.add(it.partition())
            else:
                raise AssertionError(f"{topic} could not be read: {it.error()}")
    client.close()
    return found


class Reader:
    """Reads committed outputs as they come, and notes when."""

    def __init__(self, brokers, topic):
        self.client, self.over = committed(brokers, topic), threading.Event()
        self.counts, self.last, self.gaps = {}, {}, {}
        self.measures = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while not self.over.is_set():
            it = self.client.poll(0.2)
            if it is None or it.error() is not None:
                continue
            now, key = time.monotonic(), it.key().decode()
            self.counts[key] = self.counts.get(key, 0) + 1
            for name in (f"partition {it.partition()}", key):
                if self.measures:
                    self.gaps[name] = max(self.gaps.get(name, 0), now - self.last.get(name, now))
                self.last[name] = now

    def begin(self):
        """Gaps count from here on: everything flows."""
        self.gaps, self.measures = {}, True

    def flows(self, what, partitions=range(PARTITIONS)):
        """Waits until all keys, or those of some partitions, have outputs again."""
        begin, names = time.monotonic(), [f"partition {it}" for it in partitions]
        if len(names) == PARTITIONS:
            names += KEYS

        def silent():
            return ", ".join(name for name in names if self.last.get(name, 0) <= begin)

        cluster.eventually(f"{what}: no output of", silent)

    def longest(self):
        """The longest gap of a partition or a key."""
        return max(self.gaps.values())

    def stop(self):
        self.over.set()
        self.thread.join()
        self.client.close()


class Undisturbed:
    """The outputs of an undisturbed run over more records than any situation sends."""

    def __init__(self, outputs, hours):
        self.outputs, self.hours = outputs, hours
        counts = {len(outputs.get(key, [])) for key in KEYS}
        assert len(counts) == 1 and set(outputs) == set(KEYS), f"{len(outputs)} keys with {counts} outputs"
        # Hours without an output: those that the longest lag needs, and the last, which is still open.
        self.silent = hours - counts.pop()
        assert 0 < self.silent < 48, self.silent

    def missing(self, reader, hours):
        """Keys without all their outputs."""
        expected = hours - self.silent
        return {key: f"{reader.counts.get(key, 0)} of {expected}" for key in KEYS if reader.counts.get(key, 0) < expected}

    def compare(self, outputs, hours):
        """Each key has the outputs of the undisturbed run, in their order, once, with equal values."""
        expected = hours - self.silent
        assert hours < self.hours and set(outputs) == set(KEYS), set(outputs) ^ set(KEYS)
        for key in KEYS:
            got, right = outputs[key], self.outputs[key][:expected]
            if got != right:
                at = next((it for it, (one, other) in enumerate(zip(got, right)) if one != other), min(len(got), len(right)))
                shown = [it[at][:200] if at < len(it) else None for it in (got, right)]
                times = [re.search(rb'"time":"[^"]*"', it) for it in got]
                twice = len(times) - len({it[0] for it in times if it})
                raise AssertionError(f"{key}: {len(got)} outputs of {expected}, {twice} twice; {at}: {shown[0]} for {shown[1]}")
        return expected * len(KEYS)
