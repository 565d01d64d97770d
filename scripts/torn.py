#!/usr/bin/env python3
"""The test loop of scripts/torn.sh: a plain client and kolk through a network that delays single requests of transactions.

scripts/kafka_proxy.py holds one in so many of the requests AddPartitionsToTxn, AddOffsetsToTxn, EndTxn or
TxnOffsetCommit. The client gives the request up and sends it again. The held request arrives when the client is in its
next transaction. "cut": the proxy cuts the client's connection at once. "hold": the connection stays until the client
gives up, after `socket.timeout.ms`, here one second.

The plain client does what a careful program does. It consumes messages and sends two for each, one to each of two
partitions, and commits both with its offset. It aborts what must be aborted, creates a new producer after a fatal error,
and then continues from the committed offset of its group. Afterwards a reader of committed messages, which does not use
the proxy, counts:

    torn      transactions with some visible and some invisible messages
    doubled   messages that are visible more than once; lost: messages that are not visible
    set back  transactions after which the group's offset is lower than one committed before or in them
"""

import argparse
import collections
import json
import logging
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

REQUESTS = {"AddPartitionsToTxn": 24, "AddOffsetsToTxn": 25, "EndTxn": 26, "TxnOffsetCommit": 28}
# What the client must have sent before the held request is released, so that it does harm. An EndTxn arrives when the
# first messages of the next transaction are written and others follow; a TxnOffsetCommit between the next one and its
# EndTxn; the others after the end of their own transaction.
UNTIL = {24: [26], 25: [26], 26: [0], 28: [26, 28, 26]}
# A client that may retry soon, and finds its broker again soon.
CLIENT = {"socket.timeout.ms": 10000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 1000,
          "api.version.request.timeout.ms": 3000, "logger": logging.getLogger("torn")}
# librdkafka's line about each cut is not needed here.
CLIENT["logger"].addHandler(logging.NullHandler())
CLIENT["logger"].propagate = False
# Messages consumed in a transaction, and seconds that the work on one takes.
EACH, WORK = 4, 0.002
PATIENCE = 60


