"""The vocabulary of recorded facts: an envelope and a closed union of bodies.

Written by ingress (messages), by runners (outcomes), by egress (`ReplyUndelivered`), by hosts
(`ClockReached`, `FlowActivated`) and by people (`OperatorSaid`, …) to `conversation.events`; read
by the sessions hop. Wire tags are written by hand: a Python rename never changes a recorded log.
New fields have defaults; anything else is a new schema with an upcaster and a recorded history.

What it never does: hold anything of the host (appended, stepped: columns or headers there).
"""

from typing import Annotated, Literal

import msgspec

from engine.personal import Personal

EVENT_SCHEMA = 1

Ms = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""Milliseconds since the epoch, UTC, up to the year 9999: a number that no clock shows is refused
where it is read, since it would stop its session for ever."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""What JSON readers in other languages take as a whole number."""


class Record(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False
):
    """Base of all event and effect bodies: immutable, tagged by `type`."""


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Where replies to a session go, as its channel needs it."""

    channel: str
    account: str
    conversation: Personal
    sender: Personal
    reply_token: Personal = ""
    reply_token_expires_ms: Ms | None = None


class MadeBy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What made an outcome, so that it can be explained later."""

    runner: str
    weights: str = ""
    template: str = ""
    sampler: str = ""
    attempt: Count = 1
    request_digest: str = ""
    latency_ms: Count = 0
    tokens: Count = 0


FailureReason = Literal[
    "deadline",  # the session stopped waiting
    "expired",  # nobody started it in time
    "timeout",  # it was started and took too long
    "unavailable",  # the server or process is not there, after retries
    "refused",  # it was understood and will not be done
    "empty",  # an answer of no text
    "died",  # the process that did it died
    "error",  # it failed and says how
]


class MessageReceived(Record, frozen=True, kw_only=True, tag="MessageReceived"):
    """A person wrote to the bot. `message_id` is the platform's own."""

    message_id: str
    text: Personal
    address: Address
    quoted: Personal = ""
    locale: str = ""


class ModelReplied(Record, frozen=True, kw_only=True, tag="ModelReplied"):
    """`fallback` is the action of the fallback strategy that the text matched, if one did."""

    text: Personal
    cut: bool = False
    fallback: str | None = None
    made_by: MadeBy | None = None


class ModelFailed(Record, frozen=True, kw_only=True, tag="ModelFailed"):
    reason: FailureReason
    detail: str = ""
    made_by: MadeBy | None = None


class SkillDone(Record, frozen=True, kw_only=True, tag="SkillDone"):
    text: Personal
    cut: bool = False
    fallback: str | None = None
    made_by: MadeBy | None = None


class SkillFailed(Record, frozen=True, kw_only=True, tag="SkillFailed"):
    reason: FailureReason
    detail: str = ""
    made_by: MadeBy | None = None


class IntentFound(Record, frozen=True, kw_only=True, tag="IntentFound"):
    """`score_permille` is 0 to 1 000: records hold no floats."""

    intent: str
    score_permille: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 1000
    made_by: MadeBy | None = None


class IntentFailed(Record, frozen=True, kw_only=True, tag="IntentFailed"):
    reason: FailureReason
    detail: str = ""
    made_by: MadeBy | None = None


class ReplyUndelivered(Record, frozen=True, kw_only=True, tag="ReplyUndelivered"):
    """A reply that the platform did not take, or may not have taken (`unknown`)."""

    reply_id: str
    state: Literal["failed", "unknown"]
    detail: str = ""


class ClockReached(Record, frozen=True, kw_only=True, tag="ClockReached"):
    """Only wakes: the host saw its clock pass `due_ms`. Late or doubled ones change nothing."""

    due_ms: Ms


class FlowRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A flow's name, version (from 1) and digest of its code and configuration."""

    name: str
    version: Count
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}#{self.digest[:8]}"


class FlowActivated(Record, frozen=True, kw_only=True, tag="FlowActivated"):
    """From here on, sessions run this flow. `config` is the whole canonical configuration.

    As a control record its session id is empty; the one that a session steps has an id derived
    from the control record's and the session's.
    """

    flow: FlowRef
    config: msgspec.Raw = msgspec.Raw(b"{}")


class OperatorSaid(Record, frozen=True, kw_only=True, tag="OperatorSaid"):
    text: Personal
    operator: str


class HandedBack(Record, frozen=True, kw_only=True, tag="HandedBack"):
    operator: str


class StopRequested(Record, frozen=True, kw_only=True, tag="StopRequested"):
    """The person pressed stop; `reply_id` is the reply they saw, if any.

    A stop of a reply that has ended meanwhile is late; one that names none stops what goes on.
    """

    reply_id: str = ""


class FeedbackGiven(Record, frozen=True, kw_only=True, tag="FeedbackGiven"):
    reply_id: str
    verdict: Literal["up", "down"]
    text: Personal = ""


class Redriven(Record, frozen=True, kw_only=True, tag="Redriven"):
    """A person asked that the message of event `of`, which was set aside, be taken after all.

    Whatever its age. It and its message are one message, and are taken once: a redrive of what the
    session has stepped meanwhile is a duplicate, and so is the message when it comes after it.
    """

    of: str
    message: MessageReceived
    operator: str = ""


Outcome = ModelReplied | ModelFailed | SkillDone | SkillFailed | IntentFound | IntentFailed
Body = (
    MessageReceived
    | ModelReplied
    | ModelFailed
    | SkillDone
    | SkillFailed
    | IntentFound
    | IntentFailed
    | ReplyUndelivered
    | ClockReached
    | FlowActivated
    | OperatorSaid
    | HandedBack
    | StopRequested
    | FeedbackGiven
    | Redriven
)
OUTCOMES = (ModelReplied, ModelFailed, SkillDone, SkillFailed, IntentFound, IntentFailed)
FAILURES = (ModelFailed, SkillFailed, IntentFailed)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A recorded fact of one session, past tense.

    `at_ms`: milliseconds since the epoch, UTC, when the appender recorded it. `sent_ms`: when the
    platform says that it was sent. `effect`: the request that this event ends. `source`: the hop or
    channel account that appended it. `trace`: a W3C traceparent.
    """

    id: str
    session_id: str
    at_ms: Ms
    source: str
    body: Body
    sent_ms: Ms | None = None
    effect: str | None = None
    schema: int = EVENT_SCHEMA
    trace: str | None = None

    @property
    def type(self) -> str:
        """The body's wire tag."""
        return type(self.body).__struct_config__.tag  # type: ignore[return-value]

    @property
    def text(self) -> str:
        """What was said in it, where something was; else empty."""
        return getattr(self.body, "text", "")


def message_id(event: Event) -> str:
    """What an event is known by: its own id, or a redriven message's first one."""
    body = event.body
    return body.of if isinstance(body, Redriven) else event.id
