"""What was last shown of each reply that streams: for the sessions role, which keeps it when a
reply ends without a text of its own (stopped, cancelled).

Reads `im.frames` of the partitions whose sessions are stepped here: frames of channels that keep
their lines in the log are keyed by session. Frames are kept encoded, and decoded only when asked.
"""

from collections import OrderedDict
from collections.abc import Sequence

from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord
from streams import wire

KEPT_MAX = 20_000
"""Replies that stream at once in one process, and those that ended with a text."""
BACK_MS = 120_000
"""How far a new owner reads back: longer than a model may take for an answer."""


class LastShown:
    """The newest frame of each reply; each is asked for once."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, tuple[tuple[int, int], bytes]] = OrderedDict()

    def take(self, records: Sequence[Fetched]) -> None:
        """Take frames in, in any order."""
        newest = self._newest
        for record in records:
            try:
                reply, order = wire.frame_order(record.headers)
            except InvalidRecord:
                continue  # nobody could show it either
            known = newest.get(reply)
            if record.value is not None and (known is None or known[0] < order):
                newest[reply] = (order, record.value)
        while len(newest) > KEPT_MAX:
            newest.popitem(last=False)

    def shown(self, reply_id: str) -> str | None:
        """The text that was last shown of a reply that ends; None where nothing was."""
        found = self._newest.pop(reply_id, None)
        if found is None:
            return None
        try:
            return wire.frame_of(found[1]).text
        except InvalidRecord:
            return None
