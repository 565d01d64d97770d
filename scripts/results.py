#!/usr/bin/env python3
"""Prints, as a Markdown table, the errors on held-out time that the manifests of a registry hold: results.py MODELS."""

import json
import pathlib
import sys

COLUMNS = ["mae", "mae_ridge", "mae_last_value", "mae_seasonal", "mase"]
HEADINGS = ["MAE", "ridge alone", "last value", "same time last season", "MASE"]


def newest(model: pathlib.Path) -> dict | None:
    """The manifest of a model's newest version."""
    versions = sorted((int(folder.name) for folder in model.iterdir() if folder.name.isdigit()), reverse=True)
    return json.loads((model / str(versions[0]) / "manifest.json").read_text()) if versions else None


def lines(manifest: dict) -> list[str]:
    """A line for each target, and one for the errors in standard deviations that the literature uses."""
    metrics = manifest["metrics"]

    def line(target: str, names: list[str | None]) -> str:
        values = [f"{metrics[name]:.4g}" if name in metrics else "" for name in names]
        return f"| {manifest['name']} | {target} | {manifest['horizon']} | {' | '.join(values)} |"

    found = [line(target, [f"{target}.{column}" for column in COLUMNS]) for target in manifest["targets"]]
    standard = ["mse_standard", "mse_standard_ridge", "mse_standard_last_value", "mse_standard_seasonal", None]
    found.append(line("all, squared, in standard deviations", standard))
    return found


def main() -> None:
    """Reads every model of the registry."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    models = [path for path in sorted(pathlib.Path(sys.argv[1]).iterdir()) if path.is_dir()]
    print(f"| model | target | steps | {' | '.join(HEADINGS)} |")
    print(f"|---|---|---:|{'---:|' * len(HEADINGS)}")
    for manifest in filter(None, map(newest, models)):
        print("\n".join(lines(manifest)))


if __name__ == "__main__":
    main()
