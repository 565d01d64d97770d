"""Measures how long a record takes from topic to topic: sends records at a fixed rate, each with the time of sending,
and reads the outputs.

    bench_latency.py BROKERS INPUT OUTPUT RATE SECONDS KEYS

Prints a table row: records per second; median, 99th percentile and maximum in milliseconds. The time is from just before
a record is handed to the producer until a consumer of committed messages has its output. The first fifth is the warm-up
and does not count.
"""

import json
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition


def send(brokers, topic, rate, seconds, keys):
    producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random", "linger.ms": 0})
    started = time.time()
    for number in range(rate * seconds):
        ahead = started + number / rate - time.time()
        if ahead > 0:
            time.sleep(ahead)
        payload = json.dumps({"ts": time.time_ns() // 1000, "value": number % 1000 / 1000})
        producer.produce(topic, key=f"sensor-{number % keys:07d}", value=payload)
        producer.poll(0)
    producer.flush()


def main():
    brokers, source, sink = sys.argv[1:4]
    rate, seconds, keys = (int(text) for text in sys.argv[4:])
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "latency", "isolation.level": "read_committed", "fetch.wait.max.ms": 10}
    )
    partitions = consumer.list_topics(sink).topics[sink].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(sink, number))[1] for number in partitions]
    consumer.assign([TopicPartition(sink, number, end) for number, end in zip(partitions, ends)])
    consumer.poll(1)
    sender = threading.Thread(target=send, args=(brokers, source, rate, seconds, keys))
    sender.start()
    took, heard = [], time.time()
    while len(took) < rate * seconds:
        # It waits for all of them or for that long.
        messages = consumer.consume(500, 0.002)
        now = time.time_ns() // 1000
        if messages:
            heard = time.time()
        elif time.time() - heard > 10:
            sys.exit(f"{len(took)} of {rate * seconds} outputs, and no more for 10 s")
        took += [(now - json.loads(message.value())["ts"]) / 1000 for message in messages if not message.error()]
    sender.join()
    took = sorted(took[len(took) // 5 :])
    print(f"| {rate} | {took[len(took) // 2]:.0f} | {took[len(took) * 99 // 100]:.0f} | {took[-1]:.0f} |")
    consumer.close()


main()
