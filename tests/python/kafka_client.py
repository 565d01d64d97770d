"""Confluent's Python client at both ends of a pipeline: writes records and reads outputs through a schema registry.

    kafka_client.py write avro|protobuf|json BROKER REGISTRY TOPIC RECORDS.json
    kafka_client.py read avro|protobuf|json BROKER REGISTRY TOPIC COUNT

RECORDS.json holds [[key, ts, value], ...]. `write` registers a schema under <topic>-value and writes the records, each
with its key as the message's key. `read` prints COUNT committed outputs as JSON lines, in the order of the
partitions; their schema is that of the registry in Avro, the one below in Protobuf. In JSON they have none.
"""

import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PARTITIONS = 4
SECONDS = 60

AVRO = {
    "type": "record",
    "name": "Measured",
    "namespace": "tests",
    "fields": [
        {"name": "ts", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "value", "type": ["null", "double"]},
    ],
}
JSON = {
    "title": "Measured",
    "type": "object",
    "properties": {"ts": {"type": "integer"}, "value": {"type": ["number", "null"]}},
    "required": ["ts"],
}
Field = descriptor_pb2.FieldDescriptorProto
INPUT = [("ts", Field.TYPE_INT64, ""), ("note", Field.TYPE_STRING, "optional"), ("value", Field.TYPE_DOUBLE, "optional")]
OUTPUT = [
    ("key", Field.TYPE_STRING, ""),
    ("ts", Field.TYPE_INT64, ""),
    ("value", Field.TYPE_DOUBLE, "optional"),
    ("prediction", Field.TYPE_FLOAT, "repeated"),
    ("prediction_time", Field.TYPE_INT64, "optional"),
    ("model_version", Field.TYPE_INT64, ""),
    ("warm_up", Field.TYPE_BOOL, ""),
]


def message(name, fields):
    """A message class of those fields, numbered in their order: what protoc would make of a .proto file."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name.lower()}.proto", package="tests", syntax="proto3")
    described = file.message_type.add(name=name)
    for number, (field_name, kind, label) in enumerate(fields, start=1):
        field = described.field.add(name=field_name, number=number, type=kind)
        field.label = Field.LABEL_REPEATED if label == "repeated" else Field.LABEL_OPTIONAL
        if label == "optional":
            field.proto3_optional = True
            field.oneof_index = len(described.oneof_decl)
            described.oneof_decl.add(name=f"_{field_name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tests.{name}"))


def write(language, broker, registry, topic, path):
    client = SchemaRegistryClient({"url": registry})
    if language == "avro":
        serializer = AvroSerializer(client, json.dumps(AVRO))
        make = dict
    elif language == "json":
        serializer = JSONSerializer(json.dumps(JSON), client)
        make = dict
    else:
        make = message("Measured", INPUT)
        serializer = ProtobufSerializer(make, client, {"use.deprecated.format": False})
    context = SerializationContext(topic, MessageField.VALUE)
    producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "enable.idempotence": True})
    failed = []

    def delivered(error, _):
        if error is not None:
            failed.append(error)

    with open(path, encoding="utf-8") as file:
        records = json.load(file)
    for key, ts, value in records:
        payload = serializer(make(ts=ts, value=value), context)
        producer.produce(topic, key=key, value=payload, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(SECONDS)
    if failed or left:
        sys.exit(f"{len(failed)} records failed, {left} were not delivered: {failed[:1]}")


def read(language, broker, registry, topic, count):
    client = SchemaRegistryClient({"url": registry})
    if language == "avro":
        deserializer = AvroDeserializer(client)
    elif language == "json":
        deserializer = lambda payload, _: json.loads(payload)  # noqa: E731
    else:
        # Without the registry: the client asks it for a descriptor where .proto text is stored, and only Confluent's own
        # registry turns one into the other.
        deserializer = ProtobufDeserializer(message("Predicted", OUTPUT), {"use.deprecated.format": False})
    context = SerializationContext(topic, MessageField.VALUE)
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": "python", "isolation.level": "read_committed", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    for _ in range(int(count)):
        polled = consumer.poll(SECONDS)
        if polled is None or polled.error():
            sys.exit(f"no message within {SECONDS} s" if polled is None else str(polled.error()))
        row = deserializer(polled.value(), context)
        if language == "protobuf":
            missing = {name for name, _, label in OUTPUT if label == "optional" and not row.HasField(name)}
            plain = {name: None if name in missing else getattr(row, name) for name, _, _ in OUTPUT}
            row = plain | {"prediction": list(row.prediction)}
        assert polled.key().decode() == row["key"], "the message's key is the record's"
        print(json.dumps(row))
    consumer.close()


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
