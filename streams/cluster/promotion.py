"""Whether an embedded log is being copied to this installation: read by all who might disturb it.

`streams.cluster.promote` writes it, with the first and the last transaction of a copy. The role
sessions sees it in the rows that it recovers; for the others `require_none_open` looks at the audit
when their process starts.
"""

import msgspec

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import read_partition
from adapters.kafka.records import Row
from engine.errors import Refused
from streams.topics import T
from streams.wire import HALF_PROMOTED, PROMOTION, Promotion, promotion_of

PROMOTES = ("did", b"promote")


def audit_row(promotion: Promotion, *, actor: str) -> Row:
    """Who copied an embedded log here, and whether it was finished."""
    return Row(T.AUDIT, actor.encode(), msgspec.json.encode(promotion), (PROMOTES,))


async def last_promotion(settings: KafkaSettings) -> Promotion | None:
    """As the audit has it: begun, or finished. Raises Unavailable."""
    found: Promotion | None = None
    async for batch in read_partition(settings, T.AUDIT, partition=0):
        for record in batch:
            if PROMOTES in record.headers and record.value is not None:
                found = promotion_of(record.value)
    return found


async def reached(settings: KafkaSettings, begun: Promotion) -> Promotion:
    """The same, as far as it has come. Raises Unavailable."""
    found = begun
    async for batch in read_partition(settings, T.SESSIONS, partition=0):
        for record in batch:
            if record.key == PROMOTION and record.value is not None:
                found = promotion_of(record.value)
    return found


async def require_none_open(settings: KafkaSettings) -> None:
    """Raises Refused where a copy was begun and not finished, Unavailable while brokers are away.

    Its records stand where they are expected only if nobody appends between them.
    """
    found = await last_promotion(settings)
    if found is not None and found.state != "finished":
        raise Refused(HALF_PROMOTED)
