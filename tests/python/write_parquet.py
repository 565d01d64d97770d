"""Writes one small series as several programs write it, a folder each: write_parquet.py FOLDER.

24 rows of keys A and B in turn, an hour apart from 2024-01-01, with value 0, 1, 2, … and null in row 20. In folders whose
names begin with `typed-` the keys are of another type; keys.json says what they are in JSON.
"""

import datetime
import decimal
import json
import pathlib
import sys
import uuid

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ROOT = pathlib.Path(sys.argv[1])
ROWS = 24
START = datetime.datetime(2024, 1, 1)
KEYS = ["A" if row % 2 == 0 else "B" for row in range(ROWS)]
TIMES = [START + datetime.timedelta(hours=row) for row in range(ROWS)]
VALUES = [None if row == 20 else float(row) for row in range(ROWS)]


def folder(name):
    path = ROOT / name
    path.mkdir(parents=True)
    return path


def table(key=None, ts=pa.timestamp("us"), value=pa.float64()):
    keys = pa.array(KEYS) if key is None else key
    return pa.table({"key": keys, "ts": pa.array(TIMES, pa.timestamp("us")).cast(ts), "value": pa.array(VALUES).cast(value)})


def with_pyarrow():
    plain = table()
    pq.write_table(plain, folder("pyarrow") / "a.parquet", row_group_size=5)
    pq.write_table(plain, folder("pyarrow-v1-int96") / "a.parquet", version="1.0", use_deprecated_int96_timestamps=True)
    pq.write_table(plain, folder("pyarrow-v2-pages") / "a.parquet", data_page_version="2.0", compression="zstd",
                   use_dictionary=False, column_encoding={"ts": "DELTA_BINARY_PACKED", "key": "DELTA_BYTE_ARRAY",
                                                          "value": "BYTE_STREAM_SPLIT"})
    pq.write_table(plain, folder("pyarrow-no-arrow-schema") / "a.parquet", store_schema=False, compression="brotli")
    keys = pa.array(KEYS)
    differ = folder("pyarrow-files-that-differ")
    parts = [
        table(),
        table(keys.cast(pa.large_string()), pa.timestamp("ns")),
        table(keys.cast(pa.string_view()), pa.timestamp("ms"), pa.float32()),
        table(keys.dictionary_encode(), pa.timestamp("s"), pa.int16()),
        table(value=pa.decimal128(20, 3)),
        table(ts=pa.timestamp("us")).set_column(2, "value", pa.nulls(ROWS)).append_column("more", pa.nulls(ROWS)),
    ]
    for number, part in enumerate(parts):
        pq.write_table(part.slice(4 * number, 4) if number < 5 else part.slice(20, 1), differ / f"{number}.parquet")
    pq.write_table(plain.slice(21, 3), differ / "6.parquet")
    pq.write_table(pa.table({name: pa.nulls(0) for name in plain.column_names}), differ / "7.parquet")
    ds.write_dataset(plain, folder("pyarrow-hive"), format="parquet", partitioning=ds.partitioning(
        pa.schema([("key", pa.string())]), flavor="hive"))
    pq.write_to_dataset(plain.append_column("day", pa.array([time.date() for time in TIMES])),
                        folder("pyarrow-hive-two") , partition_cols=["day", "key"])


