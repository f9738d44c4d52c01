"""Topics and records of one partition, in as few words as the tests of brokers need."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

# No test waits for ever: a client of Kafka tries again and again in silence.
WITHIN_S = 60.0


async def create(bootstrap: str, topic: str, *, copies: int = 1, **security: Any) -> None:
    """Create a topic of one partition, and wait until all its copies are in step."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **security)
    await admin.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            wanted = NewTopic(topic, num_partitions=1, replication_factor=copies)
            await admin.create_topics([wanted])
            while len(await _copies_in_step(admin, topic)) < copies:
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def leader(bootstrap: str, topic: str) -> int:
    """The number of the broker that leads the topic's partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        while True:
            (described,) = await admin.describe_topics([topic])
            if described["partitions"]:  # a broker hears of a new topic a moment later
                return int(described["partitions"][0]["leader"])
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def append(bootstrap: str, topic: str, *values: bytes, **security: Any) -> None:
    """Append values, each acknowledged by all copies in step."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, **security)
    await producer.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, **security: Any) -> list[bytes]:
    """Read all values of the topic's partition, up to its end as it is now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", **security
    )
    await consumer.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            place = TopicPartition(topic, 0)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, 0)
            return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def _copies_in_step(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    (described,) = await admin.describe_topics([topic])
    return [one for part in described["partitions"] for one in part["isr"]]
