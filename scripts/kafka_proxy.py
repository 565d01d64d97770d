#!/usr/bin/env python3
"""A TCP proxy between Kafka's clients and brokers that knows requests. It holds requests, cuts connections, drops
requests, or answers that there is no broker.

    kafka_proxy.py --route LISTEN=TARGET ... [--rule JSON ...] [--stdin]

A route is the address where clients connect and the listener of a broker that they reach; `scripts/kafka.sh proxied`
prints both. The proxy reads what clients send, request by request (a frame: length, API key, version, correlation id).
Answers pass unchanged.

The proxy does what a network can do to TCP: the bytes of a connection keep their order; they arrive late or not at all,
but never on another connection. A rule is a JSON object that selects requests and says what happens to them:

    keys     API keys or names, such as [26] or ["EndTxn"]
    every    selects one in so many of those requests (1), counted over all connections
    chance   or each with this probability; `seed` (1) repeats the choice
    limit    how often at most (no limit)
    mode     "hold": the request waits, and so does everything after it on its connection, which stays. A client that
             gives up closes its side; what it had sent still arrives.
             "cut": the request waits, and the client's connection is cut at once. The broker's side stays open: the
             request arrives later, and its answer is lost.
             "drop": the request never arrives and is never answered; the connection stays.
             "forget": the answer to a Metadata request names no broker, as that of a broker that is starting may do.
    until    API keys. A held request is released when the same transactional id has sent requests with these keys, in
             this order, after it. So a late EndTxn arrives within the next transaction: ["Produce"] cannot come earlier.
    before   true: the held request arrives before the last of them, which follows `settle` seconds later. So a late
             TxnOffsetCommit arrives after the next one and before its EndTxn: ["EndTxn", "TxnOffsetCommit", "EndTxn"].
             Otherwise it arrives `settle` seconds after the last of them.
    settle   those seconds (0.003), so that the broker has seen the first before the second arrives
    most     seconds after which a held request is released in any case (5)

With --stdin, the proxy reads commands from stdin, one object per line, and ends with it:

    {"rules": [...]}    replaces the rules; held requests stay held
    {"release": true}   releases everything that is held
    {"count": true}     asks for the event "count"

Events go to stdout, one object per line: "listening"; "held" (with an id, and "cut" if the connection was cut);
"released" (with the id and the reason: "until", "most", "command"); "dropped"; "forgotten"; "count" (of the requests by
name, and of those held, cut, dropped, forgotten, released).
"""

import argparse
import asyncio
import json
import random
import signal
import struct
import sys
import time

NAMES = {
    "Produce": 0,
    "Fetch": 1,
    "ListOffsets": 2,
    "Metadata": 3,
    "OffsetCommit": 8,
    "OffsetFetch": 9,
    "FindCoordinator": 10,
    "JoinGroup": 11,
    "Heartbeat": 12,
    "LeaveGroup": 13,
    "SyncGroup": 14,
    "ApiVersions": 18,
    "InitProducerId": 22,
    "OffsetForLeaderEpoch": 23,
    "AddPartitionsToTxn": 24,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
    "ConsumerGroupHeartbeat": 68,
    "DescribeTopicPartitions": 75,
}
KEYS = {key: name for name, key in NAMES.items()}
# Requests whose body begins with the transactional id, and the version from which on strings are compact.
TRANSACTIONAL = {0: 9, 22: 2, 24: 3, 25: 3, 26: 3, 28: 3}
# From this version on Metadata has compact strings.
FLEXIBLE_METADATA = 9
# Seconds that the broker has for the answer to what came late, before its side is closed.
ANSWER = 2.0
LARGEST = 256 << 20


def name_of(key):
    return KEYS.get(key, str(key))


class Request:
    """A request as it came, and what its header says."""

    def __init__(self, frame):
        self.frame = frame
        self.key, self.version, self.correlation = struct.unpack_from(">hhi", frame, 4)
        self.transactional_id = self._transactional_id()

    def _transactional_id(self):
        compact = TRANSACTIONAL.get(self.key)
        if compact is None:
            return None
        # Behind the correlation id comes the client's id, which is never compact.
        at = 14 + max(struct.unpack_from(">h", self.frame, 12)[0], 0)
        if self.version >= compact:
            # No tagged fields in the header (one zero byte), and the length plus one as a varint: ids are shorter than 127 bytes.
            length, at = self.frame[at + 1] - 1, at + 2
        else:
            length, at = struct.unpack_from(">h", self.frame, at)[0], at + 2
        return None if length < 0 else self.frame[at : at + length].decode(errors="replace")


