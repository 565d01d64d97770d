"""What happens to pods in a cluster, without a cluster:

    situations.py S3_OBJECTS.yaml VOLUME_OBJECTS.yaml WORK all|quick [WORDS_OF_A_TITLE …]

It runs in namespaces of its own (unshare --net --mount --pid --fork --kill-child --mount-proc), as root, so that it
meets no other run and leaves nothing behind, however it ends. Each pod is processes in namespaces of their own too.

Records keep coming. In each situation the longest time without an output is measured, as a reader of committed messages
sees it. Afterwards the output topic must be that of an undisturbed run: no output twice, none missing, in the order of
each key, with equal values, and no dead letters.

The quick form has a shorter session than the rendered one, leaves out what lasts, and does two things at once, so its
times say little.
"""

import concurrent.futures
import copy
import os
import pathlib
import subprocess
import sys
import time
import traceback

import cluster
import load
import place as places
import pods
from place import BROKER, NAME

# Seconds of load before and after each situation.
AROUND = 2
# A pod that is stopped drains and leaves: the exit code is that of SIGTERM.
STOPPED = 143
# What the pods say when a volume is full.
NO_ROOM = "No space left on device"


class Pipeline:
    """Pods on a topic, records that come, and a reader of the outputs."""

    def __init__(self, place, name, objects, undisturbed):
        self.topic, self.undisturbed, self.hours = name, undisturbed, 0
        self.pods = place.pods(name, objects)
        self.reader = load.Reader(BROKER, f"{name}-forecasts")
        self.pods.scale(objects["StatefulSet", NAME]["spec"]["replicas"])
        self.pods.wait_ready()
        self.pods.wait_partitions(load.PARTITIONS // len(self.pods.pods))

    def situation(self, title, happens):
        """Something happens while records come; then the outputs are compared with those of the undisturbed run."""
        begin = time.monotonic()
        producer = load.Producer(BROKER, self.topic, self.hours)
        self.reader.flows("before")
        time.sleep(AROUND)
        self.reader.begin()
        said = happens(self.pods, self.reader)
        self.reader.flows("after")
        time.sleep(AROUND)
        gap = self.reader.longest()
        self.hours = producer.stop()
        cluster.eventually("outputs are missing", lambda: self.undisturbed.missing(self.reader, self.hours))
        rows = self.undisturbed.compare(load.read(BROKER, f"{self.topic}-forecasts"), self.hours)
        refused = load.read(BROKER, f"{self.topic}-refused")
        assert not refused, f"dead letters: {refused}"
        self._stopped_in_order()
        seconds = time.monotonic() - begin
        print(f"| {title} | {gap:.1f} s |\n    {said}; {rows} outputs so far, as undisturbed ({seconds:.0f} s)", flush=True)

    def end(self):
        self.pods.end()
        self.reader.stop()
        self._stopped_in_order()

    def _stopped_in_order(self):
        for pod, code, seconds in self.pods.stopped:
            assert code == STOPPED, f"{pod.name} ended with {code} after {seconds:.1f} s:\n{pod.said()[-3000:]}"


def undisturbed(place, objects, hours):
    """One pod that nothing happens to, over so many hours of records."""
    objects = copy.deepcopy(objects)
    (container,) = objects["StatefulSet", NAME]["spec"]["template"]["spec"]["containers"]
    container["args"] += ["--until", "end"]
    load.Producer(BROKER, "undisturbed", limit=hours).wait()
    stateful = place.pods("undisturbed", objects)
    stateful.over.set()
    stateful.kubelet.join()
    stateful.create(0)
    pod = stateful.pods[0]
    code = pod.container.process.wait(timeout=cluster.PATIENCE)
    assert code == 0, f"the undisturbed run ended with {code}:\n{pod.said()[-3000:]}"
    pod.box.remove()
    return load.Undisturbed(load.read(BROKER, "undisturbed-forecasts"), hours)


def nothing(stateful, _reader):
    time.sleep(5)
    return f"{len(stateful.pods)} pods"


def rolling(stateful, _reader):
    stateful.rolling_update()
    stateful.wait_partitions(2)
    return "from SIGTERM to the end: " + ", ".join(f"{seconds:.1f} s" for _, _, seconds in stateful.stopped[-2:])


def scaled_out(stateful, _reader):
    stateful.scale(4)
    stateful.wait_ready()
    stateful.wait_partitions(1)
    return "each has a partition"


def scaled_in(stateful, _reader):
    stateful.scale(1)
    stateful.wait_partitions(4)
    return "it has all partitions"


def vanished_and_back(stateful, _reader):
    """The pod is back before its session is over, so it has its partitions again, and nobody else stops."""
    stateful.vanish(0)
    time.sleep(3)
    stateful.create(0)
    stateful.wait_ready()
    stateful.wait_partitions(2)
    return "it has its partitions again"


def vanished(stateful, reader):
    """The other pod gets the partitions when the session is over; then the pod comes back, on another node."""
    stateful.vanish(0)
    stateful.wait_partitions(4)
    reader.flows("1 of 2 pods")
    stateful.create(0)
    stateful.wait_ready()
    stateful.wait_partitions(2)
    return "the other pod had all partitions meanwhile"


def cut_off(stateful, reader, seconds):
    """A pod that nobody reaches goes on. Its partitions move; when it is back, nothing of what it did may be seen."""
    pod, begin = stateful.pods[0], time.monotonic()
    pod.box.cut()
    cluster.eventually("the other pod gets all partitions", lambda: stateful.metric(1, "kolk_partitions") != 4)
    reader.flows("1 of 2 pods")
    moved = time.monotonic() - begin
    time.sleep(max(begin + seconds - time.monotonic(), 0))
    assert not pod.ended, f"{pod.name} ended with {pod.ended} while it was cut off:\n{pod.said()[-3000:]}"
    pod.box.mend()
    stateful.wait_ready()
    stateful.wait_partitions(2)
    return f"the other pod had all partitions after {moved:.0f} s"


def replaced(stateful, reader):
    """A pod that nobody reaches is deleted by force, so its name starts elsewhere. Then the old one is back."""
    old = stateful.pods[0]
    old.box.cut()
    stateful.detach(0)
    stateful.create(0)
    stateful.wait_ready()
    stateful.wait_partitions(2)
    reader.flows("the new pod")
    old.box.mend()
    begin = time.monotonic()
    cluster.eventually(f"the old {old.name} ends", lambda: old.container.code() is None and old.said()[-2000:])
    code, seconds = old.container.code(), time.monotonic() - begin
    old.box.remove()
    assert code == 1 and "fenced" in old.said(), f"the old {old.name} ended with {code}:\n{old.said()[-3000:]}"
    return f"the old one was fenced and ended {seconds:.0f} s after it was back"


def full(stateful, reader, volume, seconds):
    """No room for state, and later there is."""
    ballast, size = volume / "ballast", 1 << 16
    with open(ballast, "wb", buffering=0) as file:
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
    cluster.eventually("a pod says why", lambda: not any(NO_ROOM in pod.said() for pod in stateful.pods.values()))
    time.sleep(seconds)
    ended = {pod.name: list(pod.ended) for pod in stateful.pods.values()}
    assert all(code == 1 for codes in ended.values() for code in codes), ended
    ballast.unlink()
    stateful.wait_ready()
    stateful.wait_partitions(2)
    reader.flows("room again")
    return f"exit codes meanwhile: {ended}"


def main():
    s3_objects, volume_objects = map(pods.read, sys.argv[1:3])
    work, quick, only = pathlib.Path(sys.argv[3]), sys.argv[4] == "quick", sys.argv[5:]
    work.mkdir(parents=True, exist_ok=True)
    session, cut = (6, 12) if quick else (places.SESSION, 60)
    place = places.Place(work)
    print(place.store.race(), flush=True)
    place.train(s3_objects)
    place.topics("undisturbed", "bucket", "volume")
    calm = places.settled(s3_objects, "undisturbed", "s3://kolk/undisturbed", place.s3, session)
    calm = undisturbed(place, calm, 5000 if quick else 14000)
    count = sum(map(len, calm.outputs.values()))
    print(f"an undisturbed run: {count} outputs of {len(load.KEYS)} keys; now {len(load.KEYS) / load.EVERY:.0f} records/s")
    print("| situation | longest gap in the output of a partition or key |", flush=True)

    def run(pipeline, title, happens):
        if not only or any(it in title for it in only):
            pipeline.situation(title, happens)

    def with_bucket():
        objects = places.settled(s3_objects, "bucket", "s3://kolk/state", place.s3, session)
        bucket = Pipeline(place, "bucket", objects, calm)
        if not quick:
            run(bucket, "nothing", nothing)
        run(bucket, "rolling restart of 2 pods", rolling)
        run(bucket, "a node vanishes, its pod is back elsewhere after 3 s", vanished_and_back)
        if not quick:
            run(bucket, f"a node vanishes, its pod is back elsewhere after the session of {session} s", vanished)
        run(bucket, f"a pod is cut off for {cut} s", lambda *it: cut_off(*it, cut))
        run(bucket, "a pod is cut off and at once replaced; then it is back", replaced)
        run(bucket, "2 pods to 4", scaled_out)
        run(bucket, "4 pods to 1", scaled_in)
        bucket.end()
        assert place.store.objects("state"), "the state is not in the bucket"

    def with_volume():
        volume = place.claims / "kolk-state"
        volume.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", volume], check=True)
        objects = places.settled(volume_objects, "volume", "/var/lib/kolk/state", {}, session)
        pipeline = Pipeline(place, "volume", objects, calm)
        run(pipeline, "the volume of the state is full", lambda *it: full(*it, volume, 10 if quick else 60))
        pipeline.end()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(with_bucket)]
        if not quick:
            concurrent.futures.wait(both)
        both.append(pool.submit(with_volume))
        for it in concurrent.futures.as_completed(both):
            it.result()


code = 1
try:
    main()
    code = 0
except BaseException:
    traceback.print_exc()
# Everything that still runs, and every mount, ends with this process.
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
