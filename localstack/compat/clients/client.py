"""A producer, a member of a group or a transactional copier on one of Python's Kafka clients.

    client.py LIBRARY produce BROKERS TOPIC FILE     produces lines of JSON {"key", "value", "time"}
    client.py LIBRARY member  BROKERS TOPIC GROUP    prints what it consumes until SIGTERM
    client.py LIBRARY copy    BROKERS TOPIC GROUP TO copies in transactions until SIGTERM
"""

import asyncio
import json
import signal
import sys

stopped = False


def stop(*_):
    global stopped
    stopped = True


def events(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            yield event["key"].encode(), event["value"].encode(), event["time"]


def tell(partition, offset, key, value):
    print(json.dumps({"partition": partition, "offset": offset, "key": key.decode(), "value": value.decode()}), flush=True)


class Confluent:
    def produce(self, brokers, topic, path):
        from confluent_kafka import Producer

        failed = []
        producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "compression.type": "lz4"})
        for key, value, at in events(path):
            producer.produce(topic, key=key, value=value, timestamp=at, on_delivery=lambda err, _: err and failed.append(err))
            producer.poll(0)
        if producer.flush(60) or failed:
            sys.exit(f"not delivered: {failed[:3]}")

    def consumer(self, brokers, topic, group):
        from confluent_kafka import Consumer

        consumer = Consumer({
            "bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "isolation.level": "read_committed",
        })
        consumer.subscribe([topic])
        return consumer

    def records(self, consumer):
        for message in consumer.consume(50, 0.5):
            if message.error():
                sys.exit(str(message.error()))
            yield message

    def member(self, brokers, topic, group):
        consumer = self.consumer(brokers, topic, group)
        while not stopped:
            got = False
            for m in self.records(consumer):
                tell(m.partition(), m.offset(), m.key(), m.value())
                got = True
            if got:
                consumer.commit(asynchronous=True)
        consumer.close()

    def copy(self, brokers, topic, group, to):
        from confluent_kafka import Producer

        consumer = self.consumer(brokers, topic, group)
        producer = Producer({"bootstrap.servers": brokers, "transactional.id": group + "-copier"})
        producer.init_transactions(30)
        while not stopped:
            messages = list(self.records(consumer))
            if not messages:
                continue
            producer.begin_transaction()
            for m in messages:
                producer.produce(to, key=m.key(), value=m.value(), timestamp=m.timestamp()[1])
            producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
            producer.commit_transaction(30)
        consumer.close()


class KafkaPython:
    def produce(self, brokers, topic, path):
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=brokers.split(","), enable_idempotence=True, compression_type="gzip")
        sent = [producer.send(topic, key=key, value=value, timestamp_ms=at) for key, value, at in events(path)]
        for future in sent:
            future.get(60)
        producer.close()

    def consumer(self, brokers, topic, group):
        from kafka import KafkaConsumer

        return KafkaConsumer(
            topic, bootstrap_servers=brokers.split(","), group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, isolation_level="read_committed",
        )

    def member(self, brokers, topic, group):
        consumer = self.consumer(brokers, topic, group)
        while not stopped:
            polled = consumer.poll(timeout_ms=500, max_records=50)
            for records in polled.values():
                for r in records:
                    tell(r.partition, r.offset, r.key, r.value)
            if polled:
                consumer.commit_async()
        consumer.close()

    def copy(self, brokers, topic, group, to):
        from kafka import KafkaProducer
        from kafka.structs import OffsetAndMetadata

        consumer = self.consumer(brokers, topic, group)
        producer = KafkaProducer(bootstrap_servers=brokers.split(","), transactional_id=group + "-copier")
        producer.init_transactions()
        while not stopped:
            polled = consumer.poll(timeout_ms=500, max_records=50)
            if not polled:
                continue
            producer.begin_transaction()
            for records in polled.values():
                for r in records:
                    producer.send(to, key=r.key, value=r.value, timestamp_ms=r.timestamp)
            offsets = {at: OffsetAndMetadata(records[-1].offset + 1, "", -1) for at, records in polled.items()}
            producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
            producer.commit_transaction()
        consumer.close()
        producer.close()


class AIOKafka:
    def produce(self, *args):
        asyncio.run(self._produce(*args))

    def member(self, *args):
        asyncio.run(self._member(*args))

    def copy(self, *args):
        asyncio.run(self._copy(*args))

    async def _produce(self, brokers, topic, path):
        from aiokafka import AIOKafkaProducer

        async with AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, compression_type="gzip") as producer:
            sent = [await producer.send(topic, key=key, value=value, timestamp_ms=at) for key, value, at in events(path)]
            await asyncio.wait_for(asyncio.gather(*sent), 60)

    def consumer(self, brokers, topic, group):
        from aiokafka import AIOKafkaConsumer

        return AIOKafkaConsumer(
            topic, bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, isolation_level="read_committed",
        )

    async def _member(self, brokers, topic, group):
        from aiokafka.errors import CommitFailedError, IllegalStateError

        async with self.consumer(brokers, topic, group) as consumer:
            while not stopped:
                polled = await consumer.getmany(timeout_ms=500, max_records=50)
                for records in polled.values():
                    for r in records:
                        tell(r.partition, r.offset, r.key, r.value)
                if polled:
                    try:
                        await consumer.commit()
                    except (CommitFailedError, IllegalStateError):
                        pass  # the partitions went to another member, which reads these again

    async def _copy(self, brokers, topic, group, to):
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=group + "-copier")
        async with self.consumer(brokers, topic, group) as consumer, producer:
            while not stopped:
                polled = await consumer.getmany(timeout_ms=500, max_records=50)
                if not polled:
                    continue
                async with producer.transaction():
                    for records in polled.values():
                        for r in records:
                            await producer.send(to, key=r.key, value=r.value, timestamp_ms=r.timestamp)
                    offsets = {at: records[-1].offset + 1 for at, records in polled.items()}
                    await producer.send_offsets_to_transaction(offsets, consumer._group_id)


LIBRARIES = {"confluent-kafka": Confluent, "kafka-python": KafkaPython, "aiokafka": AIOKafka}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    getattr(LIBRARIES[sys.argv[1]](), sys.argv[2])(*sys.argv[3:])
