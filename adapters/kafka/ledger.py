"""A partition's ledger: the transactions of its one owner, and what a new owner reads.

For `streams.partition_worker`. The id of the transactions belongs to the partition, not to the
process: whoever claims it next fences the last owner, and ends the transaction that a death left
open, which would hold back every reader of the partitions that it touched.
"""

from collections.abc import AsyncIterator, Sequence

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import bounds_of, read_partition
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions


class Ledger:
    """The ledger of one partition.

    `role`: of whose owner. `log`: the topic whose records it applies; `state`: what came of them.
    """

    def __init__(
        self, settings: KafkaSettings, *, role: str, partition: int, log: str, state: str
    ) -> None:
        self._settings = settings
        self._log = log
        self._partition = partition
        self._state = state
        self._transactions = Transactions(settings, f"{role}-{partition}")

    async def claim(self) -> None:
        """Become the owner: an older one's transactions fail from now on, an open one is ended."""
        await self._transactions.begin()

    async def rows(self) -> AsyncIterator[Sequence[Fetched]]:
        """All rows of the partition's state that are committed now: claim it first."""
        reading = read_partition(self._settings, self._state, partition=self._partition)
        async for records in reading:
            yield records

    async def bounds(self) -> tuple[int, int]:
        """The first offset of the log, and the one after its last record, committed or not."""
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
