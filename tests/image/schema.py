"""The SBOM fits CycloneDX's schema, strictly: fields that aren't in it are refused."""

import json
import pathlib
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(path: str) -> None:
    text = pathlib.Path(path).read_text("utf-8")
    found = json.loads(text)
    validator = JsonStrictValidator(SchemaVersion.from_version(found["specVersion"]))
    problem = validator.validate_str(text)
    assert problem is None, problem
    assert validator.validate_str(text.replace('"purl"', '"purrl"', 1)) is not None, "the schema accepts anything"
    kinds = {
        kind: sum(it.get("purl", "").startswith(f"pkg:{kind}/") for it in found["components"])
        for kind in ("cargo", "deb", "pypi")
    }
    references = {it["bom-ref"] for it in found["components"]} | {found["metadata"]["component"]["bom-ref"]}
    lost = [ref for it in found["dependencies"] for ref in [it["ref"], *it["dependsOn"]] if ref not in references]
    assert not lost, f"dependencies that are no components: {lost}"
    print(
        f"CycloneDX {found['specVersion']}: valid; {kinds['cargo']} crates, {kinds['deb']} Debian packages, {kinds['pypi']} wheel"
    )


if __name__ == "__main__":
    main(sys.argv[1])
