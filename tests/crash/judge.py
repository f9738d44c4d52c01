"""The verdict: what the people saw, held against the log, when everything has come to rest.

Lost: an acknowledged message that is not in the log, has no disposition or no answer; a line of the
outbox that its person did not get; an order that was not carried out. Doubled: a line or an answer
twice, two dispositions, an event that had its effect twice. Unknown: a reply of which nobody knows
whether it was sent. Wrong: a session whose history does not fold to the bytes that are stored.

It judges what was `Found`: `found_in` reads that from an embedded host's file, `tests.faults` from
a cluster's topics. It never touches the engine that ran.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from adapters.logs.sqlite import SqliteLog
from engine import codec
from engine.effects import CloseReply, SendMessage
from engine.events import (
    ClockReached,
    Event,
    FlowActivated,
    MessageReceived,
    ModelFailed,
    ReplyUndelivered,
)
from engine.flow import Flow
from engine.ids import derive
from engine.ports import DeadLetter, Delivery, Line
from engine.session import Session, StepRecord
from engine.step import TRIGGERS, new_session, step
from statemachines import registry
from streams.sessions import activation
from tests.crash.people import Conversation, Person

PAGE = 1_000
MAY_BE_DUE = (TRIGGERS[ModelFailed], TRIGGERS[MessageReceived])
CHANGES_NOTHING = ("duplicate", "late")
NEVER = ("failed", "expired", "ignored")
"""Ends that no message may come to here: its request was forgotten, or it came out of time."""


@dataclass
class Verdict:
    """All findings, and what was looked at."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.unknown or self.wrong)


@dataclass
class Told:
    """One session as the log tells it."""

    session: Session
    stored: bytes
    events: list[Event]
    steps: list[StepRecord]
    lines: list[Line]
    deliveries: list[Delivery]


@dataclass
class Found:
    """What a log holds. `activated`: its first control record. `told`: to be gone through once."""

    activated: Event
    told: Iterable[Told]
    letters: list[DeadLetter]


def at_rest(log: SqliteLog) -> bool:
    """Everything that was appended is stepped, performed and delivered."""
    if log.watermark(0) != log.head(0) or log.undelivered():
        return False
    return all(
        not session.unanswered and all(pending.kind == "timer" for pending in session.pending)
        for session, _ in sessions(log)
    )


def sessions(log: SqliteLog) -> Iterator[tuple[Session, bytes]]:
    """All sessions with their stored bytes."""
    after = ""
    while page := log.sessions(limit=PAGE, after=after):
        yield from ((codec.decode_session(value), value) for _, value in page)
        after = page[-1][0]


def found_in(log: SqliteLog) -> Found:
    """All that the log has, session by session."""
    control = log.last_control(up_to=log.head(0))
    assert control is not None
    told = [
        Told(
            session,
            value,
            [codec.decode_event(r.value) for r in log.history(session.id)],
            [
                codec.decode_step(row.value)
                for row in log.steps(session.id, after_seq=0, limit=1_000_000)
            ],
            log.lines(session.id, after=0, limit=1_000_000),
            log.deliveries_of(session.id),
        )
        for session, value in sessions(log)
    ]
    return Found(codec.decode_event(control.value), told, list(log.dead_letters()))


def judge(found: Found, people: Iterable[Person], *, never: Collection[str] = NEVER) -> Verdict:
    """Hold what the people saw against a log at rest. `never`: ends that no message may come to."""
    verdict = Verdict()
    activated = found.activated
    assert isinstance(activated.body, FlowActivated)
    flow = registry.build(activated.body.flow, bytes(activated.body.config))
    unheard = {c.id: c for person in people for c in person.conversations}
    for each in found.told:
        _judge_steps(verdict, each)
        _judge_outbox(verdict, each)
        _judge_fold(verdict, each, flow=flow, activated=activated)
        address = each.session.address
        conversation = unheard.pop(address.conversation, None) if address is not None else None
        if conversation is not None:
            _judge_person(verdict, conversation, each, never=never)
    for conversation in unheard.values():
        _judge_person(verdict, conversation, None, never=never)
    for letter in found.letters:
        verdict.lost.append(f"dead letter at offset {letter.offset}: {letter.error}")
    return verdict


