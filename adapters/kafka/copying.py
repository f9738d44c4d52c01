"""A copy into partitions that nobody else writes to: each record stands where it is expected.

Plain and idempotent, in no transaction: for the log of record, which is read as it is written.
Where a batch stands elsewhere somebody else has written there, and the copy is not one.
"""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from adapters.kafka.batches import write_rows
from adapters.kafka.clients import (
    KafkaSettings,
    begun,
    closed,
    consumer_of,
    ended,
    producer_of,
    told,
)
from adapters.kafka.records import Row
from engine.errors import Refused


class Copier:
    """Appends rows to one topic. Raises Unavailable; then look what is there before going on."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        producer = producer_of(self._settings)
        await begun(producer, self._settings, what=f"copy to {self._topic}")
        self._producer = producer

    async def stop(self) -> None:
        """Let go."""
        if self._producer is not None:
            await ended(self._producer)

    async def copy(self, rows: Sequence[Row], *, at: dict[int, int]) -> None:
        """Append these, each to the partition that it names; durable on return.

        `at`: the next offset of each partition, moved on as they are appended. Raises Refused where
        a record came to stand elsewhere.
        """
        assert self._producer is not None, "start it first"
        with told(f"copy to {self._topic}"):
            batches = await write_rows(self._producer, rows, settings=self._settings)
        for partition, records, offset in batches:
            if offset != at[partition]:
                raise Refused(
                    f"{self._topic}:{partition}: somebody else writes there: offset "
                    f"{at[partition]} was to be written and {offset} was"
                )
            at[partition] += records


async def commit_offsets(
    settings: KafkaSettings, topic: str, *, group: str, offsets: Mapping[int, int]
) -> None:
    """Let a group that has no members begin at these. Raises Unavailable, also where it has."""
    consumer = consumer_of(settings, group=group)
    name = settings.named(topic)
    what = f"say where {group} begins"
    await begun(consumer, settings, what=what)
    try:
        with told(what):
            places = {TopicPartition(name, p): offset for p, offset in offsets.items()}
            consumer.assign(list(places))
            await consumer.commit(places)
    finally:
        await closed(consumer)
