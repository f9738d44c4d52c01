"""The brokers that the other tests stand on."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.kafka.cluster import Cluster


async def create(bootstrap: str, topic: str, *, copies: int = 1) -> None:
    """Create a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=copies)])
    finally:
        await admin.close()


async def append(bootstrap: str, topic: str, *values: bytes) -> None:
    """Append values, each acknowledged by all copies."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str) -> list[bytes]:
    """Read all values of the topic's partition, up to its end as it is now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, 0)
        return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_a_broker_takes_records_and_gives_them_back(broker: Cluster, prefix: str) -> None:
    await create(broker.bootstrap, prefix)
    await append(broker.bootstrap, prefix, b"one", b"two")
    assert await read(broker.bootstrap, prefix) == [b"one", b"two"]
