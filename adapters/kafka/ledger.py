"""A partition's ledger: the transactions of its one owner, and what a new owner reads.

For `streams.partition_worker`. The id of the transactions belongs to the partition, not to the
process: whoever claims it next fences the last owner, and ends the transaction that a death left
open, which would hold back every reader of the partitions that it touched.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import bounds_of, read_partition
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Open, Transactions
from engine.errors import Unavailable

ANSWERS_WITHIN_S = 30.0
"""The client itself would wait for a coordinator or a leader that is away for as long as it is."""


class Ledger:
    """The ledger of one partition. What it is asked ends: Unavailable, where no broker answers.

    `role`: of whose owner. `log`: the topic whose records it applies; `state`: what came of them.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        role: str,
        partition: int,
        log: str,
        state: str,
        open_now: Open | None = None,
    ) -> None:
        self._settings = settings
        self._log = log
        self._partition = partition
        self._state = state
        self._transactions = Transactions(settings, f"{role}-{partition}", open_now=open_now)

    async def claim(self) -> None:
        """Become the owner: an older one's transactions fail from now on, an open one is ended."""
        with self._ending("does not know us as its owner yet"):
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                await self._transactions.begin()

    async def rows(self) -> AsyncIterator[Sequence[Fetched]]:
        """All rows of the partition's state that are committed now: claim it first."""
        reading = read_partition(self._settings, self._state, partition=self._partition)
        async with aclosing(reading):
            while True:
                with self._ending("gives no rows"):
                    async with asyncio.timeout(ANSWERS_WITHIN_S):
                        records = await anext(reading, None)
                if records is None:
                    return
                yield records

    async def bounds(self) -> tuple[int, int]:
        """The first offset of the log, and the one after its last record, committed or not."""
        with self._ending("does not say where its log ends"):
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                return await bounds_of(
                    self._settings, self._log, partition=self._partition, committed=False
                )

    async def commit(self, rows: Sequence[Row]) -> None:
        """One transaction. Raises Conflict where another owner has taken over.

        After any other error nobody knows whether it is visible, and this owner can write no more.
        """
        await self._transactions.write(rows)

    async def close(self) -> None:
        """Let go."""
        await self._transactions.stop()

    @contextmanager
    def _ending(self, what: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            where = f"partition {self._partition} of {self._state}"
            raise Unavailable(f"{where} {what}: the brokers do not answer") from None
