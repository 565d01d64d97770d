"""Runs containers of rendered objects as processes: their files, arguments and environment, at paths of this machine.

Lives here: what a rendered container becomes. Must not live here: what is expected of it.
"""

import os
import pathlib
import re
import subprocess

import yaml

# Folders of a container, and what they are called in the work folder.
FOLDERS = {
    "/var/lib/kolk/models": "models",
    "/var/lib/kolk/state": "state",
    "/etc/kolk": "pipeline",
    "/run/secrets/kolk": "secrets",
}


def read(path):
    """Rendered objects by kind and name."""
    with open(path, encoding="utf-8") as file:
        return {(it["kind"], it["metadata"]["name"]): it for it in filter(None, yaml.safe_load_all(file))}


# Where Kubernetes writes the index of an indexed Job's pod.
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def environment(objects, container, pod):
    """The variables of a container, as rendered."""
    fields = {"metadata.name": pod, INDEX: pod.rsplit("-", 1)[1]}
    env = {}
    for source in container.get("envFrom", []):
        env |= objects["ConfigMap", source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        env[variable["name"]] = fields[field] if field else variable["value"]
    return env


class Containers:
    """The containers of rendered objects, with settings that replace rendered ones."""

    def __init__(self, objects, kolk, work, settings):
        self.objects, self.kolk, self.work = objects, kolk, pathlib.Path(work)
        self.settings = {name: self.here(value) for name, value in settings.items()}
        self.running = {}

    def here(self, text):
        """The text with paths of this machine."""
        for folder, name in FOLDERS.items():
            text = text.replace(folder, str(self.work / name))
        return text

    def data(self, name):
        return self.objects["ConfigMap", name]["data"]

    def secret(self, name, files):
        """Creates the files of the Secret that pods have in the folder of this name."""
        folder = self.work / "secrets" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")

    def mount(self, spec):
        """Writes the files that the pod has under /etc/kolk."""
        folder = self.work / "pipeline"
        folder.mkdir(parents=True, exist_ok=True)
        for volume in spec["volumes"]:
            sources = [volume] if "configMap" in volume else volume.get("projected", {}).get("sources", [])
            for source in sources:
                for name, text in self.data(source["configMap"]["name"]).items():
                    file, text = folder / name, self.here(text)
                    # A pod that starts may be reading it; Kubernetes replaces files as a whole.
                    if not file.exists() or file.read_text(encoding="utf-8") != text:
                        file.write_text(text, encoding="utf-8")

    def process(self, container, pod, log):
        """Starts the container as a process."""
        env = {name: os.environ[name] for name in ("PATH", "HOME", "ORT_DYLIB_PATH") if name in os.environ}
        env |= {name: self.here(value) for name, value in environment(self.objects, container, pod).items()}
        env |= self.settings | self.of_pod(pod)
        assert container["command"] == ["kolk"], container["command"]
        with open(log, "ab") as out:
            # As the kubelet does it.
            args = [re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], it) for it in container["args"]]
            command = [self.kolk] + [self.here(it) for it in args]
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def of_pod(self, pod):
        """What differs between pods that share one machine: the port."""
        return {"KOLK_HTTP": self.address(pod)}

    def address(self, pod):
        return f"127.0.0.1:{self.port + int(pod.rsplit('-', 1)[1])}"

    port = 0

    def job(self, name):
        """Runs the containers of a CronJob to their end, one after the other; gives their logs."""
        spec = self.objects["CronJob", name]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        self.mount(spec)
        logs = []
        for container in spec["initContainers"] + spec["containers"]:
            log = self.work / f"{name}-{container['name']}.log"
            log.unlink(missing_ok=True)
            code = self.process(container, f"{name}-0", log).wait(timeout=300)
            logs.append(log.read_text(encoding="utf-8"))
            assert code == 0, f"{container['name']} ended with {code}:\n{logs[-1][-3000:]}"
        return logs

    def indexed_job(self, name, killed):
        """Runs all pods of an indexed Job at once, kills some of them; gives how many there were. What doesn't end with 0
        is started again, as often as the Job allows."""
        spec = self.objects["Job", name]["spec"]
        pod = spec["template"]["spec"]
        self.mount(pod)
        (container,) = pod["containers"]
        log = lambda index: self.work / f"{name}-{index}.log"
        begin = lambda index: self.process(container, f"{name}-{index}", log(index))
        processes = [begin(index) for index in range(spec["completions"])]
        for index in killed:
            processes[index].kill()
            processes[index].wait()
            processes[index] = begin(index)
        for index, process in enumerate(processes):
            code = process.wait(timeout=300)
            for _ in range(spec["backoffLimitPerIndex"]):
                if code != 0:
                    code = begin(index).wait(timeout=300)
            assert code == 0, f"shard {index} ended with {code}:\n{log(index).read_text(encoding='utf-8')[-3000:]}"
        return spec["completions"]

    def one_run(self, name):
        """The same as one process: without the shard."""
        (container,) = self.objects["Job", name]["spec"]["template"]["spec"]["containers"]
        args = container["args"][: container["args"].index("--shard")]
        log = self.work / f"{name}-whole.log"
        code = self.process(container | {"args": args}, f"{name}-0", log).wait(timeout=300)
        assert code == 0, f"one run ended with {code}:\n{log.read_text(encoding='utf-8')[-3000:]}"
        return log.read_text(encoding="utf-8")

    def start(self, name, ordinal):
        """Starts a pod of a StatefulSet."""
        spec = self.objects["StatefulSet", name]["spec"]["template"]["spec"]
        self.mount(spec)
        pod = f"{name}-{ordinal}"
        (container,) = spec["containers"]
        self.running[pod] = self.process(container, pod, self.work / f"{pod}.log")
        return pod

    def stop(self, pod):
        """SIGTERM, as Kubernetes sends it; gives the exit code."""
        process = self.running.pop(pod)
        process.terminate()
        return process.wait(timeout=60)

    def kill_all(self):
        for process in self.running.values():
            process.kill()
            process.wait()
