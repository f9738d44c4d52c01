"""The clock hop: which sessions have something due, and the event that wakes them.

In: deadlines of stepped sessions. Out: `ClockReached` events. It only wakes: a session decides for
itself what is due, at the event's time. It never reads a clock: `now_ms` is given.
"""

import heapq

from engine import codec
from engine.events import ClockReached, Event
from engine.ids import derive
from engine.ports import Append


class Deadlines:
    """A heap of sessions by their first deadline; a newer deadline replaces an older one.

    A session is in the heap once for each time that its deadline came earlier. One that moved away
    stays where it was, and is put off when it surfaces: in most turns a deadline goes to and fro.
    """

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._earliest: dict[str, int] = {}  # in the heap
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def put(self, session_id: str, due_ms: int | None) -> None:
        """The session's first pending is due then (None: nothing is pending)."""
        if due_ms is None:
            self._due.pop(session_id, None)
            return
        self._due[session_id] = due_ms
        earliest = self._earliest.get(session_id)
        if earliest is None or due_ms < earliest:
            self._earliest[session_id] = due_ms
            heapq.heappush(self._heap, (due_ms, session_id))
        # What was put off leaves its later places behind: a heap mostly of them is rebuilt.
        if len(self._heap) > 64 + 4 * len(self._due):
            self._earliest = dict(self._due)
            self._heap = [(due, session) for session, due in self._due.items()]
            heapq.heapify(self._heap)

    def next_ms(self) -> int | None:
        """The earliest deadline."""
        while self._heap:
            at_ms, session_id = self._heap[0]
            due_ms = self._due.get(session_id)
            if due_ms == at_ms:
                return due_ms
            heapq.heappop(self._heap)
            if self._earliest.get(session_id) == at_ms:
                del self._earliest[session_id]
                if due_ms is not None:
                    self.put(session_id, due_ms)
        return None

    def reached(self, now_ms: int, *, limit: int) -> list[Append]:
        """The events that wake what is due, earliest first; each deadline is told once."""
        events: list[Append] = []
        while len(events) < limit:
            due_ms = self.next_ms()
            if due_ms is None or due_ms > now_ms:
                break
            _, session_id = heapq.heappop(self._heap)
            del self._due[session_id], self._earliest[session_id]
            events.append(_woken(session_id, due_ms, now_ms))
        return events


def _woken(session_id: str, due_ms: int, now_ms: int) -> Append:
    event = Event(
        id=derive(session_id, "clock", due_ms),
        session_id=session_id,
        at_ms=now_ms,
        source="clock",
        body=ClockReached(due_ms=due_ms),
    )
    return Append(session_id, event.id, codec.encode(event))
