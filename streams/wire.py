"""What stands on each topic: a row's key, headers and value, and how each is read again.

Between the roles of a cluster: `streams.partition_worker` writes most of it in its transactions;
runners, egress, clock and gateways read it. Pure: bytes in, records out. Values are canonical JSON
that a person with a console consumer can read; times of the host's are headers, never in a value.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from adapters.kafka.records import Fetched, Headers, Row
from engine import codec
from engine.effects import (
    CloseReply,
    Effect,
    IntentRequest,
    ModelRequest,
    RunnerRequest,
    SendMessage,
    SkillRequest,
)
from engine.errors import InvalidRecord
from engine.events import Address, Count, Ms
from engine.ids import account_of, is_session_id, session_of
from engine.limits import EFFECT_BYTES_MAX, EVENT_BYTES_MAX
from engine.ports import DeadLetter, Delivery, Frame, Line, LogRecord, StepRow
from engine.session import Session
from streams.clock import woken_again_ms
from streams.host_state import HandedOver
from streams.sessions import Order, first_due
from streams.topics import T

R = TypeVar("R")
_NO_TEXT = (ValueError, TypeError, AttributeError)
"""What is raised by a header that is not as it was written; anybody may have made it null."""


def text_of(key: bytes) -> str:
    """The id that a row is keyed by. Raises InvalidRecord."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise InvalidRecord("the key is no text") from None


def _read(
    decoder: msgspec.json.Decoder[R], value: bytes | None, what: str, *, most: int | None = None
) -> R:
    if most is not None and value is not None and len(value) > most:
        raise InvalidRecord(f"{what} of {len(value)} bytes: at most {most}")
    try:
        return decoder.decode(b"" if value is None else value)
    except (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError) as error:
        raise InvalidRecord(f"{what} cannot be read: {type(error).__name__}") from None


# Headers. A number that no clock shows, or no counter, would end whoever reckons with it.
_ms = partial(_read, msgspec.json.Decoder(Ms))
_count = partial(_read, msgspec.json.Decoder(Count))


# ---- conversation.events ---------------------------------------------------------------------


def copied_row(record: LogRecord, *, partition: int) -> Row:
    """An event of another log, with the time when it was appended there: the topic's own times are
    the brokers'."""
    headers = (("appended", b"%d" % record.appended_ms),)
    return Row(T.EVENTS, record.session_id.encode(), record.value, headers, partition)


def appended_ms(record: Fetched) -> int:
    """When an event was appended: to this log, or to the one that it was copied from."""
    for name, value in record.headers:
        if name == "appended":
            with suppress(InvalidRecord):
                return _ms(value, "header `appended`")
    return record.timestamp_ms


# ---- conversation.sessions -----------------------------------------------------------------------

WATERMARK, FLOW, ATTEMPT, PROMOTION = b"#watermark", b"#flow", b"#attempt", b"#promotion"
"""Keys of a partition's own rows beside its sessions', whose ids never begin so."""
HALF_PROMOTED = (
    "an embedded log is copied here and the copy is not finished: let `ai-assistant promote` end, "
    "or say it again where it was interrupted; then start the workers"
)
EXCUSED_MAX = 32


class Kept(NamedTuple):
    """A session as its partition's owner keeps it: encoded, decoded when an event touches it.

    `value` empty: none of its events was ever stepped. `lines`: how many its outbox has.
    `excused`: the newest events that were set aside and told of, so that none is told of twice.
    `due_ms`: its first deadline, or later, where `unwoken` wake-ups for it were set aside.
    `since_ms`: in a person's hands since then.
    """

    value: bytes
    due_ms: int | None = None
    lines: int = 0
    excused: tuple[str, ...] = ()
    since_ms: int | None = None
    unwoken: int = 0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are about to be stepped, `offset` to `last`, and how often that was begun and
    never ended. It stands until the watermark has passed it."""

    offset: int
    last: int
    begun: int


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to this offset is applied."""

    offset: int


def session_row(session_id: str, kept: Kept, *, partition: int) -> Row:
    """A session's newest bytes, with what the host knows of it in headers."""
    headers = [("lines", b"%d" % kept.lines)] if kept.lines else []
    if kept.due_ms is not None:
        headers.append(("due", b"%d" % kept.due_ms))
    if kept.since_ms is not None:
        headers.append(("since", b"%d" % kept.since_ms))
    if kept.unwoken:
        headers.append(("unwoken", b"%d" % kept.unwoken))
    if kept.excused:
        headers.append(("excused", ",".join(kept.excused).encode()))
    return Row(T.SESSIONS, session_id.encode(), kept.value, tuple(headers), partition)


def session_of_key(key: bytes) -> str:
    """The session that a row is of. Raises InvalidRecord."""
    session_id = text_of(key)
    if not is_session_id(session_id):
        raise InvalidRecord("the key is no session's")
    return session_id


