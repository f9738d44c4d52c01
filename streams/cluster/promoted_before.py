"""What an earlier run of a promotion appended to the log of record, held against the source.

For `streams.cluster.promote`, which reads its source from the beginning again: no record is decoded
or kept, only hashed.
"""

import hashlib

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import read_partition
from engine.errors import Refused
from engine.ports import LogRecord
from streams.topics import T

ANOTHER = (
    "choose an empty installation: another kafka.prefix, and then `ai-assistant topics create`"
)


class Before:
    """The records of one partition, which ends at `end`."""

    def __init__(self, end: int, digest: bytes) -> None:
        self.end = end
        self._digest = digest
        self._read = hashlib.blake2b()

    def compare(self, record: LogRecord, offset: int, *, partition: int) -> None:
        """The next of them. Raises Refused where they are not the source's."""
        _hash(self._read, record.session_id.encode(), record.value)
        if offset == self.end - 1 and self._read.digest() != self._digest:
            raise Refused(f"{T.EVENTS}:{partition} holds what this log does not: {ANOTHER}")


async def there(settings: KafkaSettings, partition: int, *, base: int) -> Before:
    """What is in the partition, from the copy's beginning on. Raises Unavailable."""
    hashed = hashlib.blake2b()
    end = base
    async for batch in read_partition(settings, T.EVENTS, partition=partition, start=base):
        for record in batch:
            _hash(hashed, record.key, record.value or b"")
            end = record.offset + 1
    return Before(end, hashed.digest())


def _hash(hashed: "hashlib.blake2b", key: bytes, value: bytes) -> None:
    hashed.update(b"%d:%d:" % (len(key), len(value)) + key + value)