class Proxy:
    """scripts/kafka_proxy.py with one rule."""

    def __init__(self, routes, rule):
        command = [sys.executable, str(__file__).replace("torn.py", "kafka_proxy.py"), "--stdin"]
        for route in routes:
            command += ["--route", route]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events = collections.Counter()
        self.count = {}
        assert json.loads(self.process.stdout.readline())["event"] == "listening"
        self.rules([rule])
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.events[event["event"] + (":" + event["why"] if "why" in event else "")] += 1
            if event["event"] == "count":
                self.count = event

    def rules(self, rules):
        self.process.stdin.write(json.dumps({"rules": rules}) + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.reader.join()
        return self.count


class Plain:
    """Consume, transform, produce: as the documents of Kafka have it."""

    def __init__(self, brokers, name, source, sink, form):
        self.settings = {"bootstrap.servers": brokers, **CLIENT}
        if form == "hold":
            self.settings["socket.timeout.ms"] = 1000
        self.name, self.sink = name, sink
        self.at = TopicPartition(source, 0)
        self.consumer = Consumer({**self.settings, "group.id": name, "enable.auto.commit": False,
                                  "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
        self.consumer.subscribe([source])
        self.producer = self.make()
        self.attempts = self.confirmed = self.aborted = self.renewed = 0

    def make(self):
        producer = Producer({**self.settings, "transactional.id": self.name, "linger.ms": 0,
                             "transaction.timeout.ms": 10000})
        until = time.monotonic() + PATIENCE
        while True:
            try:
                producer.init_transactions(10)
                return producer
            except KafkaException as problem:
                if not problem.args[0].retriable() or time.monotonic() > until:
                    raise

    def run(self, transactions):
        while self.confirmed < transactions:
            try:
                self.transaction()
                self.confirmed += 1
            except KafkaException as problem:
                self.recover(problem.args[0])
        self.consumer.close()

    def transaction(self):
        messages = []
        while len(messages) < EACH:
            message = self.consumer.poll(1)
            if message is not None and message.error() is None:
                messages.append(message)
        self.attempts += 1
        self.producer.begin_transaction()
        for message in messages:
            # The work; it also spreads the messages over the transaction, as they are in a program that does some.
            time.sleep(WORK)
            value = json.dumps({"number": message.offset(), "attempt": self.attempts})
            for partition in (0, 1):
                self.producer.produce(self.sink, value, partition=partition)
            self.producer.poll(0)
        offset = TopicPartition(self.at.topic, 0, messages[-1].offset() + 1)
        self.retry(lambda: self.producer.send_offsets_to_transaction([offset], self.consumer.consumer_group_metadata(), 30))
        self.retry(lambda: self.producer.commit_transaction(30))

    def retry(self, call):
        """Errors that the client says may be retried are."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return call()
            except KafkaException as problem:
                if not problem.args[0].retriable() or time.monotonic() > until:
                    raise

    def recover(self, error):
        """Takes the transaction back, or gives up the producer, and reads again from what the group has."""
        try:
            if error.fatal() or not error.txn_requires_abort():
                raise KafkaException(error)
            self.retry(lambda: self.producer.abort_transaction(30))
            self.aborted += 1
        except KafkaException:
            self.producer = None
            self.producer = self.make()
            self.renewed += 1
        committed = self.retry(lambda: self.consumer.committed([self.at], 30))[0].offset
        while True:
            try:
                return self.consumer.seek(TopicPartition(self.at.topic, 0, max(committed, 0)))
            except KafkaException:
                # Not assigned at the moment.
                self.consumer.poll(0.1)


def partitions_of(brokers, topic):
    return sorted(AdminClient({"bootstrap.servers": brokers, **CLIENT}).list_topics(topic, 30).topics[topic].partitions)


def make_topics(brokers, topics):
    admin = AdminClient({"bootstrap.servers": brokers, **CLIENT})
    made = admin.create_topics([NewTopic(name, partitions, -1) for name, partitions in topics.items()])
    for future in made.values():
        future.result(30)


def committed_messages(brokers, topic, start=None, ends=None):
    """All committed messages of a topic, from where it begins or the offsets given, up to where it ends now."""
    consumer = Consumer({"bootstrap.servers": brokers, **CLIENT, "group.id": "torn-reader", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "error"})
    begin = start or {}
    consumer.assign([TopicPartition(topic, p, begin.get(p, -2)) for p in partitions_of(brokers, topic)])
    left = set(partitions_of(brokers, topic))
    while left:
        message = consumer.poll(PATIENCE)
        if message is None:
            raise SystemExit(f"torn: {topic} can't be read")
        if message.error() is None:
            yield message
        elif message.error().code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
    consumer.close()


def ends(brokers, topic, isolation):
    consumer = Consumer({"bootstrap.servers": brokers, **CLIENT, "group.id": "torn-reader", "isolation.level": isolation})
    found = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in partitions_of(brokers, topic)}
    consumer.close()
    return found


def settled(brokers, topic):
    """Waits until no transaction is open on a topic: what is left open ends by its timeout."""
    until = time.monotonic() + PATIENCE
    while ends(brokers, topic, "read_committed") != ends(brokers, topic, "read_uncommitted"):
        if time.monotonic() > until:
            raise SystemExit(f"torn: a transaction stays open on {topic}")
        time.sleep(0.5)


OFFSETS = "__consumer_offsets"


def set_back(brokers, group, start):
    """How often the offset of a group was set back, read from Kafka's own log of its commits from the offsets given.

    Between two transactions lies a marker, which isn't given to readers but has an offset. Of several commits of one transaction for
    the same partition the last one counts.
    """
    highest, pending, expected, count = {}, {}, None, 0
    # A group has one partition; the messages of another one must not look like gaps.
    for message in [*sorted(committed_messages(brokers, OFFSETS, start), key=lambda message: message.partition()), None]:
        at = None if message is None else (message.partition(), message.offset())
        if at != expected:
            count += sum(offset < highest[of] for of, offset in pending.items())
            pending.clear()
        if message is None:
            break
        expected = (message.partition(), message.offset() + 1)
        key, value = message.key(), message.value()
        # Behind a version of 2 and more are things of the group itself.
        if key is None or value is None or struct.unpack_from(">h", key)[0] > 1:
            continue
        names, at = [], 2
        for _ in range(2):
            size = struct.unpack_from(">h", key, at)[0]
            names.append(key[at + 2 : at + 2 + size].decode())
            at += 2 + size
        if names[0] == group:
            of = names[1], struct.unpack_from(">i", key, at)[0]
            pending[of] = struct.unpack_from(">q", value, 2)[0]
            highest[of] = max(highest.get(of, 0), pending[of])
    return count


class Case:
    """One request and one form."""

    def __init__(self, options, client, request, form):
        self.options, self.client, self.request, self.form = options, client, request, form
        self.name = f"torn-{client}-{request}-{form}-{int(time.time())}"
        self.input, self.output = self.name + "-in", self.name + "-out"
        self.key = REQUESTS[request]
        # Kafka's own topic is there from the first group on.
        self.before = ends(options.brokers, OFFSETS, "read_uncommitted")
        self.proxied = ",".join(route.partition("=")[0] for route in options.route)

    def proxy(self):
        return Proxy(self.options.route, {"keys": [self.key], "every": self.options.every, "mode": self.form,
                                          "until": UNTIL[self.key], "before": self.key == 28, "most": 8})

    def row(self, transactions, held, torn, doubled, lost):
        back = set_back(self.options.brokers, self.name, self.before)
        print(f"| {self.client} | {self.request} | {self.form} | {transactions} | {held} | {torn} | {doubled} | {lost} | {back} |",
              flush=True)

    def send(self, messages, topic):
        producer = Producer({"bootstrap.servers": self.options.brokers, **CLIENT, "enable.idempotence": True, "linger.ms": 5,
                             "queue.buffering.max.messages": 1000000, "partitioner": "murmur2_random"})
        for key, value in messages:
            producer.produce(topic, value, key)
            producer.poll(0)
        producer.flush()

    def plain(self):
        make_topics(self.options.brokers, {self.input: 1, self.output: 2})
        # Enough for a few that are aborted and never made up for.
        numbers = range(EACH * (self.options.transactions + 1))
        self.send(((None, str(number)) for number in numbers), self.input)
        proxy = self.proxy()
        plain = Plain(self.proxied, self.name, self.input, self.output, self.form)
        try:
            plain.run(self.options.transactions)
        finally:
            count = proxy.end()
        print(f"{self.name}: {plain.attempts} begun, {plain.confirmed} confirmed, {plain.aborted} aborted, "
              f"{plain.renewed} producers renewed; {dict(proxy.events)}", file=sys.stderr)
        settled(self.options.brokers, self.output)
        seen, of_attempt = collections.Counter(), collections.Counter()
        for message in committed_messages(self.options.brokers, self.output):
            value = json.loads(message.value())
            seen[value["number"], message.partition()] += 1
            of_attempt[value["attempt"]] += 1
        last = max(number for number, _ in seen)
        lost = sum((number, partition) not in seen for number in range(last + 1) for partition in (0, 1))
        self.row(plain.confirmed, count["held"], sum(found != 2 * EACH for found in of_attempt.values()),
                 sum(found - 1 for found in seen.values()), lost)

    def kolk(self):
        brokers = self.options.brokers
        dead = self.name + "-dead"
        make_topics(brokers, {self.input: 1, self.output: 2, dead: 1})
        with open(self.options.pipeline, encoding="utf-8") as file:
            text = file.read()
        for word, value in {"BROKERS": self.proxied, "INPUT": self.input, "OUTPUT": self.output, "DEAD": dead, "GROUP": self.name,
                            "PATIENCE": "1000" if self.form == "hold" else "10000"}.items():
            text = text.replace("{" + word + "}", value)
        file_name = self.options.pipeline.replace("template", self.name)
        with open(file_name, "w", encoding="utf-8") as file:
            file.write(text)
        log_name = file_name + ".log"
        proxy = self.proxy()
        with open(log_name, "w", encoding="utf-8") as log:
            kolk = subprocess.Popen([self.options.kolk, "run", file_name, "--http", self.options.http], stderr=log,
                                    stdout=subprocess.DEVNULL)
        try:
            sent = self.feed(kolk)
            self.finish(kolk, sent)
            transactions = self.metric("kolk_transactions_total", 'outcome="committed"')
        finally:
            if kolk.poll() is None:
                kolk.terminate()
            code = kolk.wait()
            count = proxy.end()
        with open(log_name, encoding="utf-8") as file:
            warnings = collections.Counter(re.sub(r"^\S+\s+", "", line)[:110] for line in file if " WARN " in line or " ERROR " in line)
        print(f"{self.name}: exit code {code}; {dict(proxy.events)}; {dict(warnings)}", file=sys.stderr)
        settled(brokers, self.output)
        seen = collections.Counter()
        for message in committed_messages(brokers, self.output):
            value = json.loads(message.value())
            seen[value["key"], value["ts"]] += 1
        self.row(transactions, count["held"], "", sum(found - 1 for found in seen.values()), sent - len(seen))

    def feed(self, kolk):
        """Sends steadily until kolk has committed enough transactions; gives the number of records."""
        producer = Producer({"bootstrap.servers": self.options.brokers, **CLIENT, "enable.idempotence": True, "linger.ms": 0,
                             "partitioner": "murmur2_random"})
        started, sent, looked, committed, moved = time.monotonic(), 0, 0, 0, time.monotonic()
        while True:
            now = time.monotonic()
            while sent < (now - started) * self.options.rate:
                producer.produce(self.input, json.dumps({"ts": sent // 20, "value": sent % 97 / 97}), f"k{sent % 20}")
                sent += 1
            producer.poll(0.002)
            if now > looked + 1:
                looked, before = now, committed
                committed = self.metric("kolk_transactions_total", 'outcome="committed"')
                moved = now if committed != before else moved
                if kolk.poll() is not None or committed >= self.options.transactions or now > moved + PATIENCE:
                    break
        producer.flush()
        return sent

    def finish(self, kolk, sent):
        """Waits until everything that was sent is committed."""
        consumer = Consumer({"bootstrap.servers": self.options.brokers, **CLIENT, "group.id": self.name})
        until = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < until and kolk.poll() is None:
            if consumer.committed([TopicPartition(self.input, 0)], 30)[0].offset >= sent:
                break
            time.sleep(0.2)
        consumer.close()

    def metric(self, name, label):
        try:
            with urllib.request.urlopen(f"http://{self.options.http}/metrics", timeout=2) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name) and label in line)


def main():
    parser = argparse.ArgumentParser(description="A plain client and kolk through a proxy that delays requests of transactions.")
    parser.add_argument("--brokers", required=True, help="past the proxy")
    parser.add_argument("--route", action="append", required=True, help="of the proxy")
    parser.add_argument("--clients", nargs="+", default=["plain", "kolk"])
    parser.add_argument("--requests", nargs="+", default=list(REQUESTS), choices=list(REQUESTS))
    parser.add_argument("--forms", nargs="+", default=["hold", "cut"], choices=["hold", "cut"])
    parser.add_argument("--transactions", type=int, default=10000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1000, help="records a second for kolk")
    parser.add_argument("--kolk", help="the binary")
    parser.add_argument("--pipeline", help="template of kolk's pipeline")
    parser.add_argument("--http", help="where kolk gives its metrics")
    options = parser.parse_args()
    # What was started ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A group of any kind, so that Kafka makes the topic of the offsets.
    Consumer({"bootstrap.servers": options.brokers, "group.id": "torn-reader", **CLIENT}).committed([TopicPartition("none", 0)], 30)
    print("| client | request | form | transactions | held | torn | doubled | lost | offsets set back |")
    print("|---|---|---|---|---|---|---|---|---|")
    for client in options.clients:
        for request in options.requests:
            for form in options.forms:
                getattr(Case(options, client, request, form), client)()


if __name__ == "__main__":
    main()
