"""The evidence, read once and indexed: partitions, and dialogs with their steps.

What the laws look at. Between two records stands the session that folding gives there; the recorded
digests vouch for it, and a dialog whose digests part from its fold is followed no further. It
judges nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from engine import codec
from engine.effects import REQUESTS, CloseReply, Effect, SendMessage
from engine.errors import InvalidRecord
from engine.events import Event, FlowActivated, MessageReceived, Redriven, message_id
from engine.flow import Flow
from engine.ids import derive
from engine.limits import SEEN_KEPT_MS
from engine.ports import DeadLetter, Delivery, LogRecord, StepRow
from engine.session import Session, StepRecord
from engine.step import new_session, step
from streams.sessions import activation
from testkit.laws.facts import Held, fact
from testkit.worlds import Began, Called, Evidence, Fault, Logged, Read, Received, Said

ALL = 1_000_000_000
"""More than any log of a test holds."""
SENDS = (SendMessage, CloseReply)


class Found(NamedTuple):
    """What a law found: in words, with its log time."""

    what: str
    at_ms: int = 0
    prefix: str = ""
    session_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One step: its event, its record, and the session before and after it."""

    row: StepRow
    record: StepRecord
    event: Event
    flow: Flow
    before: Session
    after: Session
    encoded: bytes
    repeats: bool
    """Whether its event had been stepped before, within the time that sessions remember."""
    taken_ms: int
    """Log time at which its event was taken: since then the session knows it."""
    committed_ms: int
    previous: "Stepped | None" = None
    """The step that led to `before`."""

    @fact
    def had(self) -> Held:
        """What the session before it awaits."""
        previous = self.previous
        is_known = previous is not None and previous.after is self.before
        return previous.has if previous is not None and is_known else Held(self.before)

    @fact
    def has(self) -> Held:
        """What the session after it awaits."""
        return Held(self.after)

    @fact
    def bodies(self) -> list[Any]:
        """What it ordered, without names and scopes."""
        return [effect.body for effect in self.record.effects]

    @fact
    def requests(self) -> list[Effect]:
        """Those of its effects that have an outcome."""
        return [effect for effect in self.record.effects if isinstance(effect.body, REQUESTS)]

    @fact
    def triggers(self) -> list[str]:
        """What its microsteps were taken for, in order."""
        return [step.trigger for step in self.record.path]

    @fact
    def message(self) -> MessageReceived | None:
        """The message that it brings, by whichever way."""
        body = self.event.body
        if isinstance(body, Redriven):
            return body.message
        return body if isinstance(body, MessageReceived) else None


@dataclass(kw_only=True, eq=False)
class Partition:
    """One log, read. `events`: by offset; None where the record cannot be decoded."""

    log: Logged
    records: list[LogRecord]
    events: dict[int, Event | None]
    letters: dict[int, DeadLetter]
    watermark: int
    head: int
    number: int = 0

    def of(self, session_id: str) -> Sequence[tuple[int, Event]]:
        """The events of one session, with their offsets, in order."""
        return self._by_session.get(session_id, ())

    @cached_property
    def _by_session(self) -> dict[str, list[tuple[int, Event]]]:
        found: dict[str, list[tuple[int, Event]]] = {}
        for offset, event in self.events.items():
            if event is not None:
                found.setdefault(event.session_id, []).append((offset, event))
        return found

    @cached_property
    def texts(self) -> dict[str, str]:
        """What each message that is in the log says, by its id."""
        return {
            message_id(event): body.message.text if isinstance(body, Redriven) else body.text
            for event in self.events.values()
            if event is not None and isinstance(body := event.body, MessageReceived | Redriven)
        }

    @cached_property
    def controls(self) -> list[tuple[int, Event]]:
        """The activations of flows, with their offsets."""
        return [
            (record.offset, event)
            for record in self.records
            if record.session_id == "" and (event := self.events[record.offset]) is not None
        ]