def _judge_person(
    verdict: Verdict, conversation: Conversation, there: Told | None, *, never: Collection[str]
) -> None:
    """What one person saw and was promised."""
    place = conversation.id
    for fault in conversation.faults:
        verdict.doubled.append(f"{place}: {fault}")
    acked = {key for key, said in conversation.said.items() if said.acked}
    verdict.counted["messages acknowledged"] += len(acked)
    if there is None:
        verdict.lost += [f"{place}: acknowledged message {key} is nowhere" for key in acked]
        return
    _judge_lines(verdict, conversation, there)
    ends = {d.message: d for record in there.steps for d in record.dispositions}
    received: dict[str, str] = {}  # in the order in which they came first
    for event in there.events:
        if isinstance(event.body, MessageReceived):
            received.setdefault(event.body.message_id, event.id)
    verdict.lost += [f"{place}: {key} was acknowledged and lost" for key in acked - set(received)]
    verdict.wrong += [
        f"{place}: {key} came after later ones" for key in _late(conversation, received)
    ]
    events = {event.id for event in there.events}
    for key, stop in conversation.stops.items():
        if stop.acked and derive(there.session.id, "stop", key) not in events:
            verdict.lost.append(f"{place}: stop {key} was acknowledged and lost")
    # The model echoes; what was asked in several messages is echoed in as many lines.
    said = Counter(
        text
        for line in conversation.lines.values()
        if line.author == "bot"
        for text in line.text.split("\n")
    )
    for key in set(received) & set(conversation.said):
        answers, end = said[conversation.said[key].text], ends.get(received[key])
        if answers > 1:
            verdict.doubled.append(f"{place}: {key} was answered {answers} times")
        if end is not None and end.how == "answered" and not end.note and not answers:
            verdict.lost.append(f"{place}: {key} is answered and its answer is nowhere")
        if end is not None and end.how in never:
            verdict.lost.append(f"{place}: {key} is {end.how}, although its model never fails")
        if end is not None:
            verdict.counted[f"messages {end.how}{f' ({end.note})' if end.note else ''}"] += 1


def _late(conversation: Conversation, received: Iterable[str]) -> Iterator[str]:
    """Messages that came after one that was said later.

    One that was sent again may: it was not taken at first, and the later one was.
    """
    places = {key: place for place, key in enumerate(conversation.said)}
    last = -1
    for key in received:
        place = places.get(key, last)
        if place < last and conversation.said[key].sends == 1:
            yield key
        last = max(last, place)


def _judge_lines(verdict: Verdict, conversation: Conversation, there: Told) -> None:
    """The person has each line of the outbox, as it is there."""
    verdict.counted["lines seen"] += len(conversation.lines)
    for line in there.lines:
        seen = conversation.lines.get(line.n)
        if seen is None:
            verdict.lost.append(f"{conversation.id}: line {line.n} never came")
        elif (seen.id, seen.author, seen.text, seen.how) != (
            line.id,
            line.author,
            line.text,
            line.how,
        ):
            verdict.wrong.append(f"{conversation.id}: line {line.n} was shown otherwise")
    extra = len(conversation.lines) - len(there.lines)
    if extra > 0:
        verdict.lost.append(f"{conversation.id}: {extra} lines were shown that are not in the log")


