"""Validates rendered objects against the schemas of Kubernetes, strictly: schemas.py VERSION[,VERSION ...]
RENDERED.yaml ...

An object of a kind without a schema fails, unless it is one of the custom resources, which crds/check.mjs validates.
"""

import copy
import sys

import kubernetes_validate
import yaml

CUSTOM = {
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}


def problem(found, version):
    """What is wrong with an object; None where nothing is."""
    try:
        # A version without schemas of its own would be answered by those of an older one.
        used = kubernetes_validate.validate(found, version, strict=True)
        return None if used == version else f"only the schemas of {used} are there"
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message


def main():
    versions, paths = sys.argv[1].split(","), sys.argv[2:]
    assert paths, "no files"
    objects, custom, failed = [], 0, []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for found in filter(None, yaml.safe_load_all(file)):
                if (found["apiVersion"], found["kind"]) in CUSTOM:
                    custom += 1
                else:
                    objects.append((path, found))
    for version in versions:
        for path, found in objects:
            if said := problem(found, version):
                failed.append(f"{path}: {found['kind']}/{found['metadata']['name']}, Kubernetes {version}: {said}")
        # A check that finds nothing must be able to: a field that isn't there, and a kind.
        pod_set = next(found for _, found in objects if found["kind"] == "StatefulSet")
        wrong = copy.deepcopy(pod_set)
        wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
        assert "livenesProbe" in (problem(wrong, version) or ""), f"{version}: an unknown field was not found"
        assert problem({**pod_set, "kind": "StatefulSets"}, version), f"{version}: an unknown kind was not found"
    if failed:
        print("\n".join(failed))
        sys.exit("not valid")
    print(f"{len(objects)} objects in each of Kubernetes {', '.join(versions)}; {custom} custom resources left to crds/check.mjs")


main()
