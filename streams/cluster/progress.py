"""Whether the partitions of a process get on: what its liveness stands on.

A partition gets on when its ledger answers: its claim, rows of its recovery, a transaction. One
that has something in hand (it recovers, or records have arrived) and gets no answer stands.

Brokers that are away are no reason to end a process: its next life would wait for them as well.
Where one ledger says that they are, the time of all partitions begins anew, since others may wait
for that one. Records that nobody could fetch are in nobody's hand, for the same reason.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import TypeVar

from adapters.kafka.records import Fetched, Row
from engine.errors import Unavailable
from streams.machine_clock import awake_ms
from streams.partition_worker import Ledger

Answer = TypeVar("Answer")


class Progress:
    """When the partitions of a process last got on, by `awake_ms`."""

    def __init__(self) -> None:
        self._got_on_ms: dict[int, int] = {}
        self._away_ms = 0

    def heard(self, partition: int, ledger: Ledger) -> Ledger:
        """The same ledger, whose answers are heard."""
        return _Heard(self, partition, ledger=ledger)

    def look(self, in_hand: Mapping[int, bool]) -> int:
        """When the partition that stands longest got on; now, where none stands.

        `in_hand`: of each partition that is here, whether it has something to get on with.
        """
        now_ms = awake_ms()
        self._got_on_ms = {
            number: self._got_on_ms.get(number, now_ms) if something else now_ms
            for number, something in in_hand.items()
        }
        return max(min(self._got_on_ms.values(), default=now_ms), self._away_ms)

    def got_on(self, partition: int) -> None:
        """Its ledger has answered."""
        self._got_on_ms[partition] = awake_ms()

    def away(self) -> None:
        """A ledger says that the brokers are away."""
        self._away_ms = awake_ms()


class _Heard:
    def __init__(self, progress: Progress, partition: int, *, ledger: Ledger) -> None:
        self._progress = progress
        self._partition = partition
        self._ledger = ledger

    async def claim(self) -> None:
        await self._hear(self._ledger.claim())

    async def rows(self) -> AsyncIterator[Sequence[Fetched]]:
        rows = self._ledger.rows()
        while (records := await self._hear(anext(rows, None))) is not None:
            yield records

    async def bounds(self) -> tuple[int, int]:
        return await self._hear(self._ledger.bounds())

    async def commit(self, rows: Sequence[Row]) -> None:
        await self._hear(self._ledger.commit(rows))

    async def close(self) -> None:
        await self._ledger.close()

    async def _hear(self, asked: Awaitable[Answer]) -> Answer:
        try:
            answer = await asked
        except Unavailable:
            self._progress.away()
            raise
        self._progress.got_on(self._partition)
        return answer
