"""Generated dialogs: flat lists of stimuli, each of which means something in every state.

A stimulus names a thing by an index, taken modulo what exists (`Outcome(3)` ends the fourth pending
request, or the first where there are three; nothing where there is none). So any list is a history,
and a failing one shrinks by leaving stimuli out. `Play` turns stimuli into events by stepping as
it goes; what it recorded can be folded again by anybody.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from engine.events import (
    Address,
    Body,
    ClockReached,
    Event,
    FeedbackGiven,
    FlowActivated,
    HandedBack,
    IntentFailed,
    IntentFound,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    OperatorSaid,
    Redriven,
    ReplyUndelivered,
    SkillDone,
    SkillFailed,
    StopRequested,
    message_id,
)
from engine.flow import Flow
from engine.ids import derive, message_event_id, outcome_event_id
from engine.session import Pending, Session, Step
from engine.step import new_session, step

START_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# ---- stimuli -------------------------------------------------------------------------------------


class Say(NamedTuple):
    """A person writes; the platform had sent it `age_ms` before."""

    text: str
    age_ms: int = 0


class Outcome(NamedTuple):
    """The i-th pending request ends. `how`: ok, fail, or what the text is."""

    i: int
    how: str = "ok"


class Late(NamedTuple):
    """The outcome of a request that ended long ago, whichever way, arrives (again)."""

    i: int


class Again(NamedTuple):
    """The log or platform hands over the j-th event so far once more."""

    j: int


class Wait(NamedTuple):
    """Time passes; None: until the first pending is due. Mostly the clock then wakes the session;
    where it does not, the next event is there before it."""

    ms: int | None
    wakes: bool = True


class Operator(NamedTuple):
    """An operator speaks, or with an empty text hands back."""

    text: str


class Stop(NamedTuple):
    """The person stops the i-th reply so far, or with None whatever goes on."""

    i: int | None = None


class Lost(NamedTuple):
    """A person writes, and the message is set aside before it is stepped."""

    text: str


class Feedback(NamedTuple):
    verdict: str


class Undelivered(NamedTuple):
    """The i-th reply so far did not arrive."""

    i: int


class Redrive(NamedTuple):
    """A person has the j-th message so far taken again; those that were set aside come first."""

    j: int


class Activate(NamedTuple):
    """The other version of the flow becomes the active one, where the play has one."""


Stimulus = (
    Say
    | Outcome
    | Late
    | Again
    | Wait
    | Operator
    | Stop
    | Lost
    | Feedback
    | Undelivered
    | Redrive
    | Activate
)

TEXTS = (
    *("hi", "why?", "skill", "which", "steer", "plain", "hop", "loop", "also", "at once", "refuse"),
    *("raise", "grow", "shout", "misplace", "human", "转人工", "sum up this text", "sum"),
    *("annual", "tomorrow", "2030-01-02", "yes", "no", "cancel", "long " * 3_000, '"quoted\\\n'),
)
REPLIES = ("ok", "fail", "twice", "break", "fallback", "deadline")

said = st.builds(Say, st.sampled_from(TEXTS), st.sampled_from([0, 0, 0, 5_000, DAY_MS + 1_000]))
small = st.integers(0, 9)
waits = st.sampled_from([None, None, 0, 1, 2_000, 3_000, 50_000, 900_000, HOUR_MS, 26 * HOUR_MS])
stimuli = st.one_of(
    said,
    said,
    st.builds(Say, st.sampled_from(["hi", "skill", "which", "steer"]), st.just(0)),
    st.builds(Outcome, small, st.sampled_from(REPLIES)),
    st.builds(Outcome, small, st.just("ok")),
    st.builds(Late, small),
    st.builds(Again, st.integers(0, 60)),
    st.builds(Wait, waits, st.booleans()),
    st.builds(Wait, st.sampled_from([-1, -5_000, -HOUR_MS]), st.booleans()),
    st.builds(Operator, st.sampled_from(["I am here", ""])),
    st.builds(Stop),
    st.builds(Stop, small),
    st.builds(Lost, st.sampled_from(["hi", "skill", "raise", "human"])),
    st.builds(Feedback, st.sampled_from(["up", "down"])),
    st.builds(Undelivered, small),
    st.builds(Redrive, small),
    st.builds(Activate),
)
# Hypothesis keeps lists short unless it is told otherwise, and a long one reaches further.
histories = st.one_of(st.lists(stimuli, max_size=8), st.lists(stimuli, min_size=20, max_size=40))

# ---- a play --------------------------------------------------------------------------------------


class Play:
    """One session as it is played. `flows`: the active one, and the one that `Activate` brings."""

    def __init__(self, flows: Sequence[Flow], session_id: str = "web:main:k1:0001") -> None:
        self.flows = list(flows)
        self.flow = self.flows[0]
        self.clock_ms = START_MS
        self.session: Session = new_session(self.flow, session_id)
        self.events: list[Event] = []
        self.flow_of: list[Flow] = []
        self.steps: list[Step] = []
        self.requests: list[Pending] = []
        self.replies: list[str] = []
        self.lost: list[Event] = []
        self._messages = 0

    def play(self, stimuli: Sequence[Stimulus]) -> "Play":
        for stimulus in stimuli:
            self.act(stimulus)
        return self

    def act(self, stimulus: Stimulus) -> None:
        match stimulus:
            case Say(text, age_ms):
                self.say(text, age_ms=age_ms)
            case Outcome(i, how):
                if waiting := self.waiting():
                    self.end(waiting[i % len(waiting)], how)
            case Late(i):
                if self.requests:
                    self.end(self.requests[i % len(self.requests)], "ok")
            case Again(j):
                self._again(j)
            case Wait(ms, wakes):
                self._wait(ms)
                if wakes:
                    self.wake()
            case Operator(text):
                body = OperatorSaid(text=text, operator="ann") if text else HandedBack(operator="a")
                self._person("operator", body)
            case Stop(None):
                self._person("stop", StopRequested())
            case Stop(i):
                if self.replies:
                    reply = self.replies[i % len(self.replies)]
                    self._person("stop", StopRequested(reply_id=reply))
            case Lost(text):
                self.lost.append(self._message(text))
            case Feedback(verdict):
                self._person("feedback", FeedbackGiven(reply_id="r", verdict=verdict))  # type: ignore[arg-type]
            case Undelivered(i):
                if self.replies:
                    reply = self.replies[i % len(self.replies)]
                    self._person("egress", ReplyUndelivered(reply_id=reply, state="failed"))
            case Redrive(j):
                self._redrive(j)
            case Activate():
                self.activate()

    # ---- what happens --------------------------------------------------------------------------

    def say(self, text: str, *, age_ms: int = 0) -> Step:
        return self.record(self._message(text, age_ms=age_ms))

    def end(self, request: Pending, how: str) -> Step:
        identity = outcome_event_id(request.effect_id)
        return self.record(self.event(identity, _outcome(request, how), effect=request.effect_id))

    def activate(self) -> None:
        if len(self.flows) < 2:
            return
        self.flows.reverse()
        self.flow = self.flows[0]
        control = FlowActivated(flow=self.flow.ref, config=msgspec.Raw(b"{}"))
        identity = derive(self.session.id, "activation", str(self.clock_ms), len(self.events))
        self.record(self.event(identity, control))

    def waiting(self) -> list[Pending]:
        """The pending requests."""
        return [p for p in self.session.pending if p.kind != "timer"]

    def wake(self) -> Step:
        """What a host's clock does."""
        identity = derive(self.session.id, "clock", self.clock_ms)
        return self.record(self.event(identity, ClockReached(due_ms=self.clock_ms)))

    def event(
        self, identity: str, body: Body, *, effect: str | None = None, sent_ms: int | None = None
    ) -> Event:
        return Event(
            id=identity,
            session_id=self.session.id,
            at_ms=self.clock_ms,
            source="play",
            body=body,
            effect=effect,
            sent_ms=sent_ms,
        )

    def record(self, event: Event) -> Step:
        done = step(self.flow, self.session, event)
        self.events.append(event)
        self.flow_of.append(self.flow)
        self.steps.append(done)
        self.session = done.session
        known = {request.effect_id for request in self.requests}
        self.requests += [p for p in self.waiting() if p.effect_id not in known]
        for effect in done.record.effects:
            reply = getattr(effect.body, "reply_id", None)
            if reply:
                self.replies.append(reply)
        return done

    def _message(self, text: str, *, age_ms: int = 0) -> Event:
        self._messages += 1
        number = str(self._messages)
        body = MessageReceived(message_id=number, text=text, address=_ADDRESS, quoted=text[:20])
        identity = message_event_id(self.session.id, "main", message_id=number)
        return self.event(identity, body, sent_ms=self.clock_ms - age_ms)

    def _wait(self, ms: int | None) -> None:
        if ms is None:
            due = min((p.due_ms for p in self.session.pending), default=self.clock_ms)
            self.clock_ms = max(self.clock_ms, due)
        else:
            self.clock_ms += ms

    def _person(self, what: str, body: Body) -> None:
        identity = derive(self.session.id, what, len(self.events))
        self.record(self.event(identity, body))

    def _again(self, j: int) -> None:
        handed_over = [*self.events, *self.lost]
        if not handed_over:
            return
        event = handed_over[j % len(handed_over)]
        if isinstance(event.body, FlowActivated):
            return  # a host materialises an activation once: it knows which flow a session runs
        if not self._is_forgotten(message_id(event)):
            self.record(msgspec.structs.replace(event, at_ms=self.clock_ms))

    def _redrive(self, j: int) -> None:
        known = [*self.lost, *(e for e in self.events if isinstance(e.body, MessageReceived))]
        if known:
            event = known[j % len(known)]
            assert isinstance(event.body, MessageReceived)
            if not self._is_forgotten(event.id):
                self._person("redrive", Redriven(of=event.id, message=event.body))

    def _is_forgotten(self, identity: str) -> bool:
        """Taken so long ago that `seen` may not know it: nobody hands that over any more."""
        taken = [event.at_ms for event in self.events if message_id(event) == identity]
        return bool(taken) and min(taken) < self.session.now_ms - DAY_MS


