"""Scans of a cluster's topics, from their end backwards, for the commands that look things up.

Kafka finds a partition and a time, not a session: what is asked of one session is a scan of its
partition, from about when it had its last event, until all is found or enough was looked at. What
was not looked at is told.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from adapters.kafka.reading import Keep, Looker
from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord

WINDOW = 10_000
"""Records of one look: some ten megabytes."""

SCANNED_MAX = 300_000
"""Records that one question looks at in one partition: some ten seconds."""

Found = Callable[[Sequence[Fetched]], bool]
R = TypeVar("R")


class Scan:
    """Scans that share one consumer. `notes`: what was not looked at, for the person who asked."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self.notes: dict[str, None] = {}

    async def back(
        self,
        topic: str,
        partition: int,
        *,
        keep: Keep,
        all_found: Found,
        before_ms: int | None = None,
        most: int = SCANNED_MAX,
    ) -> list[Fetched]:
        """The records to be kept, in order, read from the end (or `before_ms`) backwards.

        `all_found`: whether what stands before cannot matter any more.
        """
        begin, end = await self._looker.bounds(topic, partition)
        if before_ms is not None:
            at = await self._looker.offset_at(topic, partition, at_ms=before_ms)
            end = end if at is None else at
        found: list[Fetched] = []
        last = end
        while end > begin and last - end < most and not all_found(found):
            start = max(begin, end - WINDOW)
            newer = found
            found = await self._looker.between(topic, partition, start=start, end=end, keep=keep)
            found += newer
            end = start
        if end > begin and not all_found(found):
            looked, older = last - end, end - begin
            self.notes[f"{topic}: {looked} records looked at, {older} older ones not"] = None
        return found

    async def since(self, topic: str, partition: int, *, start: int, keep: Keep) -> list[Fetched]:
        """The records to be kept from an offset on; the newest, where those are too many."""
        begin, end = await self._looker.bounds(topic, partition)
        first = max(begin, start, end - SCANNED_MAX)
        if first > max(begin, start):
            self.notes[f"{topic}: {first - start} records were not looked at"] = None
        return await self._looker.between(topic, partition, start=first, end=end, keep=keep)

    def readable(
        self, records: Iterable[Fetched], read: Callable[[Fetched], R]
    ) -> list[tuple[Fetched, R]]:
        """Each record with what it says; one that cannot be read is passed over, and told of."""
        found: list[tuple[Fetched, R]] = []
        for record in records:
            try:
                found.append((record, read(record)))
            except InvalidRecord as error:
                at = f"{record.topic}:{record.partition}:{record.offset}"
                self.notes[f"{at} is passed over: {error}"] = None
        return found
