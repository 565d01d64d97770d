"""What no schema knows: objects.py GRACE_SECONDS RENDERED.yaml ...

GRACE_SECONDS is runtime.grace of the rendered pipeline. Checks that the objects fit each other and the binary: names
lead somewhere, selectors select, ports and probes are those that kolk serves, a pod has time to drain, and every pod is
one that the Pod Security Standard "restricted" admits. Prints what it checked.
"""

import json
import re
import sys

import yaml

# What kolk takes after the grace period to leave the group, and some to spare.
LEAVING = 3 + 5
PAGES = {"/healthz", "/readyz", "/metrics", "/version"}
SECRETS = {
    "kolk-kafka": {"username", "password", "ca.crt"},
    "kolk-store": {"access-key-id", "secret-access-key"},
    "kolk-http": {"token"},
    "kolk-sign": {"registry.key"},
}

checks = 0


def check(condition, message):
    global checks
    checks += 1
    assert condition, message


def pods(objects):
    """Each pod template, with its object."""
    for found in objects.values():
        spec = found.get("spec", {})
        if found["kind"] in ("StatefulSet", "Deployment"):
            yield found, spec["template"]
        elif found["kind"] == "Job":
            yield found, spec["template"]
        elif found["kind"] == "CronJob":
            yield found, spec["jobTemplate"]["spec"]["template"]


def selects(selector, labels):
    return selector.items() <= labels.items()


def restricted(where, template):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = template["spec"]
    security = spec["securityContext"]
    check(security["runAsNonRoot"] is True and security["runAsUser"] > 0, f"{where}: may run as root")
    check(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: no seccomp profile")
    check(not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), f"{where}: uses the host")
    check(spec["automountServiceAccountToken"] is False, f"{where}: has a token of Kubernetes")
    for container in spec.get("initContainers", []) + spec["containers"]:
        own = container["securityContext"]
        check(own["allowPrivilegeEscalation"] is False, f"{where}: may gain rights")
        check(own["capabilities"] == {"drop": ["ALL"]}, f"{where}: has capabilities")
        check({"cpu", "memory"} <= container["resources"]["requests"].keys(), f"{where}: requests no CPU or memory")
        check("memory" in container["resources"]["limits"], f"{where}: has no limit of memory")
        if container.get("command") == ["kolk"]:
            check(own["readOnlyRootFilesystem"] is True, f"{where}: may write its root")
    kinds = {"configMap", "projected", "secret", "emptyDir", "persistentVolumeClaim"}
    for volume in spec["volumes"]:
        check(set(volume) - {"name"} <= kinds, f"{where}: volume {volume['name']} is of another kind")


