"""Looking something up in topics: ranges of partitions, read once, by one consumer.

For the commands that a person waits for. Nothing is followed, nothing is committed anywhere.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import STOP_WITHIN_S, KafkaSettings, begun, consumer_of, fetched, told
from adapters.kafka.records import Fetched

WAIT_MS = 10
"""At a partition's end there is often nothing but the mark of a transaction: no record comes."""
Keep = Callable[[Fetched], bool]


class Looker:
    """Committed records only. Use it as a context manager. Raises Unavailable, Refused."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer = None

    async def __aenter__(self) -> "Looker":
        self._consumer = consumer_of(self._settings, wait_ms=WAIT_MS)
        await begun(self._consumer, self._settings, what="look something up")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Right after it was given another partition aiokafka does not hear that it is to stop: the
        # time-out says it again.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._consumer.stop()

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset, and the one after the last committed record."""
        at = TopicPartition(self._settings.named(topic), partition)
        with told(f"look at {topic}"):
            begins = await self._consumer.beginning_offsets([at])
            ends = await self._consumer.end_offsets([at])
        return begins[at], ends[at]

    async def offset_at(self, topic: str, partition: int, *, at_ms: int) -> int | None:
        """The first offset whose time is not before `at_ms`; None where there is none."""
        at = TopicPartition(self._settings.named(topic), partition)
        with told(f"look at {topic}"):
            found = (await self._consumer.offsets_for_times({at: at_ms}))[at]
        return None if found is None else int(found.offset)

    async def between(
        self, topic: str, partition: int, *, start: int, end: int, keep: Keep
    ) -> list[Fetched]:
        """The records from `start` to before `end` that are to be kept, in order."""
        at = TopicPartition(self._settings.named(topic), partition)
        found: list[Fetched] = []
        if start >= end:
            return found
        with told(f"read {topic}"):
            self._consumer.assign([at])
            self._consumer.seek(at, start)
            # The position goes past what is no record, such as the ends of transactions.
            while await self._consumer.position(at) < end:
                records = (await self._consumer.getmany(at, timeout_ms=WAIT_MS)).get(at, [])
                read = fetched(self._settings, records)
                found += [r for r in read if r.offset < end and keep(r)]
        return found
