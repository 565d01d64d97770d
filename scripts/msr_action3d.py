"""MSR Action3D with the label of its clips beside each frame: what pipelines/joined/msr_action3d.yaml reads.

    python scripts/msr_action3d.py FRAMES.parquet CLIPS.parquet ACTIONS.parquet

The clips are those of the published protocol (in_cvpr12). Coordinates stay as they are.
"""

import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def main(frames: str, clips: str, target: str) -> None:
    clips = pq.read_table(clips, columns=["key", "action", "split", "in_cvpr12"])
    clips = clips.filter(clips["in_cvpr12"]).to_pylist()
    label = {clip["key"]: clip["action"] for clip in clips}
    split = {clip["key"]: clip["split"] for clip in clips}
    table = pq.read_table(frames)
    table = table.filter(pc.is_in(table["key"], pa.array(list(label))))
    keys = table["key"].to_pylist()
    table = table.append_column("label", pa.array([label[key] for key in keys]))
    table = table.append_column("split", pa.array([split[key] for key in keys]))
    pq.write_table(table, target, compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])