def names_lead_somewhere(where, template, objects):
    spec = template["spec"]
    there = lambda kind, name: check(f"{kind}/{name}" in objects, f"{where}: there is no {kind} {name}")
    if "serviceAccountName" in spec:
        there("ServiceAccount", spec["serviceAccountName"])
    files = {}
    for volume in spec["volumes"]:
        maps = [volume["configMap"]] if "configMap" in volume else []
        maps += [source["configMap"] for source in volume.get("projected", {}).get("sources", [])]
        for it in maps:
            there("ConfigMap", it["name"])
            files.setdefault(volume["name"], set()).update(objects[f"ConfigMap/{it['name']}"]["data"])
        if "secret" in volume:
            check(volume["secret"]["secretName"] in SECRETS, f"{where}: an unknown Secret")
            files[volume["name"]] = SECRETS[volume["secret"]["secretName"]]
        if "persistentVolumeClaim" in volume:
            there("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounted = set()
    for container in spec.get("initContainers", []) + spec["containers"]:
        paths = set()
        for mount in container["volumeMounts"]:
            check(mount["name"] in volumes, f"{where}: mounts {mount['name']}, which is no volume")
            mounted.add(mount["name"])
            check(mount["name"] != "sign" or container["name"] == "train", f"{where}: {container['name']} can sign")
            paths |= {f"{mount['mountPath']}/{name}" for name in files.get(mount["name"], ())}
        for source in container.get("envFrom", []):
            there("ConfigMap", source["configMapRef"]["name"])
        named = container.get("args", []) + [it.get("value", "") for it in container.get("env", [])]
        for path in filter(lambda it: it.startswith(("/etc/kolk/", "/run/secrets/")), named):
            check(path in paths, f"{where}: {container['name']} names {path}, which is not mounted")
        # The files of secrets that kafka.yaml names.
        config = "".join(t for it in objects.values() if it["kind"] == "ConfigMap" for t in it["data"].values())
        if container.get("command") == ["kolk"] and container["name"] != "train":
            for path in re.findall(r"/run/secrets/[\w./-]+", re.sub(r"#.*", "", config)):
                if container["name"] in ("collect", "backfill") and "/http/" in path:
                    continue  # it serves nothing
                if container["name"] == "backfill" and "/kafka/" in path:
                    continue  # it reads files
                check(path in paths, f"{where}: {container['name']} reads {path}, which is not mounted")
    check(mounted == volumes, f"{where}: mounted nowhere: {volumes - mounted}")


def of_kolk(objects, grace):
    sets = [it for it in objects.values() if it["kind"] == "StatefulSet" and it["metadata"]["name"].endswith("kolk")]
    check(len(sets) == 1, "one StatefulSet of kolk")
    (pod_set,) = sets
    name, spec = pod_set["metadata"]["name"], pod_set["spec"]
    labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    check(pod["terminationGracePeriodSeconds"] >= grace + LEAVING, "pods are killed before they have drained")
    (container,) = pod["containers"]
    (port,) = container["ports"]
    settings = objects[f"ConfigMap/{container['envFrom'][0]['configMapRef']['name']}"]["data"]
    served = int(settings.get("KOLK_HTTP", "0.0.0.0:9464").rsplit(":", 1)[1])
    check(port["containerPort"] == served, "the port is not that of runtime.http")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        check(get["path"] in PAGES and get["port"] == port["name"], f"{probe}: kolk doesn't serve that")
    check(container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a broker that is away must not restart pods")
    check(selects(spec["selector"]["matchLabels"], labels), "the StatefulSet does not select its pods")
    others = [template["metadata"]["labels"] for found, template in pods(objects) if found is not pod_set]
    selectors = {
        "Service": objects[f"Service/{spec['serviceName']}"]["spec"]["selector"],
        "PodDisruptionBudget": objects[f"PodDisruptionBudget/{name}"]["spec"]["selector"]["matchLabels"],
        "StatefulSet": spec["selector"]["matchLabels"],
    }
    for spread in pod["topologySpreadConstraints"]:
        selectors[spread["topologyKey"]] = spread["labelSelector"]["matchLabels"]
    if f"PodMonitor/{name}" in objects:
        monitor = objects[f"PodMonitor/{name}"]["spec"]
        selectors["PodMonitor"] = monitor["selector"]["matchLabels"]
        (endpoint,) = monitor["podMetricsEndpoints"]
        if "authorization" in endpoint:
            key = endpoint["authorization"]["credentials"]
            check(key["key"] in SECRETS[key["name"]], "the PodMonitor names a key that the Secret doesn't have")
        check(endpoint["port"] == port["name"] and endpoint["path"] in PAGES, "the PodMonitor scrapes another port")
    for who, selector in selectors.items():
        check(selects(selector, labels), f"{who} does not select the pods")
        check(not any(selects(selector, it) for it in others), f"{who} selects other pods too")
    policy = objects[f"NetworkPolicy/{name}"]["spec"]
    check(selects(policy["podSelector"]["matchLabels"], labels), "the NetworkPolicy does not select the pods")
    check(policy["podSelector"]["matchLabels"].get("app.kubernetes.io/name") == "kolk", "the NetworkPolicy is for other pods too")
    out = {it["port"] for rule in policy["egress"] for it in rule["ports"]}
    brokers = {int(it.rsplit(":", 1)[1]) for it in settings["KOLK_BROKERS"].split(",")}
    check(brokers <= out, f"the NetworkPolicy does not let pods reach the brokers' ports {brokers - out}")
    scaled = [objects[it] for it in (f"ScaledObject/{name}", f"HorizontalPodAutoscaler/{name}") if it in objects]
    check(len(scaled) <= 1, "KEDA makes an HPA of its own")
    check(("replicas" in spec) != bool(scaled), "the number of pods has exactly one owner")
    for it in scaled:
        target = it["spec"]["scaleTargetRef"]
        check((target["kind"], target["name"]) == ("StatefulSet", name), "what is scaled is not there")
    if f"ScaledObject/{name}" in objects:
        (trigger,) = objects[f"ScaledObject/{name}"]["spec"]["triggers"]
        for field, setting in (("bootstrapServers", "KOLK_BROKERS"), ("consumerGroup", "KOLK_GROUP"), ("topic", "KOLK_TOPIC")):
            check(trigger["metadata"][field] == settings[setting], f"KEDA's {field} is not that of kolk")
        check(all(isinstance(it, str) for it in trigger["metadata"].values()), "KEDA takes text only")
        if "authenticationRef" in trigger:
            auth = objects[f"TriggerAuthentication/{trigger['authenticationRef']['name']}"]["spec"]["secretTargetRef"]
            check(all(it["key"] in SECRETS[it["name"]] for it in auth), "KEDA names keys that the Secret doesn't have")


def backfills(objects):
    """Each index of an Indexed Job is a shard, and there are as many shards as indexes."""
    for name, found in objects.items():
        if found["kind"] != "Job":
            continue
        spec = found["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        check(spec["completionMode"] == "Indexed", f"{name}: its pods have no index")
        check(1 <= spec["parallelism"] <= spec["completions"], f"{name}: more pods than shards")
        shard = container["args"][container["args"].index("--shard") + 1]
        check(shard == f"$(JOB_COMPLETION_INDEX)/{spec['completions']}", f"{name}: {shard} of {spec['completions']} pods")
        check("JOB_COMPLETION_INDEX" in [it["name"] for it in container["env"]], f"{name}: its index is not set")
        sources = [it for volume in spec["template"]["spec"]["volumes"] for it in volume.get("projected", {}).get("sources", [])]
        data = {k: v for it in sources for k, v in objects[f"ConfigMap/{it['configMap']['name']}"]["data"].items()}
        text = data["backfill.yaml"]
        partitions = int(re.search(r"partitions: (\d+)", text)[1])
        check(spec["completions"] <= partitions, f"{name}: more shards than partitions of state")


def dashboards(objects):
    """Panels lie side by side, say what they show, and follow the variables of the dashboard."""
    for found in objects.values():
        for text in found.get("data", {}).values() if "grafana_dashboard" in found["metadata"].get("labels", {}) else []:
            dashboard = json.loads(text)
            variables = [it["name"] for it in dashboard["templating"]["list"]]
            panels, taken = dashboard["panels"], set()
            check(len({panel["id"] for panel in panels}) == len(panels), "two panels have one id")
            for panel in panels:
                at, title = panel["gridPos"], panel["title"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                check(at["x"] + at["w"] <= 24 and not cells & taken, f"panel {title} lies on another one, or beside the page")
                taken |= cells
                if panel["type"] == "row":
                    continue
                check(panel["description"] and panel["targets"], f"panel {title} has no description or no query")
                for target in panel["targets"]:
                    check(target["datasource"]["uid"] == "${datasource}", f"panel {title} has a data source of its own")
                    for name in set(variables) - {"datasource"}:
                        check(f'{name}=~"${name}"' in target["expr"], f"panel {title} does not follow {name}")


def main():
    grace, paths = float(sys.argv[1]), sys.argv[2:]
    for path in paths:
        objects = {}
        with open(path, encoding="utf-8") as file:
            for found in filter(None, yaml.safe_load_all(file)):
                objects[f"{found['kind']}/{found['metadata']['name']}"] = found
        for found, template in pods(objects):
            where = f"{path}: {found['kind']}/{found['metadata']['name']}"
            restricted(where, template)
            names_lead_somewhere(where, template, objects)
        of_kolk(objects, grace)
        backfills(objects)
        dashboards(objects)
    print(f"{checks} checks of {len(paths)} renderings")


main()
