"""How much of an embedded log is copied at once: for `streams.cluster.promote`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from adapters.kafka.records import Row
from adapters.logs.sqlite_export import Exported

R = TypeVar("R")


class Pages(NamedTuple):
    """How much is read at once, and written in one transaction: at most so many records and bytes,
    since a transaction has to end within seconds, on a slow link too. What belongs to one event or
    one session stays together.
    """

    events: int = 2_000
    sessions: int = 200
    deliveries: int = 1_000
    letters: int = 100
    bytes: int = 2_000_000


USUAL = Pages()


class Item(NamedTuple):
    """What one record of the source becomes; its place there."""

    place: int
    rows: Sequence[Row]


def bites(items: Iterable[R], *, most: int, size: Callable[[R], int]) -> Iterator[list[R]]:
    """These in order, some at a time: at most so much, but for one that is more by itself."""
    bite: list[R] = []
    filled = 0
    for item in items:
        filled += size(item)
        if bite and filled > most:
            yield bite
            bite, filled = [], size(item)
        bite.append(item)
    if bite:
        yield bite


def item_bytes(item: Item) -> int:
    """What it takes of a transaction."""
    return sum(len(row.key) + len(row.value or b"") for row in item.rows)


def event_bytes(one: Exported) -> int:
    """What an event and its steps take."""
    return len(one.record.value) + sum(len(step.row.value) for step in one.steps)
