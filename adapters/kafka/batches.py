"""Rows as a producer sends them: one batch for each partition, not one future for each record.

That is half the cost. For whoever has many rows at once: transactions, and copies. And
`append_rows`, for whoever has a few and no producer.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import LeaderNotAvailableError
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import (
    REQUEST_BYTES_MAX,
    KafkaSettings,
    begun,
    ended,
    producer_of,
    told,
)
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from engine.errors import InvalidRecord

LEADER_WITHIN_S = 5.0
NO_LEADER = -1
ASK_S = 0.1


class Written(NamedTuple):
    """A batch that stands in the log. `offset`: of its first record."""

    partition: int
    records: int
    offset: int


class _Sent(NamedTuple):
    partition: int
    records: int
    place: "asyncio.Future[Any]"


async def write_rows(
    producer: AIOKafkaProducer,
    rows: Sequence[Row],
    *,
    settings: KafkaSettings,
    now_ms: int | None = None,
) -> list[Written]:
    """Send these, of each partition in order; durable on return. `now_ms`: None: the machine's.

    Raises InvalidRecord where one is too large, and what aiokafka does, if any failed.
    """
    sent = await _sent(
        producer, rows, settings, time.time_ns() // 1_000_000 if now_ms is None else now_ms
    )
    if sent:
        # All of them, so that of several that fail each is heard.
        await asyncio.wait([one.place for one in sent])
    return [Written(p, records, place.result().offset) for p, records, place in sent]


async def append_rows(settings: KafkaSettings, rows: Sequence[Row], *, what: str) -> None:
    """Append a few, once, with a producer of its own; durable on return.

    Raises Unavailable, Refused, InvalidRecord.
    """
    producer = producer_of(settings)
    await begun(producer, settings, what=what)
    try:
        with told(what):
            await write_rows(producer, rows, settings=settings)
    finally:
        await ended(producer)


async def _sent(
    producer: AIOKafkaProducer, rows: Sequence[Row], settings: KafkaSettings, now_ms: int
) -> list[_Sent]:
    batches: dict[tuple[str, int], Any] = {}
    sent: list[_Sent] = []
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
            else:
                await _led(producer, TopicPartition(topic, partition))
            batch = batches[to] = producer.create_batch()
            # The first one of a batch is taken whatever its size is.
            if not _added(batch, row, now_ms) or batch.size() > REQUEST_BYTES_MAX:
                raise InvalidRecord(
                    f"a record for {row.topic} is larger than {REQUEST_BYTES_MAX} bytes"
                )
    for (topic, partition), batch in batches.items():
        sent.append(await _send(producer, batch, topic, partition=partition))
    return sent


async def _led(producer: AIOKafkaProducer, to: TopicPartition) -> None:
    """Wait for its leader before anything is sent: what a transaction has written elsewhere would
    be held back from its readers for as long as this partition has none."""
    await producer.partitions_for(to.topic)
    try:
        async with asyncio.timeout(LEADER_WITHIN_S):
            while producer.client.cluster.leader_for_partition(to) == NO_LEADER:
                await producer.client.force_metadata_update()
                await asyncio.sleep(ASK_S)
    except TimeoutError:
        raise LeaderNotAvailableError(f"{to.topic}:{to.partition}") from None


async def _send(producer: AIOKafkaProducer, batch: Any, topic: str, *, partition: int) -> _Sent:
    records = batch.record_count()
    return _Sent(partition, records, await producer.send_batch(batch, topic, partition=partition))


def _added(batch: Any, row: Row, now_ms: int) -> bool:
    # A broker takes nothing from the future: a machine's clock may be that much ahead.
    at_ms = now_ms if row.timestamp_ms is None else min(row.timestamp_ms, now_ms)
    added = batch.append(timestamp=at_ms, key=row.key, value=row.value, headers=list(row.headers))
    return added is not None
