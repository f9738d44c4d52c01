"""One dialog driven by hand: what a person, a model or the clock does, through `engine.step`.

Each record goes through the codec as it goes, as it would on a host.
"""

from dataclasses import dataclass, field

from engine import codec
from engine.effects import REQUESTS, CallModel, CloseReply, Effect, Forward, RunSkill, SendMessage
from engine.events import (
    Address,
    Body,
    ClockReached,
    Event,
    IntentFound,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    OperatorSaid,
    SkillDone,
)
from engine.session import Pending, Session, StepRecord
from engine.step import new_session, step
from statemachines.flow import Flow

START_MS = 1_800_000_000_000
ADDRESS = Address(channel="test", account="a", conversation="c", sender="p")


@dataclass
class Dialog:
    """`records`: every step so far; `messages`: ids of what was said. Only waiting takes time."""

    flow: Flow
    now_ms: int = START_MS
    records: list[StepRecord] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        self.session = new_session(self.flow, "s")

    def happens(self, body: Body, effect: str | None = None) -> StepRecord:
        event = Event(
            id=f"s/{len(self.records)}",
            session_id="s",
            at_ms=self.now_ms,
            source="test",
            body=body,
            effect=effect,
        )
        event = codec.decode_event(codec.encode(event))
        done = step(self.flow, codec.decode_session(codec.encode(self.session)), event)
        assert codec.decode_session(done.encoded) == done.session
        self.session = done.session
        self.records.append(done.record)
        return done.record

    def says(self, text: str, quoted: str = "") -> StepRecord:
        message = str(len(self.records))
        self.messages.add(f"s/{message}")
        return self.happens(
            MessageReceived(message_id=message, text=text, address=ADDRESS, quoted=quoted)
        )

    def model_says(self, text: str, fallback: str | None = None) -> StepRecord:
        return self.happens(ModelReplied(text=text, fallback=fallback), self.pending("model"))

    def model_fails(self) -> StepRecord:
        return self.happens(ModelFailed(reason="unavailable"), self.pending("model"))

    def skill_says(self, text: str) -> StepRecord:
        return self.happens(SkillDone(text=text), self.pending("skill"))

    def intent_is(self, intent: str) -> StepRecord:
        return self.happens(IntentFound(intent=intent), self.pending("intent"))

    def operator_says(self, text: str) -> StepRecord:
        return self.happens(OperatorSaid(text=text, operator="o"))

    def wait(self, seconds: float) -> StepRecord:
        self.now_ms += int(seconds * 1_000)
        return self.happens(ClockReached(due_ms=self.now_ms))

    def wait_through(self, seconds: int) -> None:
        """Time passes, and the host wakes the session whenever something is due, as it would."""
        end_ms = self.now_ms + seconds * 1_000
        while due := [p.due_ms for p in self.session.pending if p.due_ms <= end_ms]:
            self.now_ms = max(self.now_ms, min(due))
            self.happens(ClockReached(due_ms=self.now_ms))
        self.now_ms = end_ms

    # ---- what is there now ---------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self.session.state

    def requests(self) -> list[Pending]:
        return [pending for pending in self.session.pending if pending.kind != "timer"]

    def pending(self, kind: str) -> str:
        (found,) = [p for p in self.session.pending if p.kind == kind]
        return found.effect_id

    def dispositions(self) -> dict[str, str]:
        """How each message ended, by its event's id; a second end would be an error."""
        ended = [d for record in self.records for d in record.dispositions]
        assert len({d.message for d in ended}) == len(ended), "a message ended twice"
        return {d.message: d.how for d in ended}


def said(record: StepRecord) -> list[str]:
    """What the person reads because of this step."""
    bodies = [effect.body for effect in record.effects]
    texts = [b.text for b in bodies if isinstance(b, SendMessage | CloseReply)]
    return [text for text in texts if text]


def prompts(record: StepRecord) -> list[str]:
    return [e.body.prompt for e in record.effects if isinstance(e.body, CallModel)]


def skills(record: StepRecord) -> list[tuple[str, str]]:
    return [(e.body.skill, e.body.text) for e in record.effects if isinstance(e.body, RunSkill)]


def forwarded(record: StepRecord) -> list[str]:
    return [e.body.text for e in record.effects if isinstance(e.body, Forward)]


def requested(record: StepRecord) -> list[Effect]:
    return [effect for effect in record.effects if isinstance(effect.body, REQUESTS)]