def kept_of(value: bytes, headers: Headers) -> Kept:
    """The session that `session_row` wrote. Raises InvalidRecord."""
    if not headers:
        return Kept(value)
    named = dict(headers)
    try:
        excused = named.get("excused", b"").decode()
    except _NO_TEXT:
        raise InvalidRecord("header `excused` cannot be read") from None
    return Kept(
        value,
        due_ms=due_of(headers),
        lines=_count(named.get("lines", b"0"), "header `lines`"),
        excused=tuple(excused.split(",")) if excused else (),
        since_ms=_ms(named["since"], "header `since`") if "since" in named else None,
        unwoken=_count(named.get("unwoken", b"0"), "header `unwoken`"),
    )


def due_of(headers: Headers) -> int | None:
    """When the first of what a session has pending is due; None where nothing is.

    Raises InvalidRecord.
    """
    for name, value in headers:
        if name == "due":
            return _ms(value, "header `due`")
    return None


def kept(session: Session, encoded: bytes, *, before: Kept | None) -> Kept:
    """The session after a step."""
    due_ms = first_due(session.pending)
    if before is None:
        return Kept(encoded, due_ms)
    return before._replace(value=encoded, due_ms=due_ms, unwoken=0)


def unwoken(kept: Kept, due_ms: int, *, now_ms: int) -> Kept:
    """The session after its wake-up for `due_ms` was set aside: it is woken again, later."""
    if kept.due_ms is None or due_ms < kept.due_ms:
        return kept  # that deadline is not its own any more
    letters = kept.unwoken + 1
    return kept._replace(due_ms=woken_again_ms(letters, at_ms=now_ms), unwoken=letters)


def watermark_row(offset: int, *, partition: int) -> Row:
    """The partition's own row in its owner's transaction."""
    value = msgspec.json.encode(Watermark(offset=offset))
    return Row(T.SESSIONS, WATERMARK, value, partition=partition)


def flow_row(control: bytes, *, partition: int) -> Row:
    """The control record whose flow is active: a new owner begins with it."""
    return Row(T.SESSIONS, FLOW, control, partition=partition)


def attempt_row(attempt: Attempt, *, partition: int) -> Row:
    """Durable before the step that it is about."""
    return Row(T.SESSIONS, ATTEMPT, msgspec.json.encode(attempt), partition=partition)


class Promotion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an embedded log is copied here: a row of each partition, and records of `audit`.

    `source`: which log, as it was at the copy. `bases`: the first offset of the copy in each
    partition of conversation.events. `after`: what was copied last in `phase`.
    """

    source: str
    state: Literal["begun", "finished"]
    bases: tuple[int, ...]
    phase: str = ""
    after: int = 0


def promotion_row(promotion: Promotion, *, partition: int) -> Row:
    """A partition that has one which is not finished is nobody's to step."""
    return Row(T.SESSIONS, PROMOTION, msgspec.json.encode(promotion), partition=partition)


# They raise InvalidRecord.
watermark_of = partial(_read, msgspec.json.Decoder(Watermark), what="watermark")
attempt_of = partial(_read, msgspec.json.Decoder(Attempt), what="attempt")
promotion_of = partial(_read, msgspec.json.Decoder(Promotion), what="promotion")


# ---- conversation.steps --------------------------------------------------------------------------


def step_row(step: StepRow, *, stepped_ms: int, partition: int) -> Row:
    """A step record. A materialised one has no offset: its event is not in the log."""
    headers = [("seq", b"%d" % step.seq), ("event", step.event_id.encode())]
    headers.append(("stepped", b"%d" % stepped_ms))
    if step.offset > 0:
        headers.append(("offset", b"%d" % step.offset))
    return Row(T.STEPS, step.session_id.encode(), step.value, tuple(headers), partition)


# ---- effects.* -----------------------------------------------------------------------------------

REQUEST_TOPICS: Mapping[type, T] = {
    ModelRequest: T.MODEL,
    SkillRequest: T.SKILL,
    IntentRequest: T.INTENT,
}
_REQUESTS: Mapping[str, msgspec.json.Decoder[Any]] = {
    topic: msgspec.json.Decoder(kind) for kind, topic in REQUEST_TOPICS.items()
}


def request_row(request: RunnerRequest, *, partition: int | None = None) -> Row:
    """A request for its runners. `partition`: the session's, which the key would lead to, too."""
    key = request.session_id.encode()
    return Row(REQUEST_TOPICS[type(request)], key, codec.encode(request), partition=partition)


def request_of(record: Fetched) -> RunnerRequest:
    """Raises InvalidRecord."""
    request: RunnerRequest = _read(_REQUESTS[record.topic], record.value, "request")
    if not is_session_id(request.session_id):
        raise InvalidRecord("request is of no session")
    if session_of(request.effect_id) != request.session_id:
        raise InvalidRecord("request is not of the session that its id leads to")
    return request


def cancel_row(effect_id: str) -> Row:
    """Nobody awaits this request any more."""
    return Row(T.CANCEL, session_of(effect_id).encode(), effect_id.encode())


