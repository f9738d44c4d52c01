"""What a flow asks of the world: requests, which end in an outcome, and orders, which do not.

Made by `engine.turn` inside a step, recorded in the step record (the place of record; queues point
to it or copy it), performed by runners and by egress.
"""

import msgspec

from engine.events import Record
from engine.personal import Personal

EFFECT_SCHEMA = 1


class FallbackStrategy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pattern over what a model or skill says, and what the flow does where it matches."""

    pattern: str
    action: str


class CallModel(Record, frozen=True, kw_only=True, tag="CallModel"):
    """Request: let the model answer `prompt`, after the transcript's turns `first` to `last`.

    The turns are named by number and digest, not copied: `engine.transcript.expand` makes the form
    that goes to a runner from the session, purely. `first` > `last` names no turns.
    """

    reply_id: str
    prompt: Personal
    first: int
    last: int
    digest: str
    stream: bool
    max_tokens: int
    system: str = ""
    fallbacks: tuple[FallbackStrategy, ...] = ()


class RunSkill(Record, frozen=True, kw_only=True, tag="RunSkill"):
    """Request: run the named skill on this text. The skill's idempotency key is the effect id."""

    skill: str
    text: Personal
    locale: str = ""
    fallbacks: tuple[FallbackStrategy, ...] = ()


class FindIntent(Record, frozen=True, kw_only=True, tag="FindIntent"):
    """Request: which intent is this text?"""

    text: Personal


class SendMessage(Record, frozen=True, kw_only=True, tag="SendMessage"):
    """Order: deliver this whole reply."""

    reply_id: str
    text: Personal
    author: str = "bot"


class CloseReply(Record, frozen=True, kw_only=True, tag="CloseReply"):
    """Order: the reply ends here.

    With `text`, that is its final text. Without, what was last shown stays; if nothing was ever
    shown, nothing will be, and a receipt is left all the same. `how`: answered, stopped (by the
    person), cancelled (its scope was left) or failed.
    """

    reply_id: str
    how: str
    text: Personal | None = None


class Withdraw(Record, frozen=True, kw_only=True, tag="Withdraw"):
    """Order: a reply whose sending has not been marked is never sent.

    Without `reply_id`: each such reply of this session that an earlier step ordered.
    """

    reply_id: str | None = None


class Forward(Record, frozen=True, kw_only=True, tag="Forward"):
    """Order: show this message to the person who has taken over."""

    message: str
    text: Personal


class Cancel(Record, frozen=True, kw_only=True, tag="Cancel"):
    """Order: stop working on this request; its outcome is no longer awaited."""

    request: str


Request = CallModel | RunSkill | FindIntent
EffectBody = (
    CallModel | RunSkill | FindIntent | SendMessage | CloseReply | Withdraw | Forward | Cancel
)
REQUESTS = (CallModel, RunSkill, FindIntent)


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One effect. `cause`: the event that led to it. `scope`: the state that a request belongs to.

    `expires_ms` (log time): a request not started by then is dropped unstarted.
    """

    id: str
    session_id: str
    epoch: int
    cause: str
    body: EffectBody
    scope: str | None = None
    expires_ms: int | None = None
    schema: int = EFFECT_SCHEMA


class PromptLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a prompt. `role`: system, user or assistant."""

    role: str
    text: Personal


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A `CallModel` expanded for a runner: nothing in it needs the session."""

    effect_id: str
    session_id: str
    reply_id: str
    lines: tuple[PromptLine, ...]
    max_tokens: int
    stream: bool
    expires_ms: int
    fallbacks: tuple[FallbackStrategy, ...] = ()
    request_digest: str = ""


class SkillRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A `RunSkill` expanded for a runner."""

    effect_id: str
    session_id: str
    skill: str
    text: Personal
    locale: str
    expires_ms: int
    fallbacks: tuple[FallbackStrategy, ...] = ()


class IntentRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A `FindIntent` expanded for a runner."""

    effect_id: str
    session_id: str
    text: Personal
    expires_ms: int


RunnerRequest = ModelRequest | SkillRequest | IntentRequest
