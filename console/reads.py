"""What a log says of sessions: read-only, beside a running engine or without one.

Between a log (`adapters.logs` in a data directory, `console.cluster_records` on a cluster) and the
commands `sessions`, `trace` and `dead-letters`, which print what is returned here. What it never
does: write, or take the lock of a running engine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from engine import codec
from engine.errors import InvalidRecord, Refused
from engine.events import Event
from engine.personal import Personal
from engine.ports import DeadLetter, Delivery, LogRecord, StepRow
from engine.session import Session, StepRecord
from streams.settings import Settings

SCANNED_MAX = 10_000
"""Sessions that a list or a search looks at: about a second of reading."""

PAGE = 500


class Records(Protocol):
    """What is read of a log; all of them committed rows."""

    def get(self, session_id: str) -> bytes | None: ...
    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]: ...
    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]: ...
    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> list[tuple[int, int]]: ...
    def history(self, session_id: str) -> list[LogRecord]: ...
    def find_event(self, event_id: str) -> LogRecord | None: ...
    def step_of(self, event_id: str) -> StepRow | None: ...
    def dead_letters(self) -> list[DeadLetter]: ...
    def delivery(self, reply_id: str) -> Delivery | None: ...
    def deliveries_of(self, session_id: str) -> list[Delivery]: ...
    def watermark(self, partition: int) -> int: ...
    def close(self) -> None: ...


@runtime_checkable
class Searchable(Protocol):
    """A log that finds ids by their ends itself: to try each session would take too long."""

    def ending(self, digits: str) -> list[str]:
        """The ids of events and replies that end so, of those that happened last."""


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session in a list. `busy`: requests it awaits. `last_ms`: log time of its last event."""

    session_id: str
    state: str
    flow: str
    dialog: int
    turns: int
    events: int
    unanswered: int
    busy: int
    last_ms: int
    last_text: Personal


class Stepped(msgspec.Struct, frozen=True, kw_only=True):
    """A step with its host times. `event` None: its record cannot be read (`problem` says why)."""

    record: StepRecord
    stepped_ms: int | None
    event: Event | None
    appended_ms: int | None
    offset: int
    problem: str = ""


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter and its event, None where that cannot be read."""

    letter: DeadLetter
    event: Event | None


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of one session, in order: its steps, what waits, and its deliveries.

    `session` None: none of its events was ever stepped, all were set aside.
    """

    session_id: str
    session: Session | None
    steps: tuple[Stepped, ...]
    waiting: tuple[Event, ...]
    set_aside: tuple[SetAside, ...]
    deliveries: tuple[Delivery, ...]


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter in a list: `number` is what `dead-letters redrive` takes."""

    number: str
    session_id: str
    error: str
    at_ms: int
    redriven_ms: int | None
    bytes: int


@contextmanager
def opened(data_dir: Path) -> Iterator[Records]:
    """The log of a data directory, for reading.

    Raises: Refused where there is none, or it is not ours to read.
    """
    from adapters.logs.sqlite import SqliteLog
    from streams.embedded import LOG_FILE

    path = data_dir / LOG_FILE
    if not path.exists():
        raise Refused(
            f"there is no log in {data_dir}: nothing was said yet, or the assistant runs with "
            "another data directory (say which with --data)"
        )
    log = SqliteLog(path, read_only=True)
    try:
        yield log
    finally:
        log.close()


@contextmanager
def opened_for(settings: Settings, *, tell: Callable[[str], None]) -> Iterator[Records]:
    """The log of these settings: of their cluster, or of their data directory.

    `tell`: given what was not looked at, which on a cluster may be something.

    Raises: Refused where there is none, Unavailable where no broker answers.
    """
    if not settings.on_cluster:
        with opened(settings.server.data_dir) as log:
            yield log
        return
    from console.cluster_records import ClusterRecords
    from streams.cluster.links import kafka_settings

    found = ClusterRecords(kafka_settings(settings), partitions=settings.kafka.partitions)
    try:
        yield found
        for note in found.notes:
            tell(f"not everything was looked at: {note}")
    finally:
        found.close()


def list_sessions(log: Records, *, limit: int) -> tuple[list[SessionRow], bool]:
    """The sessions that had an event last, newest first, and whether there are more."""
    rows = [_row(session_id, value) for session_id, value in _scan(log)]
    rows.sort(key=lambda row: (-row.last_ms, row.session_id))
    return rows[:limit], len(rows) > limit or len(rows) == SCANNED_MAX


def find_session(log: Records, name: str) -> str:
    """The id of the one session whose id is, or ends with, or contains `name`.

    Raises: Refused where there is none, or more than one.
    """
    if log.get(name) is not None:
        return name
    known = dict.fromkeys(session_id for session_id, _ in _scan(log))
    # One whose only message was set aside is no session yet, but somebody asks for it.
    known |= dict.fromkeys(letter.session_id for letter in log.dead_letters())
    if name in known:
        return name
    found = [session_id for session_id in known if name and name in session_id]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:5]) + (" …" if len(found) > 5 else "")
        raise Refused(f"{len(found)} sessions have {name!r} in their id: {some}")
    raise Refused(f"there is no session {name!r}; `ai-assistant sessions list` shows them")


def read_session(log: Records, session_id: str) -> SessionView:
    """The session with all its records.

    Raises: Refused where there is none; InvalidRecord where it cannot be read.
    """
    value = log.get(session_id)
    letters = [letter for letter in log.dead_letters() if letter.session_id == session_id]
    if value is None and not letters:
        raise Refused(f"there is no session {session_id!r}")
    steps = tuple(read_steps(log, session_id))
    stepped = {step.record.event_id for step in steps}
    aside = {letter.offset for letter in letters}
    records = [record for record in log.history(session_id) if record.offset not in aside]
    events = [_event(record.value)[0] for record in records]
    return SessionView(
        session_id=session_id,
        session=None if value is None else codec.decode_session(value),
        steps=steps,
        waiting=tuple(e for e in events if e is not None and e.id not in stepped),
        set_aside=tuple(SetAside(letter=one, event=_event(one.value)[0]) for one in letters),
        deliveries=tuple(log.deliveries_of(session_id)),
    )


def read_steps(log: Records, session_id: str, *, after_seq: int = 0) -> Iterator[Stepped]:
    """The session's steps with their events, in order."""
    while True:
        rows = log.steps(session_id, after_seq=after_seq, limit=PAGE)
        times = dict(log.step_times(session_id, after_seq=after_seq, limit=PAGE))
        for row in rows:
            yield _stepped(log, row, times.get(row.seq))
        if len(rows) < PAGE:
            return
        after_seq = rows[-1].seq