@dataclass(kw_only=True, eq=False)
class Dialog:
    """One session's history. `steps`: as far as it could be followed; `lost_at`: why no further."""

    id: str
    partition: Partition
    reading: "Reading"
    rows: list[StepRow]
    records: list[StepRecord | None]
    times: dict[int, int]
    stored: bytes | None
    deliveries: list[Delivery]
    steps: list[Stepped] = field(default_factory=list)
    lost_at: str = ""
    skipped: int = 0
    """Steps before the first at which the costly laws look."""

    @property
    def sampled(self) -> list[Stepped]:
        """Every so many-th step, counted over all dialogs."""
        return self.steps[self.skipped :: self.reading.every]

    @fact
    def known(self) -> list[StepRecord]:
        """The step records that can be read, in order of seq."""
        return [record for record in self.records if record is not None]

    @fact
    def effects(self) -> list[Effect]:
        """All that its steps ordered, in order."""
        return [effect for record in self.known for effect in record.effects]

    @fact
    def sends(self) -> list[Effect]:
        """Those effects that say something or end a reply."""
        return [effect for effect in self.effects if isinstance(effect.body, SENDS)]

    @fact
    def durable(self) -> list[tuple[int, StepRecord]]:
        """The step records that order something, each with the watermark that makes it durable.

        What an activation led to has no offset of its own: it is committed with the event after it.
        """
        offset, found = ALL, []
        for row, record in zip(reversed(self.rows), reversed(self.records), strict=True):
            offset = row.offset or offset
            if record is not None and record.effects:
                found.append((offset, record))
        return found[::-1]


@dataclass(kw_only=True, eq=False)
class Reading:
    """All of it. `every`: the costly laws look at every so many-th step."""

    evidence: Evidence
    partitions: list[Partition]
    dialogs: dict[str, Dialog]
    every: int

    @cached_property
    def faults(self) -> Sequence[Fault]:
        """All that broke."""
        return [one for one in self.evidence.seen if isinstance(one, Fault)]

    @cached_property
    def takeovers(self) -> Mapping[int, Sequence[int]]:
        """The log times at which a partition's owner died or lost it, by partition, as it came."""
        found: dict[int, list[int]] = {}
        for one in self.faults:
            if one.new_owner:
                found.setdefault(one.partition, []).append(one.at_ms)
        return found

    @cached_property
    def calls(self) -> Sequence[Called]:
        """All calls of the platform."""
        return [one for one in self.evidence.seen if isinstance(one, Called)]

    @cached_property
    def received(self) -> Sequence[Received]:
        """All that reached its user."""
        return [one for one in self.evidence.seen if isinstance(one, Received)]

    @cached_property
    def began(self) -> Mapping[str, Sequence[Began]]:
        """What runners were given, by session."""
        found: dict[str, list[Began]] = {}
        for one in self.evidence.seen:
            if isinstance(one, Began):
                found.setdefault(one.request.session_id, []).append(one)
        return found

    @cached_property
    def began_by(self) -> Mapping[str, Sequence[int]]:
        """To each of `began` which owner of its partition it was then, counted from 0."""
        owners: Counter[int] = Counter()
        found: dict[str, list[int]] = {}
        for one in self.evidence.seen:
            if isinstance(one, Fault) and one.new_owner:
                owners[one.partition] += 1
            elif isinstance(one, Began):
                dialog = self.dialogs.get(one.request.session_id)
                number = 0 if dialog is None else dialog.partition.number
                found.setdefault(one.request.session_id, []).append(owners[number])
        return found

    @cached_property
    def said(self) -> Mapping[str, Sequence[Said]]:
        """What runners said, by request."""
        found: dict[str, list[Said]] = {}
        for one in self.evidence.seen:
            if isinstance(one, Said):
                found.setdefault(one.effect_id, []).append(one)
        return found

    @cached_property
    def read(self) -> Mapping[str, Sequence[Read]]:
        """The lines that people's pages got, by session."""
        found: dict[str, list[Read]] = {}
        for one in self.evidence.seen:
            if isinstance(one, Read):
                found.setdefault(one.line.session_id, []).append(one)
        return found

    @property
    def rested(self) -> bool:
        return self.evidence.rested_ms is not None


