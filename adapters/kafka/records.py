"""Records as they go to a topic and come from it."""

from typing import NamedTuple

Headers = tuple[tuple[str, bytes], ...]


class Row(NamedTuple):
    """A record on its way to a topic. `partition` None: by the key, murmur2.

    `timestamp_ms` None: now.
    """

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Fetched(NamedTuple):
    """A record as a topic holds it. `timestamp_ms`: the broker's, where the topic says so."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes | None
    headers: Headers = ()
