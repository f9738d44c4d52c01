"""Coverage: what a flow can do, and how often each thing of it was seen.

Counted from step records, so what generated dialogs did and what users did are measured alike:
`of_evidence` reads a world's logs, `of` any step records, `ai-assistant flow coverage` a data
directory's. The pytest plugin counts with `note`. What it never does: run a flow, or judge one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from engine import codec
from engine.crash_points import CrashPoint
from engine.errors import InvalidRecord
from engine.events import Event, FlowRef, MessageReceived, Redriven
from engine.flow import Cell
from engine.session import Microstep, StepRecord
from engine.step import TRIGGERS
from statemachines.flow import Flow
from testkit.coverage_universe import (
    FULL,
    HOW,
    KINDS,
    TAKEN,
    Key,
    Kind,
    Thing,
    failed_at_once,
    name,
    universe,
)
from testkit.worlds import Evidence, Fault, Logged

EventOf = Callable[[str], Event | None]
"""A record's event by its id; None where it cannot be had."""

MEASURED: tuple[Kind, ...] = ("row", "condition", "cell")
"""What `percent` is of: the other kinds are only bounded, not known, so 100 % may be out of
reach."""

_NOTED = {"ignored": Cell.IGNORE, "postponed": Cell.POSTPONE}
_BEFORE_STEP = (
    CrashPoint.BEFORE_APPEND,
    CrashPoint.APPEND_ACK,
    CrashPoint.STEP_COMMIT,
    CrashPoint.OUTCOME_APPEND,
)
_PAGE = 10_000
_ALL = 1 << 62


