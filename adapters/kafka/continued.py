"""Following topics from where a reader was: its own offsets, kept with what it made of the records.

Beside `tail`, which begins at a time or now. For readers that are no group: each of them reads
every partition, and nothing is committed to the brokers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, begun, closed, consumer_of, fetched, told
from adapters.kafka.records import Fetched
from engine.errors import Unavailable


class Bounds(NamedTuple):
    """The first offset of each partition, and the one after its last committed record."""

    begins: dict[int, int]
    ends: dict[int, int]


class Continued:
    """All partitions of one topic, committed records only, from given offsets on."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._places: list[TopicPartition] = []

    async def start(self) -> None:
        """Connect. Raises Refused, and Unavailable also where there is no such topic."""
        name = self._settings.named(self._topic)
        consumer = consumer_of(self._settings)
        with told(f"follow {self._topic}"):
            try:
                await begun(consumer, self._settings, what=f"follow {self._topic}")
                await consumer._client._wait_on_metadata(name)
            except BaseException:
                await closed(consumer)
                raise
        self._consumer = consumer
        partitions = sorted(consumer.partitions_for_topic(name) or ())
        self._places = [TopicPartition(name, partition) for partition in partitions]
        consumer.assign(self._places)

    async def stop(self) -> None:
        """Let go."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await closed(consumer)

    async def bounds(self) -> Bounds:
        """Where the partitions begin and end just now."""
        with told(f"bounds of {self._topic}"):
            begins = await self._started.beginning_offsets(self._places)
            ends = await self._started.end_offsets(self._places)
        return Bounds(
            {at.partition: offset for at, offset in begins.items()},
            {at.partition: offset for at, offset in ends.items()},
        )

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Go on at these; where none is given, at the one that `bounds` named as the first."""
        for at in self._places:
            if at.partition in offsets:
                self._started.seek(at, offsets[at.partition])

    async def positions(self) -> dict[int, int]:
        """The next offset of each partition: past what is no record, such as transactions' ends."""
        with told(f"positions in {self._topic}"):
            return {at.partition: await self._started.position(at) for at in self._places}

    async def fetch(self, *, within_ms: int, most: int) -> list[Fetched]:
        """What has come, at once if anything has; of each partition in order."""
        with told(f"follow {self._topic}"):
            found = await self._started.getmany(timeout_ms=within_ms, max_records=most)
        return [r for records in found.values() for r in fetched(self._settings, records)]

    @property
    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Unavailable(f"{self._topic} is not followed just now")
        return self._consumer
