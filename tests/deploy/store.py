"""An S3 server (versitygw) with the bucket `kolk`, and a race of writers that each want to create the same object.

Lives here: the server, and what kolk's state needs of it.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import subprocess
import threading
import time

KEYS = {"access-key-id": "kolk-tests", "secret-access-key": "a-secret-of-the-tests"}
REGION = "us-east-1"
BUCKET = "kolk"
WRITERS, RACES = 8, 20


class Store:
    def __init__(self, binary, work, address):
        self.address, self.work = address, work
        for folder in (f"buckets/{BUCKET}", "metadata"):
            (work / folder).mkdir(parents=True)
        command = [binary, "--port", address, "--quiet", "posix", "--sidecar", f"{work}/metadata", f"{work}/buckets"]
        keys = {"ROOT_ACCESS_KEY": KEYS["access-key-id"], "ROOT_SECRET_KEY": KEYS["secret-access-key"]}
        with open(work / "store.log", "wb") as log:
            env = os.environ | keys
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < end and self.process.poll() is None, (work / "store.log").read_text("utf-8")
            time.sleep(0.1)

    def _answers(self):
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status > 0
        except OSError:
            return False
        finally:
            connection.close()

    def objects(self, folder):
        """How many objects there are that hold something."""
        return sum(it.is_file() and it.stat().st_size > 0 for it in (self.work / "buckets" / BUCKET / folder).rglob("*"))

    def contents(self, folder):
        """The objects directly in a folder that hold something, with their bytes."""
        there = (self.work / "buckets" / BUCKET / folder).glob("*")
        return {it.name: it.read_bytes() for it in there if it.is_file() and it.stat().st_size > 0}

    def request(self, method, path, body=b"", headers=(), before=lambda: None):
        """Status and body of a signed request (AWS signature 4). `before` runs when it is ready to go."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": self.address, "x-amz-content-sha256": digest, "x-amz-date": now} | dict(headers)
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + KEYS["secret-access-key"].encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={KEYS['access-key-id']}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.connect()
            before()
            connection.request(method, path, body, signed)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def race(self):
        """Writers that create the same object at the same time: exactly one of them may win, and its bytes are there."""
        for number in range(RACES):
            path, barrier = f"/{BUCKET}/race/{number}", threading.Barrier(WRITERS)
            bodies, statuses = [bytes([65 + it]) * 50_000 for it in range(WRITERS)], [None] * WRITERS

            def write(it, path=path, barrier=barrier, bodies=bodies, statuses=statuses):
                create = {"if-none-match": "*"}
                statuses[it] = self.request("PUT", path, bodies[it], create, lambda: barrier.wait(timeout=60))[0]

            threads = [threading.Thread(target=write, args=(it,)) for it in range(WRITERS)]
            for it in threads:
                it.start()
            for it in threads:
                it.join()
            won = [it for it, status in enumerate(statuses) if status == 200]
            others = {status for it, status in enumerate(statuses) if it not in won}
            assert len(won) == 1 and others <= {409, 412}, f"create-only PUT, race {number}: {statuses}"
            assert self.request("GET", path) == (200, bodies[won[0]]), f"race {number}: not the winner's object"
        return f"{WRITERS} writers that create one object, {RACES} times: each time exactly one of them does"
