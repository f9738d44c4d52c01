"""Of what came of im.frames at once, what is worth a look: the newest frame of each reply."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord
from streams import wire


class NewestFrames(NamedTuple):
    """`of`: each reply's newest. `unreadable`: how many records do not say whose they are."""

    of: dict[str, Fetched]
    unreadable: int


def newest_frames(records: Iterable[Fetched], *, ours: Callable[[str], bool]) -> NewestFrames:
    """Of each reply that is ours the newest frame: what is older was never seen."""
    newest: dict[str, tuple[tuple[int, int], Fetched]] = {}
    unreadable = 0
    for record in records:
        try:
            reply_id, order = wire.frame_order(record.headers)
        except InvalidRecord:
            unreadable += 1
            continue
        known = newest.get(reply_id)
        if ours(reply_id) and (known is None or known[0] < order):
            newest[reply_id] = (order, record)
    return NewestFrames({reply: record for reply, (_, record) in newest.items()}, unreadable)