def _judge_steps(verdict: Verdict, there: Told) -> None:
    """Each event had its effect once, and each message one end."""
    place = there.session.id
    wakes = {event.id for event in there.events if isinstance(event.body, ClockReached)}
    triggers = {event.id: TRIGGERS.get(type(event.body), "") for event in there.events}
    effective = Counter(
        r.event_id
        for r in there.steps
        if r.note not in CHANGES_NOTHING and not (r.event_id in wakes and _did_nothing(r))
    )
    twice = {e.id for e in there.events} & {key for key, n in effective.items() if n > 1}
    verdict.doubled += [f"{place}: event {key} had its effect twice" for key in twice]
    for record in there.steps:
        if record.note in CHANGES_NOTHING and _did_something(record, triggers):
            verdict.doubled.append(f"{place}: {record.note} event {record.event_id} did something")
        if record.error is not None:
            verdict.wrong.append(f"{place}: a step failed: {record.error}")
    if [r.seq for r in there.steps] != list(range(1, there.session.seq + 1)):
        verdict.wrong.append(f"{place}: its steps are not numbered 1 to {there.session.seq}")
    ends = Counter(d.message for record in there.steps for d in record.dispositions)
    messages = {e.id for e in there.events if isinstance(e.body, MessageReceived)}
    verdict.counted["events"] += len(there.events)
    verdict.counted["events repeated"] += len(there.events) - len({e.id for e in there.events})
    verdict.lost += [f"{place}: message {key} has no end" for key in messages - set(ends)]
    for key, n in ends.items():
        if n > 1 or key not in messages:
            verdict.doubled.append(f"{place}: message {key} has {n} ends")


def _did_something(record: StepRecord, triggers: Mapping[str, str]) -> bool:
    """Beyond what was due by its time, which the event brings with it (law 3): that a request fails
    by its deadline, and that messages which waited for its end are offered again."""
    own = triggers[record.event_id]
    if own not in MAY_BE_DUE and any(microstep.trigger == own for microstep in record.path):
        return True
    return not record.path and bool(record.effects or record.dispositions)


def _did_nothing(record: StepRecord) -> bool:
    """A session may be woken twice, by two clocks: the second time nothing is due."""
    return not (record.path or record.effects or record.dispositions or record.cancelled)


def _judge_outbox(verdict: Verdict, there: Told) -> None:
    """Each order of a step was carried out once; lines are numbered without gaps."""
    place = there.session.id
    if [line.n for line in there.lines] != list(range(1, len(there.lines) + 1)):
        verdict.lost.append(f"{place}: lines are not numbered 1 to {len(there.lines)}")
    lines = Counter(line.id for line in there.lines)
    verdict.doubled += [
        f"{place}: line {key} is there {n} times" for key, n in lines.items() if n > 1
    ]
    deliveries = {delivery.reply_id: delivery for delivery in there.deliveries}
    ordered = {
        effect.body.reply_id
        for record in there.steps
        for effect in record.effects
        if isinstance(effect.body, SendMessage | CloseReply)
    }
    for reply in ordered | set(deliveries):
        delivery = deliveries.get(reply)
        state = "never queued" if delivery is None else delivery.state
        verdict.counted[f"replies {state}"] += 1
        if state == "unknown":
            verdict.unknown.append(f"{place}: reply {reply}")
        elif state not in ("sent", "closed", "withdrawn"):
            verdict.lost.append(f"{place}: reply {reply} is {state}")
        elif (state == "sent") != (lines[reply] == 1):
            verdict.wrong.append(f"{place}: reply {reply} is {state}, lines: {lines[reply]}")
    for event in there.events:
        if isinstance(event.body, ReplyUndelivered):
            verdict.unknown.append(f"{place}: {event.body.state} reply {event.body.reply_id}")


def _judge_fold(verdict: Verdict, there: Told, *, flow: Flow, activated: Event) -> None:
    """Law 1 on real data: the history folds to the stored bytes, step by step."""
    session = new_session(flow, there.session.id)
    encoded = b""
    verdict.counted["sessions folded"] += 1
    digests = {record.seq: record.digest for record in there.steps}
    for event in there.events:
        if session.flow != flow.ref:
            session = step(flow, session, activation(activated, session)).session
        done = step(flow, session, event)
        session, encoded = done.session, done.encoded
        if digests.get(session.seq) != done.record.digest:
            verdict.wrong.append(f"{there.session.id}: step {session.seq} folds to another session")
            return
    if encoded != there.stored:
        verdict.wrong.append(f"{there.session.id}: folds to other bytes than are stored")
