"""Departures: which session of one channel account may send next, and when.

Beside `streams.egress`, which puts in the first delivery of each session's queue and takes out what
it may mark now. What ends a reply goes before the rest, so that nothing seems to go on that is
over; else who waited longest goes first. Its cost does not grow with those that have to wait, and
a channel that is down has many. It reads no clock: `now_ms` is given.
"""

import heapq
from itertools import count
from typing import NamedTuple

from engine.ports import Delivery
from streams.limiter import Limiter


class _Entry(NamedTuple):
    """A session that waits. In this order entries become due."""

    not_before_ms: int
    number: int
    delivery: Delivery


class Departures:
    """The waiting sessions of one account, one entry each, under its limiter (None: no limit)."""

    def __init__(self, limiter: Limiter | None) -> None:
        self._limiter = limiter
        self._numbers = count()
        self._entries: dict[str, _Entry] = {}
        # Replaced and dropped entries stay in the heaps until they surface.
        self._later: list[_Entry] = []
        self._due: list[tuple[bool, int, _Entry]] = []

    def put(self, delivery: Delivery, *, not_before_ms: int) -> None:
        """The session's next delivery is this one; it replaces an earlier one."""
        entry = _Entry(not_before_ms, next(self._numbers), delivery)
        self._entries[delivery.session_id] = entry
        heapq.heappush(self._later, entry)
        if len(self._later) + len(self._due) > 64 + 4 * len(self._entries):
            self._later, self._due = list(self._entries.values()), []
            heapq.heapify(self._later)

    def drop(self, session_id: str) -> None:
        """Nothing of the session waits any more."""
        self._entries.pop(session_id, None)

    def take(self, now_ms: int) -> Delivery | None:
        """What may be called for next, with its place in the limiter reserved."""
        self._sort(now_ms)
        if not self._due or self._wait_ms(now_ms) > 0:
            return None
        delivery = heapq.heappop(self._due)[2].delivery
        del self._entries[delivery.session_id]
        if self._limiter is not None:
            self._limiter.reserve(delivery.reply_id)
        return delivery

    def next_ms(self, now_ms: int) -> int | None:
        """When `take` may have something again; None while nobody waits."""
        self._sort(now_ms)
        if self._due:
            return now_ms + self._wait_ms(now_ms)
        if self._later:
            return max(self._later[0].not_before_ms, now_ms + self._wait_ms(now_ms))
        return None

    def _sort(self, now_ms: int) -> None:
        """Move what became due; afterwards the first of each heap is no replaced one."""
        while self._later and (
            self._later[0].not_before_ms <= now_ms or self._is_old(self._later[0])
        ):
            entry = heapq.heappop(self._later)
            if not self._is_old(entry):
                after_others = entry.delivery.kind != "reply"
                heapq.heappush(self._due, (after_others, entry.number, entry))
        while self._due and self._is_old(self._due[0][2]):
            heapq.heappop(self._due)

    def _is_old(self, entry: _Entry) -> bool:
        return self._entries.get(entry.delivery.session_id) is not entry

    def _wait_ms(self, now_ms: int) -> int:
        return 0 if self._limiter is None else self._limiter.wait_ms(now_ms)
