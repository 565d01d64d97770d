"""A topic as Debezium's connector for PostgreSQL writes it with Confluent's converters: changes of a table of sales,
with a schema of the keys and one of the envelopes.

    debezium.py avro|protobuf BROKER REGISTRY TOPIC

The schemas are those that Connect's AvroConverter and ProtobufConverter register; the bytes are fastavro's and
protobuf's. It writes, for two sales 1 and 2: a snapshot of both, an update, a delete with its tombstone, the row once
more, a truncation and a heartbeat of another schema.
"""

import decimal
import io
import json
import sys

import fastavro
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

SECONDS = 60
SPACE = "shop.public.sales"
MICROS = 1_700_000_000_000_000


def named(kind, name, **more):
    return {"type": kind, "connect.version": 1, "connect.name": name, **more}


def numeric(precision, scale, **more):
    parameters = {"scale": str(scale), **({} if precision == 64 else {"connect.decimal.precision": str(precision)})}
    name = "org.apache.kafka.connect.data.Decimal"
    return named("bytes", name, scale=scale, precision=precision, logicalType="decimal", **{"connect.parameters": parameters}, **more)


def nullable(kind):
    return {"type": ["null", kind], "default": None}


VARIABLE = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.doc": "Variable scaled decimal",
    "connect.version": 1,
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}
ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": {"type": "long", "connect.default": 0}, "default": 0},
        {"name": "at", "type": named("long", "io.debezium.time.MicroTimestamp")},
        {"name": "seen", **nullable(named("string", "io.debezium.time.ZonedTimestamp"))},
        {"name": "day", **nullable(named("int", "io.debezium.time.Date"))},
        {"name": "sold", **nullable(numeric(10, 2))},
        # Connect's own precision, where the column has none.
        {"name": "price", **nullable(numeric(64, 4))},
        {"name": "weight", **nullable(VARIABLE)},
        {"name": "rate", **nullable("float")},
        {
            "name": "kind",
            "type": [
                named("string", "io.debezium.data.Enum", **{"connect.parameters": {"allowed": "web,till"}, "connect.default": "till"}),
                "null",
            ],
            "default": "till",
        },
        {"name": "uid", "type": named("string", "io.debezium.data.Uuid")},
        {"name": "tags", **nullable({"type": "array", "items": ["null", "string"]})},
        {"name": "location", **nullable(named("bytes", "io.debezium.data.geometry"))},
    ],
    "connect.name": f"{SPACE}.Value",
}
SNAPSHOT = named(
    "string",
    "io.debezium.data.Enum",
    **{"connect.parameters": {"allowed": "true,first,last,false,incremental"}, "connect.default": "false"},
)
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": SPACE,
    "fields": [
        {"name": "before", **nullable(ROW)},
        {"name": "after", **nullable("Value")},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "namespace": "io.debezium.connector.postgresql",
                "fields": [
                    {"name": "version", "type": "string"},
                    {"name": "connector", "type": "string"},
                    {"name": "ts_ms", "type": "long"},
                    {"name": "snapshot", "type": [SNAPSHOT, "null"], "default": "false"},
                    {"name": "table", "type": "string"},
                    {"name": "lsn", **nullable("long")},
                ],
                "connect.name": "io.debezium.connector.postgresql.Source",
            },
        },
        {
            "name": "transaction",
            **nullable(
                {
                    "type": "record",
                    "name": "block",
                    "namespace": "event",
                    "fields": [{"name": "id", "type": "string"}, {"name": "total_order", "type": "long"}],
                    "connect.version": 1,
                    "connect.name": "event.block",
                }
            ),
        },
        {"name": "op", "type": "string"},
        {"name": "ts_ms", **nullable("long")},
    ],
    "connect.version": 2,
    "connect.name": f"{SPACE}.Envelope",
}
KEY = {
    "type": "record",
    "name": "Key",
    "namespace": SPACE,
    "fields": [{"name": "id", "type": {"type": "long", "connect.default": 0}, "default": 0}],
    "connect.name": f"{SPACE}.Key",
}
HEARTBEAT = {
    "type": "record",
    "name": "Heartbeat",
    "namespace": "io.debezium.connector.common",
    "fields": [{"name": "ts_ms", "type": "long"}],
    "connect.name": "io.debezium.connector.common.Heartbeat",
}


def bytes_of(text):
    """The unscaled bytes of a decimal, and its scale."""
    sign, digits, exponent = decimal.Decimal(text).as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True), -exponent


def sale(number, second, sold, weight=None, price=None):
    scaled = weight and bytes_of(weight)
    return {
        "id": number,
        "at": MICROS + second * 1_000_000,
        "seen": f"2023-11-14T23:13:{20 + second}.5+01:00",
        "day": 19_675,
        "sold": sold and decimal.Decimal(sold),
        "price": price and decimal.Decimal(price),
        "weight": scaled and {"scale": scaled[1], "value": scaled[0]},
        "rate": 0.5,
        "kind": "web",
        "uid": "00112233-4455-6677-8899-aabbccddeeff",
        "tags": ["a", None],
        "location": b"\x00\xff",
    }


def change(op, before, after, second):
    source = {
        "version": "3.2.0.Final",
        "connector": "postgresql",
        "ts_ms": (MICROS + second * 1_000_000) // 1000,
        "snapshot": "false",
        "table": "sales",
        "lsn": 34_000_000 + second,
    }
    return {"before": before, "after": after, "source": source, "transaction": None, "op": op, "ts_ms": source["ts_ms"] + 9}


def changes():
    """Keys with their changes; none: a tombstone."""
    first = sale(1, 0, "12.50", "0.125", "12345678901234.5678")
    later = sale(1, 2, "-3.25", "-1e3")
    # What PostgreSQL gives of a deleted row: its key; the rest is what it has to be.
    gone = sale(1, 0, None) | {"at": 0, "uid": "", "seen": None, "day": None, "tags": None, "location": None}
    return [
        (1, change("r", None, first, 0)),
        (2, change("c", None, sale(2, 1, None), 1)),
        (1, change("u", gone, later, 2)),
        (1, change("d", gone, None, 3)),
        (1, None),
        (1, change("c", None, sale(1, 4, "7.00"), 4)),
        (2, change("t", None, None, 5)),
    ]


def main(broker, registry, topic):
    client = SchemaRegistryClient({"url": registry})
    producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "enable.idempotence": True})

    def encoder(subject, schema):
        number = client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        parsed = fastavro.parse_schema(schema)

        def encode(record):
            out = io.BytesIO()
            out.write(b"\0" + number.to_bytes(4, "big"))
            fastavro.schemaless_writer(out, parsed, record)
            return out.getvalue()

        return encode

    key, envelope = encoder(f"{topic}-key", KEY), encoder(f"{topic}-value", ENVELOPE)
    heartbeat = encoder(f"{topic}-heartbeat", HEARTBEAT)
    for number, record in changes():
        producer.produce(topic, key=key({"id": number}), value=record and envelope(record))
    producer.produce(topic, key=key({"id": 2}), value=heartbeat({"ts_ms": 1}))
    if left := producer.flush(SECONDS):
        sys.exit(f"{left} messages were not delivered")


if __name__ == "__main__":
    main(*sys.argv[1:])
