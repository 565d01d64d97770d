"""What a cluster does with a rendered StatefulSet: pods with stable names, one after the other or all at once, probes,
containers that start again when they end, nodes that vanish.

Pods are sandboxes (sandbox.py) with the rendered command, variables, files, volumes and user. Lives here: what the
controller of StatefulSets and the kubelet do. Must not live here: what is expected of it.
"""

import os
import pathlib
import re
import shutil
import threading
import time

import pages
import pods
import sandbox

# Of kubelet: the pause before a container that ended is started again, twice as long each time.
BACK_OFF = 10
# Only a real fault takes this long.
PATIENCE = 180


def eventually(what, missing, patience=PATIENCE):
    pages.eventually(what, missing, patience)


class Pod:
    def __init__(self, name, box, spec, folder):
        self.name, self.box, self.spec, self.folder = name, box, spec, folder
        self.log = folder / "log"
        # Exit codes of containers that ended by themselves.
        self.ended = []
        self.again = None
        self.start()

    def start(self):
        self.container = sandbox.Container(self.box, self.spec, self.folder, self.log)
        self.again = None

    def said(self):
        return self.log.read_text("utf-8", errors="replace")


class StatefulSet:
    """The StatefulSet of rendered objects. `claims` has the volumes that claims name; `image` says which files of this
    machine the image has, and where."""

    def __init__(self, objects, name, network, work, claims, image, environment):
        self.objects, self.name, self.network, self.work, self.claims = objects, name, network, work, claims
        self.image, self.environment = image, environment
        self.spec = objects["StatefulSet", name]["spec"]
        self.pod_spec = self.spec["template"]["spec"]
        (self.rendered,) = self.pod_spec["containers"]
        self.port = {it["name"]: it["containerPort"] for it in self.rendered["ports"]}
        self.pods, self.stopped, self.count = {}, [], 0
        self.lock, self.over = threading.RLock(), threading.Event()
        self.kubelet = threading.Thread(target=self._restart, daemon=True)
        self.kubelet.start()

    def claim(self, name):
        """The folder of a PersistentVolumeClaim that all pods share."""
        folder = self.claims / name
        folder.mkdir(parents=True, exist_ok=True)
        self._own(folder)
        return folder

    def _own(self, path, mode=None):
        """As fsGroup does it."""
        group = self.pod_spec["securityContext"]["fsGroup"]
        os.chown(path, -1, group)
        os.chmod(path, mode if mode is not None else 0o2775)

    def _volume(self, mounted, folder):
        (volume,) = [it for it in self.pod_spec["volumes"] if it["name"] == mounted["name"]]
        found = {"path": mounted["mountPath"], "read_only": mounted.get("readOnly", False), "source": None}
        if "emptyDir" in volume:
            return found | {"size": re.sub(r"i$", "", volume["emptyDir"]["sizeLimit"])}
        if "persistentVolumeClaim" in volume:
            return found | {"source": str(self.claim(volume["persistentVolumeClaim"]["claimName"]))}
        here = folder / "volumes" / mounted["name"]
        here.mkdir(parents=True)
        if "secret" in volume:
            files, mode = self.objects["Secret", volume["secret"]["secretName"]]["stringData"], volume["secret"]["defaultMode"]
        else:
            files, mode = self.objects["ConfigMap", volume["configMap"]["name"]]["data"], 0o644
        for file, text in files.items():
            (here / file).write_text(text, encoding="utf-8")
            self._own(here / file, mode)
        self._own(here)
        # Files of ConfigMaps and Secrets can be read only, whatever the mount says.
        return found | {"source": str(here), "read_only": True}

    def create(self, ordinal):
        """A pod with this number: on a node that has room, so with another address than before."""
        pod = f"{self.name}-{ordinal}"
        self.count += 1
        folder = self.work / f"{pod}.{self.count}"
        folder.mkdir(parents=True)
        secured, of_pod = self.rendered["securityContext"], self.pod_spec["securityContext"]
        assert secured["readOnlyRootFilesystem"] and not secured["allowPrivilegeEscalation"], secured
        assert secured["capabilities"] == {"drop": ["ALL"]}, secured
        spec = {
            "image": self.image,
            "volumes": [self._volume(it, folder) for it in self.rendered["volumeMounts"]],
            "user": of_pod["runAsUser"],
            "group": of_pod["runAsGroup"],
            "command": self.rendered["command"] + self.rendered["args"],
            "env": self.environment | pods.environment(self.objects, self.rendered, pod),
        }
        with self.lock:
            self.pods[ordinal] = Pod(pod, self.network.sandbox(), spec, folder)

    def _restart(self):
        """A container that ends by itself starts again in its pod: at once, then with pauses that get longer."""
        while not self.over.wait(0.2):
            with self.lock:
                for pod in self.pods.values():
                    if pod.again is None and (code := pod.container.code()) is not None:
                        pod.again = time.monotonic() + (BACK_OFF * 2 ** (len(pod.ended) - 1) if pod.ended else 0)
                        pod.ended.append(code)
                    if pod.again is not None and time.monotonic() >= pod.again:
                        pod.start()

    def page(self, ordinal, path, token=None):
        """Status and text of a page, 0 where nothing answers."""
        return pages.page(f"{self.pods[ordinal].box.address}:{self.port['http']}", path, token, timeout=3)

    def unready(self, ordinal):
        status, said = self.page(ordinal, self.rendered["readinessProbe"]["httpGet"]["path"])
        pod = self.pods[ordinal]
        return None if status == 200 else f"{pod.name} is not ready: {status} {said}\n{pod.said()[-2000:]}"

    def metric(self, ordinal, name):
        """A metric of a pod; None where it does not say."""
        token = self.objects["Secret", "kolk-http"]["stringData"]["token"]
        found = re.search(rf"^{name} (\S+)$", self.page(ordinal, "/metrics", token)[1], re.M)
        return float(found[1]) if found else None

    def wait_partitions(self, each):
        """Waits until each pod has this many partitions, and none of them is being restored."""

        def missing():
            wanted = {"kolk_partitions": each, "kolk_restoring_partitions": 0}
            found = {pod.name: {it: self.metric(number, it) for it in wanted} for number, pod in self.pods.items()}
            return None if all(it == wanted for it in found.values()) else found

        eventually("partitions", missing)

    def wait_ready(self, *ordinals):
        for ordinal in ordinals or sorted(self.pods):
            eventually("readiness", lambda ordinal=ordinal: self.unready(ordinal))

    def delete(self, *ordinals):
        """Ends pods, all at the same time, with their grace period."""
        with self.lock:
            gone = [self.pods.pop(it) for it in ordinals]
        threads = [threading.Thread(target=self._delete, args=(pod,)) for pod in gone]
        for it in threads:
            it.start()
        for it in threads:
            it.join()

    def _delete(self, pod):
        code, seconds = pod.container.stop(self.pod_spec["terminationGracePeriodSeconds"])
        pod.box.remove()
        self.stopped.append((pod, code, seconds))

    def rolling_update(self):
        """One pod after the other, from the last, each when the one before it is ready and stays so."""
        for ordinal in sorted(self.pods, reverse=True):
            self.delete(ordinal)
            self.create(ordinal)
            self.wait_ready(ordinal)
            time.sleep(self.spec["minReadySeconds"])
            assert (said := self.unready(ordinal)) is None, said

    def scale(self, replicas):
        assert self.spec["podManagementPolicy"] == "Parallel", self.spec["podManagementPolicy"]
        for ordinal in range(len(self.pods), replicas):
            self.create(ordinal)
        self.delete(*[it for it in self.pods if it >= replicas])

    def vanish(self, ordinal):
        """The node of a pod is gone: nobody who talks to it is told."""
        pod = self.detach(ordinal)
        pod.box.cut()
        pod.container.kill()
        pod.box.remove()

    def detach(self, ordinal):
        """The pod is given up, but what runs goes on: its node does not answer, and somebody deleted it by force."""
        with self.lock:
            return self.pods.pop(ordinal)

    def end(self):
        """Ends what is left; gives what the pods did that ended in order."""
        self.delete(*list(self.pods))
        self.over.set()
        self.kubelet.join()
        return self.stopped

    def forget(self):
        """Frees the disk of a situation that succeeded."""
        shutil.rmtree(self.work, ignore_errors=True)


def files_of_image(kolk, onnxruntime):
    """The files of the image that are not its base's, and the variables that it sets."""
    library = pathlib.Path(onnxruntime).resolve()
    files = {str(pathlib.Path(kolk).resolve()): "/opt/kolk/bin/kolk", str(library.parent): "/opt/kolk/lib"}
    return files, {"PATH": "/opt/kolk/bin:/usr/bin:/bin", "ORT_DYLIB_PATH": f"/opt/kolk/lib/{library.name}"}
