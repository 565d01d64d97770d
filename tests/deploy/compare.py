"""Compares what Kustomize and Helm render: compare.py KUSTOMIZE.yaml HELM.yaml [KIND/NAME that only Kustomize has ...]

Both must give the same objects. Three things differ on purpose and are taken out before: where a change of a file or a
setting rolls the pods, Kustomize has a hash in the ConfigMap's name and Helm one in an annotation; only Kustomize
writes a namespace to objects of the base without an overlay. Order in lists of volumes, mounts, variables and objects
has no meaning.
"""

import difflib
import re
import sys

import yaml

# Lists whose items have names, or for which order means nothing to Kubernetes.
BY = {"volumes": "name", "volumeMounts": "name", "env": "name", "ports": "port"}


def normal(node, key=""):
    """The node without what differs on purpose."""
    if isinstance(node, dict):
        node = {k: normal(v, k) for k, v in node.items() if k != "checksum/config"}
        if node.get("annotations") == {}:
            del node["annotations"]
        return node
    if isinstance(node, list):
        items = [normal(item) for item in node]
        by = BY.get(key)
        if by and all(isinstance(item, dict) and by in item for item in items):
            items.sort(key=lambda item: str(item.get("name", "")) + str(item[by]))
        return items
    if isinstance(node, str) and key == "name":
        return re.sub(r"^(.*-(?:settings|pipeline|train|backfill))-[0-9a-z]{10}$", r"\1", node)
    return node


def read(path):
    objects = {}
    with open(path, encoding="utf-8") as file:
        for found in yaml.safe_load_all(file):
            if found:
                found = normal(found)
                found["metadata"].pop("namespace", None)
                name = f"{found['kind']}/{found['metadata']['name']}"
                assert name not in objects, f"{path}: {name} is there twice"
                objects[name] = yaml.safe_dump(found, sort_keys=True, width=1000).splitlines()
    return objects


def main():
    left, right = read(sys.argv[1]), read(sys.argv[2])
    for name in sys.argv[3:]:
        assert left.pop(name, None) is not None, f"{sys.argv[1]}: there is no {name}"
    assert left, f"{sys.argv[1]}: no objects"
    different = []
    for name in sorted(left.keys() | right.keys()):
        lines = difflib.unified_diff(left.get(name, []), right.get(name, []), f"Kustomize {name}", f"Helm {name}", n=2)
        different += [line for line in lines]
    if different:
        print("\n".join(different))
        sys.exit("Kustomize and Helm render different objects")
    print(f"the same {len(left)} objects: {', '.join(sorted(left))}")


main()