def read(evidence: Evidence, every: int) -> Reading:
    """Read all logs, and fold each session once."""
    reading = Reading(evidence=evidence, partitions=[], dialogs={}, every=max(every, 1))
    n = 0
    for number, log in enumerate(evidence.logs):
        partition = _partition(log, number)
        reading.partitions.append(partition)
        keys = [key for key, _ in log.sessions(limit=ALL)]
        keys += [record.session_id for record in partition.records if record.session_id]
        for key in dict.fromkeys(keys):
            dialog = reading.dialogs[key] = _dialog(key, partition, reading)
            dialog.skipped = -n % reading.every
            n += len(dialog.steps)
    return reading


def _partition(log: Logged, number: int) -> Partition:
    records = list(log.read(0, after=0, limit=ALL))
    return Partition(
        log=log,
        records=records,
        events={record.offset: _event(record.value) for record in records},
        letters={letter.offset: letter for letter in log.dead_letters()},
        watermark=log.watermark(0),
        head=log.head(0),
        number=number,
    )


def _event(value: bytes) -> Event | None:
    try:
        return codec.decode_event(value)
    except InvalidRecord:
        return None


def _dialog(key: str, partition: Partition, reading: Reading) -> Dialog:
    log = partition.log
    rows = list(log.steps(key, after_seq=-1, limit=ALL))
    dialog = Dialog(
        id=key,
        partition=partition,
        reading=reading,
        rows=rows,
        records=[_record(row.value) for row in rows],
        times=dict(log.step_times(key, after_seq=-1, limit=ALL)),
        stored=log.get(key),
        deliveries=list(log.deliveries_of(key)),
    )
    _follow(dialog, reading.evidence.flows)
    return dialog


def _record(value: bytes) -> StepRecord | None:
    try:
        return codec.decode_step(value)
    except InvalidRecord:
        return None


def _follow(dialog: Dialog, flows: Mapping[str, Flow]) -> None:
    """Fold the recorded events with the recorded flows, as far as the digests agree."""
    session: Session | None = None
    taken: dict[str, int] = {}
    previous: Stepped | None = None
    for row, record in zip(dialog.rows, dialog.records, strict=True):
        flow = flows.get(str(record.flow)) if record is not None else None
        if record is None or flow is None:
            dialog.lost_at = f"seq {row.seq}: " + (
                "its record cannot be read" if record is None else f"flow {record.flow} is unknown"
            )
            return
        if session is None:
            session = new_session(flow, dialog.id)
        event = event_of(dialog.partition, row, before=session)
        if event is None:
            dialog.lost_at = f"seq {row.seq}: there is no event {row.event_id} at {row.offset}"
            return
        try:
            done = step(flow, session, event)
        except ValueError as error:
            dialog.lost_at = f"seq {row.seq}: {error}"
            return
        if done.encoded_record != row.value:
            dialog.lost_at = f"seq {row.seq}: folding gives another record than the stored one"
            return
        known = message_id(event)
        last = taken.get(known)
        repeats = last is not None and done.session.now_ms - last <= SEEN_KEPT_MS
        if not repeats and record.note != "duplicate":
            taken[known] = done.session.now_ms
        previous = Stepped(
            row=row,
            record=record,
            event=event,
            flow=flow,
            before=session,
            after=done.session,
            encoded=done.encoded,
            repeats=repeats,
            taken_ms=taken.get(known, done.session.now_ms),
            committed_ms=dialog.times.get(row.seq, 0),
            previous=previous,
        )
        dialog.steps.append(previous)
        session = done.session


def event_of(partition: Partition, row: StepRow, *, before: Session) -> Event | None:
    """The event that was stepped: in the log, or derived from an activation."""
    if row.offset:
        event = partition.events.get(row.offset)
        return event if event is not None and event.id == row.event_id else None
    for _, control in partition.controls:
        if isinstance(control.body, FlowActivated):
            activated = derive(before.id, "activation", control.id)
            if activated == row.event_id:
                return activation(control, before)
    return None