_ADDRESS = Address(channel="web", account="main", conversation="c1", sender="ann")


def _outcome(request: Pending, how: str) -> Body:
    text = how if how in ("twice", "break") else f"an answer to turn {request.turn}"
    fallback = "escalate_to_human" if how == "fallback" else None
    failed = how in ("fail", "deadline")
    match request.kind:
        case "model":
            if failed:
                return ModelFailed(reason="error", detail="no")
            return ModelReplied(text=text, fallback=fallback)
        case "skill":
            if failed:
                return SkillFailed(reason="died")
            return SkillDone(text=text, fallback=fallback)
        case _:
            return IntentFailed(reason="timeout") if failed else IntentFound(intent="sum")


def played(make: Callable[[], Sequence[Flow]], stimuli: Sequence[Stimulus]) -> Play:
    """A new play of these stimuli."""
    return Play(make()).play(stimuli)


def fold_steps(play: Play, events: Sequence[Event] | None = None) -> list[Step]:
    """Step the play's events again, each with the flow that was active then."""
    session = new_session(play.flow_of[0], play.session.id) if play.flow_of else play.session
    done = []
    for event, flow in zip(
        events if events is not None else play.events, play.flow_of, strict=True
    ):
        done.append(step(flow, session, event))
        session = done[-1].session
    return done
