"""Rows as a producer sends them: one batch for each partition, not one future for each record.

That is half the cost. For whoever has many rows at once: transactions, and copies.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from engine.errors import InvalidRecord


class Sent(NamedTuple):
    """A batch that is on its way. `place`: where its first record stands, once it is durable."""

    partition: int
    records: int
    place: "asyncio.Future[Any]"


async def send_batches(
    producer: AIOKafkaProducer, rows: Sequence[Row], *, settings: KafkaSettings
) -> list[Sent]:
    """Send these; of each partition in order. Raises InvalidRecord where one is too large."""
    now_ms = time.time_ns() // 1_000_000
    batches: dict[tuple[str, int], Any] = {}
    sent: list[Sent] = []
    for row in rows:
        topic = settings.named(row.topic)
        partition = row.partition
        if partition is None:
            partition = partition_of(row.key, len(await producer.partitions_for(topic)))
        to = (topic, partition)
        batch = batches.get(to)
        if batch is None or not _added(batch, row, now_ms):
            if batch is not None:
                sent.append(await _send(producer, batch, topic, partition=partition))
            batch = batches[to] = producer.create_batch()
            if not _added(batch, row, now_ms):
                raise InvalidRecord(f"a record for {row.topic} is larger than a batch")
    for (topic, partition), batch in batches.items():
        sent.append(await _send(producer, batch, topic, partition=partition))
    return sent


async def durable(sent: Sequence[Sent]) -> list[int]:
    """Wait for all of these; the first offset of each. Raises what aiokafka does, if any failed."""
    if sent:
        # All of them, so that of several that fail each is heard.
        await asyncio.wait([one.place for one in sent])
    return [one.place.result().offset for one in sent]


async def _send(producer: AIOKafkaProducer, batch: Any, topic: str, *, partition: int) -> Sent:
    records = batch.record_count()
    return Sent(partition, records, await producer.send_batch(batch, topic, partition=partition))


def _added(batch: Any, row: Row, now_ms: int) -> bool:
    # A broker takes nothing from the future: a machine's clock may be that much ahead.
    at_ms = now_ms if row.timestamp_ms is None else min(row.timestamp_ms, now_ms)
    added = batch.append(timestamp=at_ms, key=row.key, value=row.value, headers=list(row.headers))
    return added is not None