def with_pandas():
    frame = pd.DataFrame({"key": KEYS, "ts": TIMES, "value": VALUES})
    frame.to_parquet(folder("pandas") / "a.parquet")
    frame.set_index("ts").to_parquet(folder("pandas-index") / "a.parquet")
    frame.astype({"key": "category", "value": "Int64"}).to_parquet(folder("pandas-category") / "a.parquet")
    zoned = frame.assign(ts=frame["ts"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"))
    zoned.to_parquet(folder("pandas-zone") / "a.parquet")
    frame.to_parquet(folder("pandas-hive"), partition_cols=["key"])


def with_polars():
    frame = pl.DataFrame({"key": KEYS, "ts": TIMES, "value": VALUES})
    frame.write_parquet(folder("polars") / "a.parquet", row_group_size=5)
    frame.with_columns(pl.col("key").cast(pl.Categorical)).write_parquet(folder("polars-category") / "a.parquet")
    frame.with_columns(pl.col("key").cast(pl.Enum(["A", "B"])), pl.col("value").cast(pl.Decimal(12, 2))).write_parquet(
        folder("polars-enum-decimal") / "a.parquet", statistics="full")
    frame.write_parquet(folder("polars-hive"), partition_by="key")


def with_duckdb():
    base = duckdb.connect()
    base.execute("CREATE TABLE rows (key VARCHAR, ts TIMESTAMP, value DOUBLE)")
    base.executemany("INSERT INTO rows VALUES (?, ?, ?)", list(zip(KEYS, TIMES, VALUES)))

    def copy(name, query="FROM rows", options=""):
        base.execute(f"COPY ({query}) TO '{folder(name)}/a.parquet' (FORMAT parquet{options})")

    copy("duckdb")
    copy("duckdb-v2", options=", PARQUET_VERSION v2, COMPRESSION zstd")
    copy("duckdb-enum", "SELECT key::ENUM('A', 'B') AS key, ts, value FROM rows")
    copy("duckdb-seconds", "SELECT key, ts::TIMESTAMP_S AS ts, value::DECIMAL(9, 1) AS value FROM rows")
    copy("duckdb-nanos", "SELECT key, ts::TIMESTAMP_NS AS ts, value::HUGEINT AS value FROM rows")
    copy("duckdb-zone", "SELECT key, ts::TIMESTAMPTZ AS ts, value::FLOAT AS value FROM rows")
    copy("typed-duckdb-uuid", "SELECT CASE key WHEN 'A' THEN '00112233-4455-6677-8899-aabbccddeeff'::UUID "
         "ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID END AS key, ts, value FROM rows")
    copy("typed-duckdb-blob", "SELECT CASE key WHEN 'A' THEN '\\x00\\xFF'::BLOB ELSE 'b'::BLOB END AS key, ts, value FROM rows")
    copy("typed-duckdb-decimal", "SELECT CASE key WHEN 'A' THEN 1.50::DECIMAL(9, 2) ELSE 2::DECIMAL(9, 2) END AS key, ts, value FROM rows")
    base.execute(f"COPY (FROM rows) TO '{folder('duckdb-hive')}' (FORMAT parquet, PARTITION_BY (key), OVERWRITE_OR_IGNORE)")


def as_spark():
    """Spark's folders: names, markers, checksums, INT96, and decimals of legacy writers."""
    def part(path, rows, **options):
        path.mkdir(parents=True, exist_ok=True)
        name = "part-00000-3a2c6e4e-7c5e-4b0e-9a52-0f3f6c1d8f2b-c000.snappy.parquet"
        pq.write_table(rows, path / name, compression="snappy", store_schema=False, **options)
        (path / f".{name}.crc").write_bytes(b"crc\0")

    plain = table()
    flat = folder("spark")
    part(flat, plain, use_deprecated_int96_timestamps=True)
    (flat / "_SUCCESS").write_bytes(b"")
    (flat / "._SUCCESS.crc").write_bytes(b"crc\0")
    # What a job that failed left behind.
    part(flat / "_temporary/0/task_1", plain)
    part(flat / ".spark-staging-1", plain)
    (flat / "_metadata").write_bytes(b"PAR1")
    for path, options in [(folder("spark-hive"), {}), (folder("spark-hive-legacy"), {"use_deprecated_int96_timestamps": True})]:
        for key in "AB":
            rows = plain.filter(pa.compute.equal(plain["key"], key)).drop_columns("key")
            part(path / f"key={key}", rows, **options)
        (path / "_SUCCESS").write_bytes(b"")
    part(folder("spark-decimal-legacy"), table(value=pa.decimal128(9, 2)))
    part(folder("spark-decimal-int"), table(value=pa.decimal128(9, 2)), store_decimal_as_integer=True)
    # The time in the names of folders, its colons escaped.
    path = folder("spark-hive-time")
    for row, time in enumerate(TIMES):
        part(path / f"ts={time:%Y-%m-%d %H%%3A%M%%3A%S}", plain.slice(row, 1).drop_columns("ts"))


def typed_keys():
    pick = lambda a, b: [a if key == "A" else b for key in KEYS]
    ids = [uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"), uuid.UUID(int=2**128 - 1)]
    day = datetime.date(2024, 1, 31)
    kinds = {
        "uuid": pa.array(pick(ids[0].bytes, ids[1].bytes), pa.uuid()),
        "fixed": pa.array(pick(b"\0\xff", b"ab"), pa.binary(2)),
        "binary": pa.array(pick(b"\0\xff", b"b"), pa.binary()),
        "boolean": pa.array(pick(True, False)),
        "decimal": pa.array(pick(decimal.Decimal("1.50"), decimal.Decimal("2")), pa.decimal128(9, 2)),
        "date": pa.array(pick(day, datetime.date(1969, 12, 31))),
        "integer": pa.array(pick(2**64 - 1, 7), pa.uint64()),
    }
    for name, keys in kinds.items():
        pq.write_table(table(keys), folder(f"typed-pyarrow-{name}") / "a.parquet")
    hive = folder("typed-hive-date")
    pq.write_to_dataset(table(kinds["date"]), hive, partition_cols=["key"])
    pl.DataFrame({"key": pick(b"\0\xff", b"b"), "ts": TIMES, "value": VALUES}).write_parquet(
        folder("typed-polars-binary") / "a.parquet")
    pd.DataFrame({"key": pick(ids[0].bytes, ids[1].bytes), "ts": TIMES, "value": VALUES}).to_parquet(
        folder("typed-pandas-bytes") / "a.parquet")
    texts = {
        "uuid": [str(ids[0]), str(ids[1])], "fixed": ["00ff", "6162"], "binary": ["00ff", "62"], "blob": ["00ff", "62"],
        "boolean": [True, False], "decimal": [1.5, 2.0], "date": ["2024-01-31", "1969-12-31"],
        "integer": [2**64 - 1, 7], "bytes": [ids[0].hex, ids[1].hex],
    }
    (ROOT / "keys.json").write_text(json.dumps(texts))


with_pyarrow()
with_pandas()
with_polars()
with_duckdb()
as_spark()
typed_keys()
