"""Reading ranges of partitions once, without a group; nothing is committed anywhere.

A `Looker` reads several, for the commands that a person waits for; `read_partition` one, to its
end. Beside `tail` and `continued`, which follow.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, begun, closed, consumer_of, fetched, told
from adapters.kafka.records import Fetched

WAIT_MS = 10
"""At a partition's end there is often nothing but the mark of a transaction: no record comes."""
Keep = Callable[[Fetched], bool]


class Looker:
    """Committed records only, unless `committed` is false. Use it as a context manager.

    Raises Unavailable, Refused.
    """

    def __init__(self, settings: KafkaSettings, *, committed: bool = True) -> None:
        self._settings = settings
        self._committed = committed
        self._consumer: AIOKafkaConsumer = None

    async def __aenter__(self) -> "Looker":
        self._consumer = consumer_of(self._settings, committed=self._committed, wait_ms=WAIT_MS)
        await begun(self._consumer, self._settings, what="read topics")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await closed(self._consumer)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset, and the one after the last record that it reads."""
        at = TopicPartition(self._settings.named(topic), partition)
        with told(f"look at {topic}:{partition}"):
            begins = await self._consumer.beginning_offsets([at])
            ends = await self._consumer.end_offsets([at])
        return begins[at], ends[at]

    async def is_empty(self, topic: str, partition: int) -> bool:
        """Whether nothing is committed there: aborted transactions use offsets up, too."""
        begin, end = await self.bounds(topic, partition)
        async with aclosing(self.batches(topic, partition, start=begin, end=end)) as batches:
            async for _ in batches:
                return False
        return True

    async def offset_at(self, topic: str, partition: int, *, at_ms: int) -> int | None:
        """The first offset whose time is not before `at_ms`; None where there is none."""
        at = TopicPartition(self._settings.named(topic), partition)
        with told(f"look at {topic}:{partition}"):
            found = (await self._consumer.offsets_for_times({at: at_ms}))[at]
        return None if found is None else int(found.offset)

    async def batches(
        self, topic: str, partition: int, *, start: int, end: int
    ) -> AsyncGenerator[list[Fetched], None]:
        """The records from `start` to before `end`, in order."""
        if start >= end:
            return
        at = TopicPartition(self._settings.named(topic), partition)
        with told(f"read {topic}:{partition}"):
            self._consumer.assign([at])
            self._consumer.seek(at, start)
            # The position goes past what is no record, such as the ends of transactions.
            while await self._consumer.position(at) < end:
                records = (await self._consumer.getmany(at, timeout_ms=WAIT_MS)).get(at, [])
                if batch := [r for r in fetched(self._settings, records) if r.offset < end]:
                    yield batch

    async def between(
        self, topic: str, partition: int, *, start: int, end: int, keep: Keep
    ) -> list[Fetched]:
        """The records from `start` to before `end` that are to be kept, in order."""
        found: list[Fetched] = []
        async for batch in self.batches(topic, partition, start=start, end=end):
            found += filter(keep, batch)
        return found


async def read_partition(
    settings: KafkaSettings, topic: str, *, partition: int, start: int | None = None
) -> AsyncGenerator[list[Fetched], None]:
    """What is committed in a partition now, from `start` or its beginning, in order.

    Whatever is still in an open transaction ends it: fence its writer first, so that none is.
    """
    async with Looker(settings) as looker:
        begin, end = await looker.bounds(topic, partition)
        first = begin if start is None else start
        async with aclosing(looker.batches(topic, partition, start=first, end=end)) as batches:
            async for batch in batches:
                yield batch


async def bounds_of(
    settings: KafkaSettings, topic: str, *, partition: int, committed: bool = True
) -> tuple[int, int]:
    """The first offset of a partition, and the one after its last record."""
    async with Looker(settings, committed=committed) as looker:
        return await looker.bounds(topic, partition)
