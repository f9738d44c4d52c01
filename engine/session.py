"""All that is known of one conversation, and the record of one step of it.

Made by `engine.step`; kept by hosts as canonical bytes (`engine.codec`). Nothing of the host is in
it: an equal log gives equal bytes on every host.
"""

import msgspec

from engine.effects import Effect
from engine.events import Address, Event, FlowRef
from engine.personal import Personal, PersonalRaw

SESSION_SCHEMA = 1
STEP_SCHEMA = 1


class TranscriptTurn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One user message and what was said after it. `n` counts from 1 within the dialog."""

    n: int
    user: Personal
    bot: Personal = ""


class Unanswered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message that awaits its disposition, and its turn.

    `event_id`: its own event's, also where a redrive brought it. `text`: what it said, once its
    turn has left the transcript; a person who takes over still has to read it.
    """

    event_id: str
    turn: int
    text: Personal = ""


class Pending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A request or a timer whose end the session awaits.

    `due_ms` (log time): when it fires by itself, with the trigger `on_due`. `turn`: the last one
    when the request was made; a later message is not what it answers, even one of the same step.
    A timer is a Pending of kind `timer`.
    """

    effect_id: str
    kind: str
    scope: str
    due_ms: int
    on_due: str
    turn: int = 0
    reply_id: str | None = None


class OpenReply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A streaming reply that its request fills and only the session closes."""

    reply_id: str
    effect_id: str
    scope: str


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One conversation. `seq` counts its records from 1; `now_ms` is the log's time.

    `data` is the flow's own typed record, encoded: only its flow can read it. `seen` holds the ids
    of the messages of the last 25 h (`engine.seen`).
    """

    id: str
    flow: FlowRef
    state: str
    data: PersonalRaw
    schema: int = SESSION_SCHEMA
    address: Address | None = None
    epoch: int = 1
    seq: int = 0
    now_ms: int = 0
    turns: int = 0
    transcript: tuple[TranscriptTurn, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    pending: tuple[Pending, ...] = ()
    open_replies: tuple[OpenReply, ...] = ()
    postponed: tuple[Event, ...] = ()
    seen: bytes = b""


class Considered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that was looked at and not taken, and the first of its conditions that failed."""

    row: int
    failed: str


class Microstep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One transition: the `row`-th of the flow's table (0-based), from leaf to leaf."""

    trigger: str
    row: int
    source: str
    dest: str
    considered: tuple[Considered, ...] = ()


class Disposition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How a message ended: answered, merged, forwarded, ignored, refused, expired or failed.

    `message`: the event in which the person wrote it, also where a redrive brought it.
    """

    message: str
    how: str
    note: str = ""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one event did to its session: the place of record for effects.

    `note`: duplicate, late, expired, ignored, postponed, refused, where the event led to no
    microstep of its own. `error`: why the step fell back to `step_failed`. `digest`: BLAKE2b-16 of
    the new session's canonical bytes, hex.
    """

    session_id: str
    seq: int
    event_id: str
    flow: FlowRef
    before: str
    after: str
    digest: str
    schema: int = STEP_SCHEMA
    path: tuple[Microstep, ...] = ()
    dispositions: tuple[Disposition, ...] = ()
    effects: tuple[Effect, ...] = ()
    cancelled: tuple[str, ...] = ()
    note: str = ""
    error: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The new session and the record of the step, each with its canonical bytes."""

    session: Session
    encoded: bytes
    record: StepRecord
    encoded_record: bytes