class Entry(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """A thing and how often it was seen. `possible` False: the load check says that it cannot be,
    or a crash hit a row that it was not expected at."""

    count: int = 0
    possible: bool = True


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """Step records of another flow ref: how many, and how many of them could be counted here."""

    flow: str
    steps: int
    counted: int = 0


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one flow. `sessions` and `steps`: in how many it was seen."""

    flow: str
    sessions: int
    steps: int
    entries: tuple[Entry, ...]
    others: tuple[Other, ...] = ()

    def of_kind(self, kind: Kind) -> tuple[Entry, ...]:
        """The entries of one kind, in the order of the flow's table."""
        return tuple(entry for entry in self.entries if entry.kind == kind)

    def missing(self, *kinds: Kind) -> tuple[Entry, ...]:
        """What can be and was not seen; of all kinds where none is named."""
        return tuple(e for e in self.entries if not e.count and e.kind in (kinds or KINDS))

    def percent(self, *kinds: Kind) -> float:
        """How much of what can be was seen, 0 to 100: of rows, conditions and cells where no kind
        is named; 100 where there is nothing to see."""
        known = [e for e in self.entries if e.possible and e.kind in (kinds or MEASURED)]
        seen = sum(entry.count > 0 for entry in known)
        return 100 * seen / len(known) if known else 100.0

    def counts(self, kind: Kind) -> Mapping[tuple[str | int, ...], int]:
        """How often each thing of a kind was seen, by key."""
        return {entry.key: entry.count for entry in self.of_kind(kind)}

    def merge(self, other: "Coverage") -> "Coverage":
        """Both together. Raises ValueError where they are of different flow refs."""
        if other.flow != self.flow:
            raise ValueError(f"coverage of {other.flow} is not of {self.flow}")
        entries = {(entry.kind, entry.key): entry for entry in self.entries}
        for entry in other.entries:
            here = entries.get((entry.kind, entry.key))
            count = entry.count + (here.count if here is not None else 0)
            entries[entry.kind, entry.key] = msgspec.structs.replace(entry, count=count)
        others: dict[str, Other] = {}
        for one in (*self.others, *other.others):
            _add_other(others, one)
        return Coverage(
            flow=self.flow,
            sessions=self.sessions + other.sessions,
            steps=self.steps + other.steps,
            entries=tuple(sorted(entries.values(), key=lambda e: KINDS.index(e.kind))),
            others=tuple(others.values()),
        )

    def to_json(self) -> bytes:
        """One JSON document."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> "Coverage":
        """What `to_json` made. Raises msgspec.ValidationError."""
        return msgspec.json.decode(data, type=cls)


def rounded(percent: float) -> float:
    """A percentage with one decimal, never up: 99.96 % is not 100 %."""
    return int(percent * 10) / 10


class Tally:
    """Counts while records come in; `coverage` is what was counted so far."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.counts: Counter[Key] = Counter()
        self.steps = 0
        self.sessions = 0
        self.others: dict[str, Other] = {}
        self._last: dict[str, Microstep | None] = {}
        self._known = frozenset((thing.kind, thing.key) for thing in universe(flow))

    def add(self, record: StepRecord, event_of: Callable[[], Event | None]) -> Iterable[Key]:
        """Count one record; its session's must come in order. What was seen in it."""
        if record.flow != self.flow.ref:
            counted = _same_version(record.flow, self.flow.ref) and _fits(self.flow, record)
            _add_other(self.others, Other(flow=str(record.flow), steps=1, counted=int(counted)))
            if not counted:
                self._last.pop(record.session_id, None)
                return ()
        self.steps += 1
        self.sessions += record.session_id not in self._last
        last = self._last.get(record.session_id)
        if record.error is not None and not record.path:
            last = None  # the engine's own way out: no row led here
        keys = [
            *_of_path(record.path, last),
            *_taken(self.flow, record.path),
            *_of_note(self.flow, record, event_of),
        ]
        if record.flow != self.flow.ref:
            keys = [key for key in keys if key in self._known]  # the rest its configuration allowed
        self._last[record.session_id] = record.path[-1] if record.path else last
        self.counts.update(keys)
        return keys

    def crashed(self, point: str, row: int) -> None:
        """Count a crash at a point around a row."""
        self.counts["crash", (point, row)] += 1

    def join(self, other: "Tally") -> None:
        """Add what another one counted, whose sessions are others."""
        self.counts.update(other.counts)
        self.steps += other.steps
        self.sessions += other.sessions
        for one in other.others.values():
            _add_other(self.others, one)

    def coverage(self) -> Coverage:
        """What was counted so far."""
        known = universe(self.flow)
        entries = [_entry(thing, self.counts[thing.kind, thing.key]) for thing in known]
        for key in sorted(self.counts.keys() - self._known, key=repr):
            entries.append(_entry(name(self.flow, key), self.counts[key], possible=False))
        return Coverage(
            flow=str(self.flow.ref),
            sessions=self.sessions,
            steps=self.steps,
            entries=tuple(sorted(entries, key=lambda entry: KINDS.index(entry.kind))),
            others=tuple(self.others.values()),
        )


def of(
    flow: Flow, records: Iterable[StepRecord], *, event_of: EventOf = lambda _: None
) -> Coverage:
    """Coverage of step records; those of a session in order.

    A record does not say which event was ignored: without `event_of`, such cells stay unseen.
    Records of another configuration are counted where all their moves fit into this table.
    """
    tally = Tally(flow)
    for record in records:
        tally.add(record, partial(event_of, record.event_id))
    return tally.coverage()


def of_evidence(flow: Flow, evidence: Evidence) -> Coverage:
    """Coverage of what happened in a world, crashes among it."""
    return tally_of(flow, evidence).coverage()


def tally_of(flow: Flow, evidence: Evidence) -> Tally:
    """What was counted in a world."""
    tally = Tally(flow)
    steps = [step for n, log in enumerate(evidence.logs) for step in _read(log, n, tally)]
    for fault in evidence.seen:
        if isinstance(fault, Fault) and fault.point:
            row = _row_at(fault, steps)
            if row is not None:
                tally.crashed(fault.point, row)
    return tally


def _add_other(others: dict[str, Other], one: Other) -> None:
    old = others.get(one.flow, Other(flow=one.flow, steps=0))
    steps, counted = old.steps + one.steps, old.counted + one.counted
    others[one.flow] = Other(flow=one.flow, steps=steps, counted=counted)


def _entry(thing: Thing, count: int, *, possible: bool = True) -> Entry:
    return Entry(kind=thing.kind, key=thing.key, what=thing.what, count=count, possible=possible)


# ---- one record ----------------------------------------------------------------------------------


def _same_version(one: FlowRef, other: FlowRef) -> bool:
    return (one.name, one.version) == (other.name, other.version)


def _fits(flow: Flow, record: StepRecord) -> bool:
    """Whether this table has all the moves of a record that another one made."""
    table = flow.table
    for microstep in record.path:
        if microstep.source not in table.leaves or microstep.row >= len(table.rows):
            return False
        row = table.rows[microstep.row]
        if row not in tuple(table.candidates(microstep.source, microstep.trigger)):
            return False
        if table.target(row, microstep.source) != microstep.dest:
            return False
    return record.after in table.leaves


def _of_path(path: tuple[Microstep, ...], last: Microstep | None) -> Iterator[Key]:
    for microstep in path:
        yield "row", (microstep.row,)
        yield "cell", (microstep.source, microstep.trigger, HOW[Cell.MOVE])
        for considered in microstep.considered:
            yield "condition", (considered.row, considered.failed)
        if last is not None and last.dest == microstep.source:
            yield "pair", (last.row, microstep.row)
        last = microstep


def _taken(flow: Flow, path: tuple[Microstep, ...]) -> Iterator[Key]:
    for microstep in path:
        if not flow.table.rows[microstep.row].unconditional:
            yield "condition", (microstep.row, TAKEN)


def _of_note(flow: Flow, record: StepRecord, event_of: Callable[[], Event | None]) -> Iterator[Key]:
    """What the record's own event met that moved nothing. It was offered where the step ended."""
    state = record.after
    if record.note == "refused":
        if any(one.note == "queue full" for one in record.dispositions):
            yield "cell", (state, "message_received", FULL)
        return
    how = _NOTED.get(record.note)
    if how is None:
        return
    trigger = "message_received"  # nothing else is ever postponed
    if how is Cell.IGNORE:
        event = event_of()
        if event is None:
            return
        trigger = trigger_of(flow, event)
    yield "cell", (state, trigger, HOW[how])
    if flow.cell(state, trigger) is Cell.MOVE:
        yield from failed_at_once(flow, state, trigger=trigger)


def trigger_of(flow: Flow, event: Event) -> str:
    """What the event's arrival is called in the flow's table; empty for those that trigger none."""
    body = event.body
    if isinstance(body, MessageReceived | Redriven):
        message = body.message if isinstance(body, Redriven) else body
        return flow.command(message.text) or "message_received"
    if getattr(body, "fallback", None) is not None:
        return "escalated"
    return TRIGGERS.get(type(body), "")


# ---- a world's evidence --------------------------------------------------------------------------


class _Stepped(NamedTuple):
    """A step that took a row: where, when, and the first row that it took."""

    partition: int
    at_ms: int
    row: int


def _read(log: Logged, partition: int, tally: Tally) -> Iterator[_Stepped]:
    """Count all steps of a log."""
    for session_id in _sessions(log):
        rows = log.steps(session_id, after_seq=0, limit=_ALL)
        times = dict(log.step_times(session_id, after_seq=0, limit=_ALL))
        for row in rows:
            record = codec.decode_step(row.value)
            tally.add(record, partial(_event_at, log, row.offset))
            if record.path and record.flow == tally.flow.ref:
                yield _Stepped(partition, times.get(row.seq, 0), record.path[0].row)


def _event_at(log: Logged, offset: int) -> Event | None:
    found = log.read(0, after=offset - 1, limit=1) if offset else ()
    try:
        return codec.decode_event(found[0].value) if found else None
    except InvalidRecord:
        return None


def _sessions(log: Logged) -> Iterator[str]:
    after = ""
    while page := log.sessions(limit=_PAGE, after=after):
        yield from (session_id for session_id, _ in page if session_id)
        after = page[-1][0]


def _row_at(fault: Fault, steps: Sequence[_Stepped]) -> int | None:
    """The row of the step that was under way when a worker died, or came next.

    At the points before a commit the step is done again by the next worker; at those after it, it
    stands in the log already.
    """
    here = [step for step in steps if step.partition == fault.partition]
    if fault.point in _BEFORE_STEP:
        later = (step for step in here if step.at_ms >= fault.at_ms)
        found = min(later, key=lambda step: step.at_ms, default=None)
    else:
        earlier = (step for step in here if step.at_ms <= fault.at_ms)
        found = max(earlier, key=lambda step: step.at_ms, default=None)
    return None if found is None else found.row


# ---- what tests accumulate -----------------------------------------------------------------------

_noted: dict[str, Tally] | None = None


def begin() -> None:
    """Let `note` count from now on, from nothing."""
    global _noted
    _noted = {}


def note(flow: Flow, evidence: Evidence) -> None:
    """Add what a world showed to what this process has seen, where that is measured."""
    if _noted is not None:
        _noted.setdefault(str(flow.ref), Tally(flow)).join(tally_of(flow, evidence))


def noted() -> tuple[Tally, ...]:
    """All that was noted in this process, one for each flow ref."""
    return tuple((_noted or {}).values())
