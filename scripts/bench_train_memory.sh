#!/usr/bin/env bash
# Peak memory of a training on rows in memory and on rows beyond `train.memory`, in both modes: heap ("anonymous"), and
# mapped files, which the kernel takes back when memory is needed. ROWS: the rows of each of 20 keys.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

need_kolk
need_onnxruntime
need_python
folder=$(mktemp -d)
remove() { rm -rf "$folder"; }
at_end remove
cd "$folder"
KOLK=$(realpath "$kolk") ROWS=${ROWS:-150000} "$python" - <<'PY'
import os, re, subprocess, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

keys, rows = 20, int(os.environ["ROWS"])
columns = {
    "key": pa.array([f"k{key}" for key in range(keys)] * rows),
    "ts": pa.array(np.repeat(np.arange(rows) * 60_000, keys), pa.timestamp("ms")),
    "value": np.random.default_rng(1).normal(size=keys * rows),
}
pq.write_table(pa.table(columns), "data.parquet", row_group_size=200_000)
for mode in ["mode: carry", "mode: window, window: 8"]:
    for memory in ["10MB", "100GB"]:
        with open("p.yaml", "w") as file:
            file.write(
                "name: memory\nsource: { parquet: { path: data.parquet } }\n"
                "record: { key: key, time: ts, values: [value] }\n"
                f"stages: [ infer: {{ model: m, {mode} }} ]\n"
                "train: { target: value, layers: [ gru: 4 ], skip: none, updates: 3, "
                f"memory: {memory}, split: {{ rows: [{rows - 1000}, 500, 500] }} }}\n"
            )
        started = time.time()
        training = subprocess.Popen([os.environ["KOLK"], "train", "p.yaml"], stderr=open("log", "w"), stdout=open("out", "w"))
        heap = mapped = 0
        while training.poll() is None:
            try:
                status = open(f"/proc/{training.pid}/status").read()
                kb = lambda name: int(re.search(name + r":\s+(\d+)", status).group(1))
                heap, mapped = max(heap, kb("RssAnon")), max(mapped, kb("RssFile") + kb("RssShmem"))
            except (OSError, AttributeError):
                pass
            time.sleep(0.02)
        assert training.returncode == 0, open("log").read()
        print(
            f"{keys * rows} rows, {mode}, memory: {memory}: heap {heap // 1024} MB, files {mapped // 1024} MB, "
            f"{time.time() - started:.0f} s"
        )
PY
