"""`Dialog`: one session's dialog as a flow's author looks at it, up to one moment.

Made from a world's evidence (the log, the step records, what users wrote); given as `d` to the
predicates of a `DialogTests`. It only reads: what a dialog did is what the log holds, and nothing
is stepped again to find it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import codec
from engine.effects import REQUESTS, CloseReply, SendMessage
from engine.errors import InvalidRecord
from engine.events import Event, MessageReceived, Redriven, message_id
from engine.session import StepRecord
from testkit.worlds import Evidence, Logged, Wrote

EVERYTHING = 1_000_000_000
NAMES = ("ann", "bob", "cho", "dan", "eve", "fay", "gus", "hal")
"""What users are called where a person reads of them."""


def name_of(user: int) -> str:
    """A user's name, by number from 0."""
    return NAMES[user] if user < len(NAMES) else f"user {user}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What the session had said in one step: a whole text, at log time. `author`: bot, operator."""

    at_ms: int
    reply_id: str
    text: str
    author: str = "bot"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a user wrote, as it stands at the dialog's moment.

    `kind`: its class in `says`; empty where it is of none. `disposition`: answered, merged,
    forwarded, ignored, refused, expired, failed; None while it waits. `at_ms`, `waited_s`: log
    time; None while it waits.
    """

    event_id: str
    user: str
    text: str
    kind: str
    at_ms: int
    disposition: str | None = None
    waited_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One step: the event, the state before and after (full names of leaves), and what came of it.

    `at_ms`: log time. `event`: None for an activation that only the replay sees. `offset`: its
    place in its partition.
    """

    at_ms: int
    partition: int
    offset: int
    event: Event | None
    record: StepRecord
    said: tuple[Said, ...]

    @property
    def before(self) -> str:
        return self.record.before

    @property
    def after(self) -> str:
        return self.record.after


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """All of a session: its moments, and when each message came and ended, by moment number."""

    session_id: str
    user: str
    moments: tuple[Moment, ...]
    came: tuple[tuple[int, Message], ...]
    ended: dict[str, tuple[int, str]]
    set_aside: frozenset[str]
    states: tuple[str, ...] = ()
    """All that there are, leaves and those around them; empty where the flow has no table."""


class UnknownState(ValueError):
    """A state that the flow does not have: whatever is asked of it would be a typing error."""


class Dialog:
    """One session up to a moment; `len(d.moments)` is at least 1 where a predicate sees it.

    A state is given by its full name (`bot.listening`) or that of a state around it (`bot`);
    UnknownState is raised for what is neither. Times are log time.
    """

    def __init__(self, facts: _Facts, upto: int = EVERYTHING) -> None:
        self._facts = facts
        self._upto = min(upto, len(facts.moments))

    def until(self, moments: int) -> "Dialog":
        """The same dialog when it had only its first moments; at most as many as there are."""
        return Dialog(self._facts, moments)

    @property
    def session_id(self) -> str:
        return self._facts.session_id

    @property
    def user(self) -> str:
        """The name of who writes in it (the first, where there are several)."""
        return self._facts.user

    @property
    def moments(self) -> Sequence[Moment]:
        """Its steps so far, in order."""
        return self._facts.moments[: self._upto]

    @property
    def now_ms(self) -> int:
        """Log time of the last moment; 0 before the first."""
        return self._facts.moments[self._upto - 1].at_ms if self._upto else 0

    @property
    def state(self) -> str:
        """The leaf that holds now; empty before the first moment."""
        return self._facts.moments[self._upto - 1].after if self._upto else ""

    @property
    def messages(self) -> list[Message]:
        """What users wrote, in the order in which the session took it."""
        return [self._now(message) for came, message in self._facts.came if came < self._upto]

    @property
    def said(self) -> list[Said]:
        """What the session had said, operators' words too, in order."""
        return [said for moment in self.moments for said in moment.said]

    @property
    def requests_pending(self) -> list[str]:
        """The kinds of the requests whose end it awaits, oldest first: CallModel, RunSkill, …"""
        waiting: dict[str, tuple[str, int]] = {}
        for moment in self.moments:
            gone = {*moment.record.cancelled, *([moment.event.effect] if moment.event else [])}
            for effect in moment.record.effects:
                if isinstance(effect.body, REQUESTS):
                    due_ms = effect.expires_ms if effect.expires_ms is not None else EVERYTHING**2
                    waiting[effect.id] = type(effect.body).__name__, due_ms
            for effect_id in gone:
                waiting.pop(effect_id or "", None)
        return [kind for kind, due_ms in waiting.values() if due_ms > self.now_ms]

    def is_in(self, state: str) -> bool:
        """Whether the state, or one inside it, holds now."""
        return _within(self.state, self._known(state))

    def visited(self, state: str) -> bool:
        """Whether a step so far ended, or passed, in the state."""
        self._known(state)
        return any(
            _within(place, state)
            for moment in self.moments
            for place in (moment.after, *(micro.dest for micro in moment.record.path))
        )

    def bot_replied_while(self, state: str, *, except_on_entry: bool = False) -> bool:
        """Whether the bot itself said something in a step that ended in the state.

        `except_on_entry`: what it said in a step that led there does not count, nor in one that
        left the state and came back.
        """
        self._known(state)
        return any(
            any(said.author == "bot" for said in moment.said)
            for moment in self.moments
            if _within(moment.after, state)
            and not (except_on_entry and _enters(moment.record, state))
        )

    def _known(self, state: str) -> str:
        states = self._facts.states
        if states and state not in states:
            raise UnknownState(f"there is no state {state!r}; there are: {', '.join(states)}")
        return state

    def _now(self, message: Message) -> Message:
        ended, how = self._facts.ended.get(message.event_id, (EVERYTHING, ""))
        if ended >= self._upto:
            return message
        waited_s = (self._facts.moments[ended].at_ms - message.at_ms) / 1_000
        return Message(
            event_id=message.event_id,
            user=message.user,
            text=message.text,
            kind=message.kind,
            at_ms=message.at_ms,
            disposition=how,
            waited_s=max(0.0, waited_s),
        )

    def came(self) -> Sequence[tuple[int, Message]]:
        """Each message of the whole session and the number of the moment that took it (from 0)."""
        return self._facts.came

    def set_aside(self, message: Message) -> bool:
        """Whether the message is a dead letter by now: no step took it, an operator may."""
        return message.event_id in self._facts.set_aside