# ---- im.egress, im.frames, im.deliveries ---------------------------------------------------------


class _Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    effect: Effect
    address: Address | None = None
    at_ms: int = 0
    excuse: bool = False


SENT_BYTES_MAX = EFFECT_BYTES_MAX + EVENT_BYTES_MAX
"""An order: an effect, and an address, which came in an event. A topic takes three times as much;
but a delivery is made of it, and written again and again, each time with a little more in it."""

_order = msgspec.json.Decoder(_Order)


def account_key(session_id: str) -> bytes:
    """`channel:account` of a session: whoever owns it owns the account's limit."""
    return ":".join(account_of(session_id)).encode()


def order_row(order: Order) -> Row:
    """An order for the owner of its account."""
    effect, address, at_ms, excuse = order
    record = _Order(effect=effect, address=address, at_ms=at_ms, excuse=excuse)
    return Row(T.EGRESS, account_key(effect.session_id), codec.encode(record))


def order_of(record: Fetched) -> Order:
    """Raises InvalidRecord."""
    read = _read(_order, record.value, "order", most=SENT_BYTES_MAX)
    session_id, body = read.effect.session_id, read.effect.body
    if not is_session_id(session_id):
        raise InvalidRecord("order is of no session")
    # Its reply is the key of its delivery, beside which the partition has a row of its own.
    if isinstance(body, SendMessage | CloseReply) and session_of(body.reply_id) != session_id:
        raise InvalidRecord("order is not of the session that its reply leads to")
    return Order(read.effect, read.address, read.at_ms, excuse=read.excuse)


def frame_row(frame: Frame, *, outbox: frozenset[str]) -> Row:
    """A frame. `outbox`: the channels whose lines are kept here; their frames go by session, to the
    partition of whoever may have to keep what was last shown."""
    session_id = frame.session_id
    is_here = session_id.partition(":")[0] in outbox
    key = session_id.encode() if is_here else account_key(session_id)
    headers = (
        ("reply", frame.reply_id.encode()),
        ("order", b"%d.%d" % (frame.attempt, frame.n)),
    )
    return Row(T.FRAMES, key, codec.encode(frame), headers)


# What was shown may become a reply's text. They raise InvalidRecord.
frame_of = partial(_read, msgspec.json.Decoder(Frame), what="frame", most=SENT_BYTES_MAX)
delivery_of = partial(
    _read, msgspec.json.Decoder(Delivery), what="delivery", most=2 * SENT_BYTES_MAX
)


def frame_order(headers: Headers) -> tuple[str, tuple[int, int]]:
    """The reply of a frame and its place among the reply's frames, without decoding its text.

    Raises InvalidRecord.
    """
    named = dict(headers)
    try:
        attempt, _, n = named["order"].partition(b".")
        return named["reply"].decode(), (int(attempt), int(n))
    except (KeyError, *_NO_TEXT):
        raise InvalidRecord("frame without its reply or its place in it") from None


def delivery_row(delivery: Delivery, *, partition: int) -> Row:
    """A delivery's newest state, beside the orders of its account."""
    key = delivery.reply_id.encode()
    return Row(T.DELIVERIES, key, codec.encode(delivery), partition=partition)


# ---- im.outbox -----------------------------------------------------------------------------------


class View(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="view"
):
    """What people may know of a session besides its lines: the newest one holds.

    `replies`: open ones; `closed`: those that ended just now, most of them with a line.
    `handed_over`: for operators, while a person has taken over.
    """

    session_id: str
    seq: Count
    state: str
    busy: bool = False
    replies: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    handed_over: HandedOver | None = None


class Said(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="line"
):
    """One numbered line of a conversation."""

    line: Line


_shown: msgspec.json.Decoder[View | Said] = msgspec.json.Decoder(View | Said)


def outbox_row(shown: View | Said, *, partition: int) -> Row:
    """A line or a view, for all who hold the person's socket."""
    session_id = shown.session_id if isinstance(shown, View) else shown.line.session_id
    return Row(T.OUTBOX, session_id.encode(), codec.encode(shown), partition=partition)


def shown_of(value: bytes | None) -> View | Said:
    """Raises InvalidRecord."""
    return _read(_shown, value, "line or view")


# ---- dead.letters --------------------------------------------------------------------------------

_letter = msgspec.json.Decoder(DeadLetter)


def letter_row(letter: DeadLetter) -> Row:
    """A letter; a later one of the same number takes its place."""
    return Row(T.DEAD, letter.number.encode(), codec.encode(letter))


def letter_of(value: bytes | None) -> DeadLetter:
    """Raises InvalidRecord."""
    return _read(_letter, value, "dead letter")


def letters_of(records: Sequence[Fetched]) -> list[DeadLetter]:
    """All letters of the topic, each as it was last written. Raises InvalidRecord."""
    letters = (letter_of(record.value) for record in records)
    return list({letter.number: letter for letter in letters}.values())
