"""What the suites of the log's ports write and read: records of every kind, and all of a log.

Beside the data path: given to an adapter by `LogSuite`, `SessionStoreSuite` and `DeliveriesSuite`,
and free for an adapter's own tests (what a kill leaves, what a full disk does). The bytes mean
nothing: a log never looks into them. What it never does: judge; the suites do.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from engine.events import Address
from engine.ids import derive
from engine.ports import (
    Append,
    DeadLetter,
    Deliveries,
    Delivery,
    DeliveryState,
    Line,
    Log,
    LogRecord,
    Owner,
    SessionRow,
    SessionStore,
    StepRow,
    Transaction,
)

A, B = "webchat/main/k1/aaaa", "webchat/main/k1/bbbb"
"""The two sessions that the suites write to."""


class Decided(Protocol):
    """As much of a `Transaction` as takes what an owner decided."""

    def put_sessions(self, sessions: Sequence[SessionRow]) -> None:
        """As `Transaction`."""

    def put_steps(self, steps: Sequence[StepRow], *, at_ms: int) -> None:
        """As `Transaction`."""

    def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """As `Transaction`."""

    def put_watermark(self, offset: int) -> None:
        """As `Transaction`."""


class OwnedStorage(Protocol):
    """What an owner of a partition writes of sessions, and what anybody may read of that."""

    def claim(self, partition: int) -> Owner:
        """As `Log`."""

    def transaction(self, owner: Owner) -> AbstractContextManager[Decided]:
        """As `Log`."""

    def watermark(self, partition: int) -> int:
        """As `Log`."""

    def get(self, session_id: str) -> bytes | None:
        """As `SessionStore`."""

    def waiting(self) -> Iterator[SessionRow]:
        """As `SessionStore`."""

    def sessions(self, *, limit: int, after: str = "") -> Sequence[tuple[str, bytes]]:
        """As `Storage`."""

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> Sequence[StepRow]:
        """As `Storage`."""

    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> Sequence[tuple[int, int]]:
        """As `Storage`."""

    def dead_letters(self) -> Sequence[DeadLetter]:
        """As `Storage`."""


class Storage(Log, SessionStore, Deliveries, Protocol):
    """The three ports as one object, and the reads that recovery and the console need."""

    def has_line(self, session_id: str, line_id: str) -> bool:
        """Whether the session has a committed line of this id."""

    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Sessions whose id is greater than `after`, in the order of their ids."""

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]:
        """The session's step records with seq > after_seq, in order of seq."""

    def step_times(self, session_id: str, *, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """Seq and time (when it was stepped) of what `steps` gives for the same arguments."""

    def history(self, session_id: str) -> list[LogRecord]:
        """All records of one session, in order; "" gives the control records."""

    def last_control(self, *, up_to: int) -> LogRecord | None:
        """The last control record at or before this offset."""

    def find_event(self, event_id: str) -> LogRecord | None:
        """The record of an event, or None; the first where it was appended more than once."""

    def step_of(self, event_id: str) -> StepRow | None:
        """The step record of an event (a materialised one too), or None; the first of several."""

    def dead_letters(self) -> list[DeadLetter]:
        """All records set aside, by partition and offset."""

    def deaths(self) -> list[tuple[int, str, int]]:
        """Offset, event id and count of each event at which the process died, by offset."""

    def deliveries_of(self, session_id: str) -> list[Delivery]:
        """All deliveries of a session, in the order in which they were first put."""

    def close(self) -> None:
        """Release the storage; what was committed stays where it is durable."""


def an_event(session_id: str, n: int) -> Append:
    """Event `n` of a session; an empty session id makes a control record."""
    event_id = derive(session_id, "message", "main", f"m{n}")
    return Append(session_id, event_id, b'{"n":%d}' % n)


def a_step(session_id: str, n: int, *, seq: int, offset: int) -> StepRow:
    """The step record of event `n`."""
    return StepRow(session_id, seq, an_event(session_id, n).event_id, offset, b"step %d" % seq)


def a_line(session_id: str, line_id: str, *, text: str = "hello") -> Line:
    """A line that a person wrote."""
    return Line(session_id=session_id, id=line_id, author="user", text=text, at_ms=7)


def a_delivery(session_id: str, n: int, *, state: DeliveryState = "queued") -> Delivery:
    """Reply `n` of a session."""
    address = Address(channel="webchat", account="main", conversation="室", sender="p")
    return Delivery(
        reply_id=derive(session_id, "reply", n),
        session_id=session_id,
        cause=an_event(session_id, n).event_id,
        kind="message",
        address=address,
        state=state,
        text=f"reply {n} ✓",
        queued_ms=5,
    )


def at_default(record: msgspec.Struct) -> list[str]:
    """Fields that hold their default: whether a log keeps them is not seen by such a record."""
    fields = msgspec.structs.fields(record)
    return [one.name for one in fields if getattr(record, one.name) == one.default]


class Boom(Exception):
    """Ends a block early."""


def write_everything(log: Storage, owner: Owner, *, n: int) -> None:
    """One batch with something of every kind, numbered `n`."""
    with log.transaction(owner) as batch:
        fill(batch, n)


def fill(batch: Transaction, n: int) -> None:
    """Put something of every kind into an open batch, numbered `n`."""
    offset = batch.append([an_event(A, n)], at_ms=100 + n)[0]
    batch.put_sessions([SessionRow(A, b"session after %d" % n, True)])
    batch.put_steps([a_step(A, n, seq=n, offset=offset)], at_ms=200 + n)
    batch.put_deliveries([a_delivery(A, n)])
    batch.put_lines([a_line(A, f"m{n}")])
    batch.put_dead_letters([a_letter(offset)])
    batch.put_deaths(offset, an_event(A, n).event_id, deaths=1)
    batch.put_watermark(offset)


def decide(batch: Decided, n: int, *, offset: int) -> None:
    """Put what came of event `n` of session A, which stands in the log, into an open batch."""
    batch.put_sessions([SessionRow(A, b"session after %d" % n, True)])
    batch.put_steps([a_step(A, n, seq=n, offset=offset)], at_ms=200 + n)
    batch.put_dead_letters([a_letter(1_000 + n)])
    batch.put_watermark(offset)


def decided_in(log: OwnedStorage) -> Sequence[object]:
    """Everything that a reader can see of what was decided."""
    return (
        log.watermark(0),
        log.sessions(limit=100),
        sorted(log.waiting()),
        [log.steps(one, after_seq=0, limit=10_000) for one in (A, B)],
        [log.step_times(one, after_seq=0, limit=10_000) for one in (A, B)],
        log.dead_letters(),
    )


def a_letter(offset: int) -> DeadLetter:
    """A record of session A that could not be decoded."""
    return DeadLetter(
        partition=0, offset=offset, session_id=A, error="it is rubbish", value=b"\xff", at_ms=3
    )


def all_of(log: Storage) -> Sequence[object]:
    """Everything that a reader can see of sessions A and B and the log."""
    both = (A, B)
    return (
        log.read(0, after=0, limit=10_000),
        log.watermark(0),
        log.head(0),
        log.sessions(limit=100),
        [log.steps(one, after_seq=0, limit=10_000) for one in both],
        [log.step_times(one, after_seq=0, limit=10_000) for one in both],
        [log.history(one) for one in (*both, "")],
        log.dead_letters(),
        log.deaths(),
        sorted(log.waiting()),
        [log.last_control(up_to=offset) for offset in (0, 3, 10_000)],
        log.undelivered(),
        [log.deliveries_of(one) for one in both],
        [log.lines(one, after=0, limit=10_000) for one in both],
    )