def varint(frame, at):
    """An unsigned varint, and where it ends."""
    value = shift = 0
    while True:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def without_brokers(frame):
    """An answer to a Metadata request (from its correlation id on, compact strings) with an empty list of brokers."""

    def tags(at):
        count, at = varint(frame, at)
        for _ in range(count):
            _, at = varint(frame, at)
            size, at = varint(frame, at)
            at += size
        return at

    # Correlation id, tagged fields of the header, throttle time.
    begin = tags(4) + 4
    count, at = varint(frame, begin)
    for _ in range(count - 1):
        # Id, host, port, rack, tagged fields; lengths are one more than they say, none is zero.
        size, at = varint(frame, at + 4)
        size, at = varint(frame, at + size - 1 + 4)
        at = tags(at + max(size - 1, 0))
    return frame[:begin] + b"\x01" + frame[at:]


class Rule:
    """Which requests something happens to, and what."""

    WORDS = {"keys", "every", "chance", "seed", "limit", "mode", "until", "before", "settle", "most"}

    def __init__(self, words):
        unknown = set(words) - self.WORDS
        if unknown:
            raise ValueError(f"a rule has no {sorted(unknown)}")
        key = lambda word: word if isinstance(word, int) else NAMES[word]
        self.keys = {key(word) for word in words["keys"]}
        self.every = words.get("every", 1)
        self.chance = words.get("chance")
        self.random = random.Random(words.get("seed", 1))
        self.left = words.get("limit")
        self.mode = words.get("mode", "hold")
        if self.mode not in ("hold", "cut", "drop", "forget"):
            raise ValueError(f"mode {self.mode}: hold, cut, drop or forget")
        if self.mode == "forget" and self.keys != {NAMES["Metadata"]}:
            raise ValueError("mode forget is for Metadata requests")
        self.until = [key(word) for word in words.get("until", [])]
        self.before = words.get("before", False)
        self.settle = words.get("settle", 0.003)
        self.most = words.get("most", 5)
        self.seen = 0

    def takes(self, request):
        if request.key not in self.keys or self.left == 0:
            return False
        self.seen += 1
        if self.chance is None:
            taken = self.seen % self.every == 0
        else:
            taken = self.random.random() < self.chance
        if taken and self.left is not None:
            self.left -= 1
        return taken


class Held:
    """A request that waits."""

    def __init__(self, number, request, rule):
        self.number = number
        self.transactional_id = request.transactional_id
        self.until = list(rule.until)
        self.before = rule.before
        self.settle = rule.settle
        self.since = time.monotonic()
        self.released = asyncio.Event()


class Proxy:
    """What all connections share: rules, what is held, counts."""

    def __init__(self, rules):
        self.rules = rules
        self.held = {}
        self.numbers = 0
        self.requests = {}
        self.counts = {"held": 0, "cut": 0, "dropped": 0, "forgotten": 0, "released": 0}
        self.connections = set()

    def say(self, event, **more):
        try:
            print(json.dumps({"event": event, **more}), flush=True)
        except BrokenPipeError:
            # The reader of the events is gone.
            sys.exit(1)

    def count(self):
        requests = {name_of(key): count for key, count in sorted(self.requests.items())}
        self.say("count", requests=requests, waiting=len(self.held), **self.counts)

    def judge(self, request):
        """What happens to a request: the mode, and for one that waits what it waits for."""
        self.requests[request.key] = self.requests.get(request.key, 0) + 1
        settled = self.remember(request)
        rule = next((rule for rule in self.rules if rule.takes(request)), None)
        if rule is None:
            return None, settled
        about = {"key": request.key, "name": name_of(request.key), "transactional_id": request.transactional_id}
        if rule.mode == "drop":
            self.counts["dropped"] += 1
            self.say("dropped", **about)
            return "drop", None
        if rule.mode == "forget" and request.version >= FLEXIBLE_METADATA:
            self.counts["forgotten"] += 1
            self.say("forgotten", **about)
            return "forget", settled
        self.numbers += 1
        held = Held(self.numbers, request, rule)
        self.held[held.number] = held
        asyncio.get_running_loop().call_later(rule.most, self.release, held, "most")
        self.counts["held"] += 1
        self.counts["cut"] += rule.mode == "cut"
        self.say("held", id=held.number, cut=rule.mode == "cut", **about)
        return rule.mode, held.released

    def remember(self, request):
        """Held requests may wait for this request. Returns what it must wait for itself, if one of them goes first."""
        settled = None
        if request.transactional_id is None:
            return settled
        loop = asyncio.get_running_loop()
        for held in list(self.held.values()):
            if held.until and held.transactional_id == request.transactional_id and held.until[0] == request.key:
                held.until.pop(0)
                if held.until:
                    continue
                if held.before:
                    settled = asyncio.Event()
                    loop.call_later(held.settle, settled.set)
                    self.release(held, "until")
                else:
                    loop.call_later(held.settle, self.release, held, "until")
        return settled

    def release(self, held, why):
        if self.held.pop(held.number, None) is not None:
            held.released.set()
            self.counts["released"] += 1
            self.say("released", id=held.number, why=why, after=round(time.monotonic() - held.since, 3))

    def command(self, words):
        if "rules" in words:
            self.rules = [Rule(rule) for rule in words["rules"]]
            self.say("rules", count=len(self.rules))
        if words.get("release"):
            for held in list(self.held.values()):
                self.release(held, "command")
        if words.get("count"):
            self.count()


