"""The clock hop: which sessions have something due, and the event that wakes them.

In: deadlines of stepped sessions. Out: `ClockReached` events. It only wakes: a session decides for
itself what is due, at the event's time. It never reads a clock: `now_ms` is given.

Where a wake-up was set aside, because the process kept dying of it, its session is woken again,
later each time. All of that follows from the dead letters, so a restart changes nothing of it.
"""

import heapq

from engine import codec
from engine.events import ClockReached, Event
from engine.ids import derive
from engine.ports import Append

WAKES_MAX = 6
"""Wake-ups for one deadline, the first included. Each that is set aside costs three deaths of the
process and a dead letter, so one deadline costs at most 18 deaths, within six hours. After the last
its session sleeps until its next event, or until somebody has one of the letters taken again."""
AGAIN_MS = 60_000
"""From the first dead letter to the second wake-up; four times as long after each further one, up
to 256 minutes: what is wrong may pass by itself, or somebody may mend it."""
_LONGER = 4


class Deadlines:
    """A heap of sessions by their first deadline; a newer deadline replaces an older one.

    A session is in the heap once for each time that its deadline came earlier. One that moved away
    stays where it was, and is put off when it surfaces: in most turns a deadline goes to and fro.
    """

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._deadline: dict[str, int] = {}  # of each session; `_due` may be later, or told already
        self._set_aside: dict[str, int] = {}  # how many wake-ups for that deadline were
        self._earliest: dict[str, int] = {}  # in the heap
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def put(self, session_id: str, due_ms: int | None) -> None:
        """The session's first pending is due then (None: nothing is pending)."""
        if self._set_aside:
            self._set_aside.pop(session_id, None)
        if due_ms is None:
            self._due.pop(session_id, None)
            self._deadline.pop(session_id, None)
            return
        self._deadline[session_id] = due_ms
        self._plan(session_id, due_ms)

    def set_aside(self, session_id: str, due_ms: int, *, at_ms: int) -> None:
        """A wake-up for `due_ms` became a dead letter at `at_ms`: the next one comes later.

        One for a deadline that the session does not have any more changes nothing.
        """
        deadline_ms = self._deadline.get(session_id)
        if deadline_ms is None or due_ms < deadline_ms:
            return
        letters = self._set_aside[session_id] = self._set_aside.get(session_id, 0) + 1
        if letters < WAKES_MAX:
            self._plan(session_id, at_ms + AGAIN_MS * _LONGER ** (letters - 1))
        else:
            self._due.pop(session_id, None)

    def wakes_ms(self, session_id: str) -> int | None:
        """When the session is woken next, as things stand; None: not by itself."""
        return self._due.get(session_id)

    def _plan(self, session_id: str, due_ms: int) -> None:
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
                    self._plan(session_id, due_ms)
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