def all_steps(log: Records) -> Iterator[StepRow]:
    """The step records of all sessions, a session's in order, as they were written."""
    after = ""
    while page := log.sessions(limit=PAGE, after=after):
        for session_id, _ in page:
            seq = 0
            while rows := log.steps(session_id, after_seq=seq, limit=PAGE):
                yield from rows
                seq = rows[-1].seq
        after = page[-1][0]


def event(log: Records, event_id: str) -> Event | None:
    """An event by its id; None where it is not there, or cannot be read."""
    found = log.find_event(event_id)
    return _event(found.value)[0] if found else None


def list_dead_letters(log: Records) -> list[LetterRow]:
    """All dead letters, oldest first."""
    return [
        LetterRow(
            number=letter.number,
            session_id=letter.session_id,
            error=letter.error,
            at_ms=letter.at_ms,
            redriven_ms=letter.redriven_ms,
            bytes=len(letter.value),
        )
        for letter in log.dead_letters()
    ]


def _scan(log: Records) -> Iterator[tuple[str, bytes]]:
    after, seen = "", 0
    while seen < SCANNED_MAX:
        page = log.sessions(limit=PAGE, after=after)
        # The control records have the empty id: they are nobody's session.
        yield from ((session_id, value) for session_id, value in page if session_id)
        if len(page) < PAGE:
            return
        after, seen = page[-1][0], seen + len(page)


def _row(session_id: str, value: bytes) -> SessionRow:
    try:
        session = codec.decode_session(value)
    except InvalidRecord as error:
        return SessionRow(
            session_id=session_id, state=f"unreadable: {error}", flow="", dialog=0, turns=0,
            events=0, unanswered=0, busy=0, last_ms=0, last_text="",
        )  # fmt: skip
    return SessionRow(
        session_id=session_id,
        state=session.state,
        flow=str(session.flow),
        dialog=session.epoch,
        turns=session.turns,
        events=session.seq,
        unanswered=len(session.unanswered),
        busy=sum(pending.kind != "timer" for pending in session.pending),
        last_ms=session.now_ms,
        last_text=session.transcript[-1].user if session.transcript else "",
    )


def _stepped(log: Records, row: StepRow, stepped_ms: int | None) -> Stepped:
    record = codec.decode_step(row.value)
    found = log.find_event(row.event_id)
    event, problem = _event(found.value) if found else (None, "")
    return Stepped(
        record=record,
        stepped_ms=stepped_ms,
        event=event,
        appended_ms=found.appended_ms if found else None,
        offset=row.offset,
        problem=problem,
    )


def _event(value: bytes) -> tuple[Event | None, str]:
    try:
        return codec.decode_event(value), ""
    except InvalidRecord as error:
        return None, str(error)
