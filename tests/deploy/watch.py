"""Watches a running pipeline as a cluster would: watch.py POD_OBJECTS.yaml WATCH_OBJECTS.yaml METRICS.md NOT_SHOWN.md
WORK

The containers of POD_OBJECTS run as processes on KOLK_KAFKA, with state and history in an S3 server (versitygw) whose
keys are files: the CronJob collects the topic and trains, two pods of the StatefulSet serve, and the CronJob trains
again, so that they change the model; at the end the indexed Job reads what was collected. Debian's Prometheus scrapes
them with the labels of the PodMonitor and evaluates the rules of WATCH_OBJECTS.

- Every query of the dashboard returns data, and so does every alert if its comparisons return 0 or 1.
- No alert's evaluation fails.
- The pods of the indexed Job, some of them killed, write the files of one run.
- A metric that a query names is exported. One that is exported is in METRICS.md, and in a query or listed in
  NOT_SHOWN.md.
"""

import json
import math
import os
import pathlib
import re
import socket
import subprocess
import sys
import urllib.parse

import yaml

import pages
import pods as containers
import store as object_store

NAME = "kolk"
LABELS = {"namespace": "kolk", "pipeline": NAME, "job": "kolk"}
# Only a real fault takes this long.
PATIENCE = 120


def free_ports(count):
    """The first of this many free ports in a row."""
    for first in range(21000, 32000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            pass
        finally:
            for it in sockets:
                it.close()
    raise SystemExit("no free ports")


# What the pages ask for.
TOKEN = "a-token-of-the-tests"


def eventually(what, missing, alive=lambda: None):
    pages.eventually(what, missing, PATIENCE, alive, pause=0.3)


class Prometheus:
    def __init__(self, binary, work, rules, targets, port):
        self.address, work = f"127.0.0.1:{port}", pathlib.Path(work)
        (work / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": "kolk",
                    "authorization": {"type": "Bearer", "credentials_file": str(work / "secrets/http/token")},
                    "static_configs": [
                        {"targets": [address], "labels": LABELS | {"pod": pod}} for pod, address in targets.items()
                    ],
                }
            ],
        }
        (work / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [binary, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb"]
        command += [f"--web.listen-address={self.address}", "--log.level=warn"]
        with open(work / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def get(self, path, **parameters):
        status, text = pages.page(self.address, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(text) if status in (200, 400, 422) else {"status": "error", "error": text}
        # Nothing, or 503, while it starts.
        assert answer["status"] == "success" or status in (0, 503), f"{parameters}: {answer.get('error')}"
        return answer.get("data")

    def values(self, query):
        data = self.get("query", query=query)
        return [float(it["value"][1]) for it in data["result"]] if data else []


def replaced(expression):
    """A query of the dashboard with values for Grafana's variables."""
    expression = expression.replace("$__rate_interval", "5m")
    expression = re.sub(r"\$(namespace|pipeline|pod)\b", ".*", expression)
    assert "$" not in expression, expression
    return expression


def compared(expression):
    """An alert whose comparisons return 0 or 1 instead of dropping what is not alarming."""
    expression, count = re.subn(r" (>|<|==|!=|>=|<=) ", r" \1 bool ", " ".join(expression.split()))
    assert count > 0, f"nothing is compared: {expression}"
    return expression


def unanswered(prometheus, queries):
    """Queries that return nothing, or nothing but what is not a number."""
    silent = []
    for query in queries:
        values = prometheus.values(query)
        if values and all(map(math.isnan, values)):
            # Quantiles of what did not happen lately: what happened at all must give a number.
            ever = re.sub(r"rate\(([^[\]]*)\[\w+\]\)", r"\1", query)
            values = [it for it in prometheus.values(ever) if not math.isnan(it)] if ever != query else []
        if not values:
            silent.append(query)
    return silent


def metrics_of(text):
    """Names of metrics in queries: a histogram's without its series."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bkolk_\w+", text)}


def cross_check(exported, queries, documented, not_shown):
    used = set().union(*map(metrics_of, queries))
    wrong = [
        ("used and not exported", used - exported),
        ("exported and not in docs/metrics.md", exported - documented),
        ("in docs/metrics.md and not exported", documented - exported),
        ("exported and on no panel, in no rule and not listed in docs/kubernetes.md", exported - used - not_shown),
        ("listed in docs/kubernetes.md and used", not_shown & used),
        ("listed in docs/kubernetes.md and not exported", not_shown - exported),
    ]
    said = [f"{what}: {', '.join(sorted(names))}" for what, names in wrong if names]
    assert not said, "\n".join(said)


def listed(path):
    """The metrics that docs/kubernetes.md lists as on no panel."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    found = re.search(r"^On no panel and in no rule: ((?:.|\n)*?)\n\n", text, re.M)
    assert found, f"{path}: there is no paragraph that begins with `On no panel and in no rule:`"
    return metrics_of(found[1])


class Topic:
    """Sends records: the weather of the repository, and lines of its own."""

    def __init__(self, brokers, topic):
        self.brokers, self.topic = brokers, topic

    def send(self, lines):
        command = ["kcat", "-P", "-q", "-b", self.brokers, "-t", self.topic, "-K", "\t", "-X", "topic.partitioner=murmur2"]
        subprocess.run(command, input="".join(lines), text=True, check=True, timeout=PATIENCE)


def main():
    pod_objects, watch_objects = containers.read(sys.argv[1]), containers.read(sys.argv[2])
    documented = metrics_of("\n".join(re.findall(r"^\| `(kolk_\w+)`", pathlib.Path(sys.argv[3]).read_text("utf-8"), re.M)))
    not_shown, work = listed(sys.argv[4]), pathlib.Path(sys.argv[5])
    topic, brokers = os.environ["KOLK_TOPIC"], os.environ["KOLK_KAFKA"]
    rules = watch_objects["PrometheusRule", NAME]["spec"]
    dashboard = json.loads(watch_objects["ConfigMap", f"{NAME}-dashboard"]["data"]["kolk.json"])
    panels = [it["expr"] for panel in dashboard["panels"] for it in panel.get("targets", [])]
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]

    port = free_ports(4)
    settings = {"KOLK_BROKERS": brokers, "KOLK_TOPIC": topic, "KOLK_GROUP": topic, "KOLK_UPDATES": "100"}
    settings |= {"AWS_ENDPOINT": f"http://127.0.0.1:{port + 2}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    pods = containers.Containers(pod_objects, os.environ["KOLK_BINARY"], work, settings)
    pods.port = port
    pods.secret("store", object_store.KEYS)
    pods.secret("http", {"token": TOKEN + "\n"})
    pods.secret("sign", {"registry.key": pathlib.Path(os.environ["KOLK_SIGN_KEY"]).read_text("utf-8")})
    source = Topic(brokers, topic)
    source.send(pathlib.Path(os.environ["KOLK_WEATHER"]).read_text("utf-8").splitlines(keepends=True))

    prometheus, store = None, object_store.Store(os.environ["VERSITYGW"], work, f"127.0.0.1:{port + 2}")
    try:
        collected, trained = pods.job(f"{NAME}-train")
        print("the CronJob's containers: ended with 0; the topic was collected, weather/1 was published")
        assert "weather/1" in trained and '"rows":26115' in collected, collected[-500:]
        targets = {f"{NAME}-{ordinal}": pods.address(f"{NAME}-{ordinal}") for ordinal in range(2)}
        prometheus = Prometheus(os.environ["PROMETHEUS"], work, rules, targets, port + 3)

        def alive():
            for pod, process in pods.running.items():
                code = process.poll()
                assert code is None, f"{pod} ended with {code}:\n{(work / f'{pod}.log').read_text('utf-8')[-3000:]}"
            assert prometheus.process.poll() is None, (work / "prometheus.log").read_text("utf-8")[-3000:]

        for ordinal in range(2):
            pods.start(NAME, ordinal)

        def unready():
            found = [prometheus.values(query) for query in ("sum(kolk_partitions)", "sum(kolk_ready)")]
            return None if found == [[4.0], [2.0]] else f"{found} partitions and ready pods"

        eventually("two ready pods with four partitions", unready, alive)
        for address in targets.values():
            # Probes have no token; who reads metrics needs it.
            for path, status in (("/readyz", 200), ("/healthz", 200), ("/metrics", 401)):
                assert pages.page(address, path)[0] == status, f"{address}{path}: {pages.page(address, path)}"
        pods.job(f"{NAME}-train")

        # From now on records come while the queries are asked, with one that is refused.
        queries = [replaced(it) for it in panels] + [compared(it) for it in alerts]
        sent = [0]

        def silent():
            sent[0] += 1
            lines = [f'{key}\t{{"time":"2014-01-01T{sent[0] % 24:02}:00:00Z","temp":{sent[0]}}}\n' for key in ("EWR", "JFK", "LGA")]
            source.send(lines + ["EWR\tnot JSON\n"])
            return unanswered(prometheus, queries) if len(prometheus.values("kolk_model_version == 2")) == 2 else ["version 2"]

        eventually("data for every query", silent, alive)
        print(f"{len(panels)} queries of the dashboard, {len(alerts)} of alerts: all return data of the binary")

        evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert len(evaluated) == len(alerts) and all(rule["health"] == "ok" for rule in evaluated), evaluated
        exported = set()
        for address in targets.values():
            exported |= set(re.findall(r"^# TYPE (kolk_\w+) ", pages.page(address, "/metrics", TOKEN)[1], re.M))
        cross_check(exported, panels + alerts, documented, not_shown)
        print(f"{len(exported)} metrics: each is used, or listed in docs/kubernetes.md ({len(not_shown)})")

        assert store.objects("state") and not (work / "state").exists(), "the state is not in the bucket"
        for pod in list(targets):
            code = pods.stop(pod)
            assert code == 143, f"{pod} ended with {code}:\n{(work / f'{pod}.log').read_text('utf-8')[-3000:]}"
        print("SIGTERM: both pods drained and ended with 143")

        job = f"{NAME}-backfill"
        shards = pods.indexed_job(job, killed=(0, 3))
        assert "already finished" in pods.one_run(job), "the shards left something to do"
        pods.settings |= {name: f"s3://kolk/one-{name.lower()}" for name in ("KOLK_STATE", "KOLK_BACKFILL")}
        pods.one_run(job)
        made, one = store.contents("backfill"), store.contents("one-kolk_backfill")
        assert one and made == one, f"the shards wrote {sorted(made)}, one run {sorted(one)}"
        print(f"the Job's {shards} pods, two of them killed and started again: the {len(one)} files of one run, byte for byte")
    finally:
        pods.kill_all()
        for it in filter(None, (prometheus, store)):
            it.process.kill()
            it.process.wait()


main()
