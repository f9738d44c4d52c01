"""The pages of the simulated people: what each of them gets of its outbox.

After egress, in worlds whose log keeps lines. What a page is sent is decided by the real `Follower`
of web chat, one for each connection, on the side of the partition's owner: it is gone with that
process, or when the line is cut; then the page comes back, and names the last line that it has.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol

from adapters.channels.webchat_follow import Follower
from engine.ports import Line
from testkit.worlds import Read, Seen

CUT = 0.1
"""How often a connection ends before the line that it was sent has arrived."""
PAGE_LINES = 3
"""Lines read at once: few, so that short conversations have several pages."""


class Outbox(Protocol):
    """As much of a partition's log as pages are sent from."""

    def lines(self, session_id: str, *, after: int, limit: int) -> Sequence[Line]: ...


class Pages:
    """One page of each person who has written, open from their first message on."""

    def __init__(self, logs: Sequence[Outbox], rng: Random, *, seen: list[Seen]) -> None:
        self._logs = logs
        self._rng = rng
        self._seen = seen
        self._partition: dict[str, int] = {}
        self._last: dict[str, int] = {}  # the number of the last line that the page has
        self._connections: dict[str, Follower] = {}
        self.cuts = True

    def open(self, session_id: str, partition: int) -> None:
        """A person begins to write: their page is there."""
        if session_id not in self._last:
            self._partition[session_id], self._last[session_id] = partition, 0

    def lose(self, partition: int) -> None:
        """Another process owns the partition."""
        for session_id, number in self._partition.items():
            if number == partition:
                self._connections.pop(session_id, None)

    def come_back(self, now_ms: Sequence[int]) -> None:
        """Who has no connection connects. `now_ms`: log time, by partition."""
        for session_id, partition in self._partition.items():
            if session_id not in self._connections:
                follower = Follower(session_id, session_id, wake=_nobody_sleeps)
                follower.hello(self._last[session_id])
                follower.begin(follower.asked() or 0)
                self._connections[session_id] = follower
                self._send(session_id, now_ms[partition])

    def wrote(self, lines: Sequence[Line], now_ms: int) -> None:
        """Lines of a committed batch: who is connected is sent them."""
        for line in lines:
            if (follower := self._connections.get(line.session_id)) is not None:
                follower.wrote(line)
        for session_id in dict.fromkeys(line.session_id for line in lines):
            self._send(session_id, now_ms)

    def _send(self, session_id: str, now_ms: int) -> None:
        """As a socket of web chat does: what is at hand, else what the log has after the cursor."""
        follower = self._connections.get(session_id)
        log = self._logs[self._partition[session_id]]
        while follower is not None and follower.behind:
            writes, before = follower.writes, follower.cursor
            at_hand = follower.held()
            for line in at_hand or log.lines(session_id, after=before, limit=PAGE_LINES):
                if follower.take(line) is None:
                    continue
                if self.cuts and self._rng.random() < CUT:
                    del self._connections[session_id]
                    return
                self._get(line, now_ms)
            if follower.cursor == before:
                follower.caught_up(writes)

    def _get(self, line: Line, now_ms: int) -> None:
        last = self._last[line.session_id]
        self._seen.append(Read(at_ms=now_ms, after=last, line=line))
        self._last[line.session_id] = line.n


def _nobody_sleeps() -> None:
    """What there is to send is sent at once."""
