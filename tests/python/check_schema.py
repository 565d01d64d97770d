"""Validates YAML files with a JSON Schema, as an editor does: check_schema.py SCHEMA FILE...

One line for each file: "ok", or what is wrong. YAML is read as version 1.2 has it (`on` is a name, a date is a text),
with merge keys.
"""

import json
import re
import sys

import yaml
from jsonschema import Draft202012Validator


class Core(yaml.SafeLoader):
    """YAML's core schema."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
]:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


def named(value):
    """With names as texts, as JSON has them: `null` is one, too."""
    if isinstance(value, dict):
        return {"null" if name is None else str(name): named(inner) for name, inner in value.items()}
    return [named(inner) for inner in value] if isinstance(value, list) else value


with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        document = named(yaml.load(file, Loader=Core))
    faults = [f"{fault.json_path}: {fault.message}"[:300].replace("\n", " ") for fault in validator.iter_errors(document)]
    print("; ".join(faults) or "ok")
