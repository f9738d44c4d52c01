"""The dead letters of a cluster, as a gateway counts them and takes one again.

Reads dead.letters from where it was to its end, whenever it is asked; keeps of each letter only
its number, and where it stands.
"""

from contextlib import aclosing

from adapters.kafka.batches import append_rows
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import read_partition
from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord, Refused
from engine.ports import DeadLetter
from streams.topics import T
from streams.wire import letter_of, letter_row

PARTITION = 0
"""The topic has one."""


class Letters:
    """The letters, from when it is first asked."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._next = 0
        self._at: dict[str, int] = {}  # number -> offset of the letter's newest record

    @property
    def count(self) -> int:
        """How many there are, as far as was looked."""
        return len(self._at)

    async def look(self) -> None:
        """Take note of what came since the last time. Raises Unavailable."""
        async for batch in read_partition(
            self._settings, T.DEAD, partition=PARTITION, start=self._next
        ):
            for record in batch:
                self._at[record.key.decode("utf-8", "replace")] = record.offset
                self._next = record.offset + 1

    async def find(self, number: str) -> DeadLetter:
        """The letter of this number as it was last written. Raises Refused, Unavailable."""
        await self.look()
        offset = self._at.get(number)
        if offset is not None:
            reading = read_partition(self._settings, T.DEAD, partition=PARTITION, start=offset)
            async with aclosing(reading) as batches:
                async for batch in batches:
                    return _letter(batch[0], number)
        raise Refused(f"there is no dead letter {number!r}: `dead-letters list` shows them")

    async def put(self, letter: DeadLetter) -> None:
        """Write a letter over what was there under its number. Raises Unavailable, Refused."""
        row = letter_row(letter)._replace(partition=PARTITION)
        await append_rows(self._settings, [row], what="mark a dead letter")


def _letter(record: Fetched, number: str) -> DeadLetter:
    try:
        return letter_of(record.value)
    except InvalidRecord as error:
        raise Refused(f"dead letter {number} cannot be read: {error}") from None