def _within(leaf: str, state: str) -> bool:
    return leaf == state or leaf.startswith(state + ".")


def _enters(record: StepRecord, state: str) -> bool:
    """Whether a step came into the state from outside, be it from where it had just gone."""
    return any(_within(m.dest, state) and not _within(m.source, state) for m in record.path)


# ---- from evidence -------------------------------------------------------------------------------


def dialogs(evidence: Evidence) -> list[Dialog]:
    """Each session that was stepped, in the order of partitions and ids; each up to its end."""
    wrote: dict[str, Wrote] = {}
    for seen in evidence.seen:
        if isinstance(seen, Wrote):
            wrote.setdefault(seen.event_id, seen)
    states = _states(evidence)
    found = []
    for partition, log in enumerate(evidence.logs):
        after = ""
        while rows := log.sessions(limit=1_000, after=after):
            facts = (_facts(log, partition, row[0], wrote=wrote) for row in rows)
            found += [Dialog(replace(one, states=states)) for one in facts]
            after = rows[-1][0]
    return found


def _states(evidence: Evidence) -> tuple[str, ...]:
    """The states of all versions that took part."""
    tables = [getattr(flow, "table", None) for flow in evidence.flows.values()]
    return tuple(dict.fromkeys(state for table in tables if table for state in table.states))


def _facts(log: Logged, partition: int, session_id: str, *, wrote: dict[str, Wrote]) -> _Facts:
    history = {record.offset: record.value for record in log.history(session_id)}
    moments: list[Moment] = []
    came: dict[str, tuple[int, Message]] = {}
    ended: dict[str, tuple[int, str]] = {}
    now_ms = 0
    for row in log.steps(session_id, after_seq=0, limit=EVERYTHING):
        written = history.get(row.offset)
        event = codec.decode_event(written) if written is not None else None
        record = codec.decode_step(row.value)
        now_ms = max(now_ms, event.at_ms if event is not None else 0)
        if event is not None and isinstance(event.body, MessageReceived | Redriven):
            message = _message(event, wrote)
            came.setdefault(message.event_id, (len(moments), message))
        for disposition in record.dispositions:
            ended.setdefault(disposition.message, (len(moments), disposition.how))
        moments.append(
            Moment(
                at_ms=now_ms,
                partition=partition,
                offset=row.offset,
                event=event,
                record=record,
                said=_said(record, now_ms),
            )
        )
    users = [one.user for one in wrote.values() if one.session_id == session_id]
    return _Facts(
        session_id=session_id,
        user=name_of(users[0]) if users else session_id,
        moments=tuple(moments),
        came=tuple(came.values()),
        ended=ended,
        set_aside=_set_aside(log),
    )


def _message(event: Event, wrote: dict[str, Wrote]) -> Message:
    body = event.body.message if isinstance(event.body, Redriven) else event.body
    assert isinstance(body, MessageReceived)
    known = wrote.get(message_id(event))
    return Message(
        event_id=message_id(event),
        user=name_of(known.user) if known else body.address.sender,
        text=body.text,
        kind=known.kind if known else "",
        at_ms=event.at_ms,
    )


def _said(record: StepRecord, at_ms: int) -> tuple[Said, ...]:
    said = []
    for effect in record.effects:
        body = effect.body
        if isinstance(body, SendMessage):
            one = Said(at_ms=at_ms, reply_id=body.reply_id, text=body.text, author=body.author)
            said.append(one)
        elif isinstance(body, CloseReply) and body.text:
            said.append(Said(at_ms=at_ms, reply_id=body.reply_id, text=body.text))
    return tuple(said)


def _set_aside(log: Logged) -> frozenset[str]:
    ids = set()
    for letter in log.dead_letters():
        try:
            ids.add(message_id(codec.decode_event(letter.value)))
        except InvalidRecord:  # rubbish: it was nobody's message
            continue
    return frozenset(ids)