class Connection:
    """A client's connection and the one to the broker that belongs to it."""

    def __init__(self, proxy, target, reader, writer):
        self.proxy = proxy
        self.target = target
        self.client = (reader, writer)
        # Requests on their way to the broker, each with the event that it waits for or None; None itself is the end.
        self.queue = asyncio.Queue()
        # Correlation ids of the requests whose answers shall name no broker.
        self.forgetful = set()

    async def run(self):
        try:
            self.broker = await asyncio.open_connection(*self.target)
        except OSError:
            # As if nothing listened: the broker is away.
            self.client[1].transport.abort()
            return
        answers = asyncio.create_task(self.answers())
        requests = asyncio.create_task(self.requests())
        try:
            await self.deliver()
            # Late requests are answered, but nobody receives it; then the broker's side ends too.
            await asyncio.wait([answers], timeout=ANSWER)
        except OSError:
            pass
        finally:
            answers.cancel()
            requests.cancel()
            for _, writer in (self.client, self.broker):
                writer.transport.abort()

    async def requests(self):
        """From the client, one by one, until it closes its side or is cut off."""
        reader, writer = self.client
        try:
            while True:
                length = await reader.readexactly(4)
                size = struct.unpack(">i", length)[0]
                if not 8 <= size <= LARGEST:
                    raise ConnectionError(f"a request of {size} bytes")
                request = Request(length + await reader.readexactly(size))
                mode, released = self.proxy.judge(request)
                if mode == "forget":
                    self.forgetful.add(request.correlation)
                if mode != "drop":
                    self.queue.put_nowait((request.frame, released))
                if mode == "cut":
                    writer.transport.abort()
                    break
        except (asyncio.IncompleteReadError, OSError, struct.error, IndexError):
            pass
        finally:
            self.queue.put_nowait(None)

    async def deliver(self):
        """To the broker, in their order."""
        writer = self.broker[1]
        while (item := await self.queue.get()) is not None:
            frame, released = item
            if released is not None:
                await released.wait()
            writer.write(frame)
            await writer.drain()

    async def answers(self):
        """From the broker to the client, if it is still there. An end on the broker's side ends the connection."""
        reader, writer = self.broker[0], self.client[1]
        try:
            while True:
                length = await reader.readexactly(4)
                frame = await reader.readexactly(struct.unpack(">i", length)[0])
                correlation = struct.unpack_from(">i", frame)[0]
                if correlation in self.forgetful:
                    self.forgetful.discard(correlation)
                    frame = without_brokers(frame)
                data = struct.pack(">i", len(frame)) + frame
                if not writer.is_closing():
                    writer.write(data)
                    try:
                        await writer.drain()
                    except OSError:
                        # The client is gone; what it asked for is still delivered.
                        pass
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()


async def commands(proxy, ended):
    """From stdin, until its end."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            proxy.command(json.loads(line))
        except (ValueError, KeyError, TypeError) as problem:
            proxy.say("refused", problem=str(problem), line=line.decode(errors="replace").strip())
    ended.set()


def split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


async def serve(arguments):
    proxy = Proxy([Rule(json.loads(rule)) for rule in arguments.rule])
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    servers = []
    for route in arguments.route:
        listen, _, target = route.partition("=")
        target = split(target)

        def connected(reader, writer, target=target):
            task = asyncio.create_task(Connection(proxy, target, reader, writer).run())
            # A task without a reference may be collected.
            proxy.connections.add(task)
            task.add_done_callback(proxy.connections.discard)

        servers.append(await asyncio.start_server(connected, *split(listen)))
    proxy.say("listening", addresses=[route.partition("=")[0] for route in arguments.route])
    background = asyncio.create_task(commands(proxy, ended)) if arguments.stdin else None
    await ended.wait()
    proxy.count()
    if background is not None:
        background.cancel()
    for server in servers:
        server.close()
    for task in list(proxy.connections):
        task.cancel()
    await asyncio.gather(*proxy.connections, return_exceptions=True)


def main():
    parser = argparse.ArgumentParser(description="A proxy that holds, cuts off and drops requests of Kafka's clients.")
    parser.add_argument("--route", action="append", required=True, metavar="LISTEN=TARGET", help="host:port=host:port")
    parser.add_argument("--rule", action="append", default=[], metavar="JSON", help="see the top of this file")
    parser.add_argument("--stdin", action="store_true", help="read commands from stdin, end with it")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
