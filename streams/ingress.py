"""Hop 1, ingress: what a channel took in becomes an event of its session.

In: `Incoming`, and what people ask of a session (stop, feedback, an operator's words). Out: the
`Append` that a host commits, and acknowledges only after that. Next hop: `streams.sessions`.
Plain ids become pseudonyms here. It never reads a clock, never waits, never talks to a platform.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from engine import codec, pseudonym
from engine.errors import InvalidRecord, Refused
from engine.events import (
    Address,
    Body,
    ClockReached,
    Event,
    FeedbackGiven,
    HandedBack,
    MessageReceived,
    Ms,
    OperatorSaid,
    Redriven,
    StopRequested,
)
from engine.ids import derive, message_event_id
from engine.limits import MESSAGE_AGE_MAX_MS, MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from engine.ports import Append, DeadLetter, Incoming, Line

ID_CHARS_MAX = 200
"""A platform's ids; longer ones are not from a platform."""

REPLY_TOKEN_BYTES_MAX = 2 * 1024
"""What a platform gives for answering, a token or an address; it stands in the session's record."""

# Control characters but tab and line feed: they mean nothing in a message, and break terminals.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_IN_AN_ID = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Taken(NamedTuple):
    """An event to append, the person's own line if the channel shows it, a letter taken again."""

    append: Append
    line: Line | None = None
    letter: DeadLetter | None = None


def cleaned(text: str) -> str:
    """Text that can be recorded: no control characters, no halves of a character."""
    if text.isprintable():  # nearly all: neither of the two is printable
        return text.strip()
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", text)).strip()


class Ingress:
    """The ingress of one channel account.

    `keyed_by`: which platform ids make a session. `known`: whether a session exists, asked only
    while older keys are kept. `shows_lines`: the channel shows a person their own lines.
    """

    def __init__(
        self,
        channel: str,
        account: str,
        *,
        keys: tuple[pseudonym.Key, ...],
        known: Callable[[str], bool],
        keyed_by: Literal["both", "conversation", "sender"] = "both",
        shows_lines: bool = False,
    ) -> None:
        self._channel = channel
        self._account = account
        self._keys = keys
        self._known = known
        self._keyed_by = keyed_by
        self._shows_lines = shows_lines
        self._source = f"{channel}:{account}"

    def require_ours(self, account: str) -> None:
        """Raises Refused for another account: its people would be found in this one's sessions."""
        if account != self._account:
            raise Refused(f"account: this is the gateway of {self._source!r} and of no other")

    def is_ours(self, session_id: str) -> bool:
        """Whether it can be the id of a session of this account."""
        return session_id.startswith(f"{self._source}:") and session_id.isprintable()

    def session_id(self, conversation: str, sender: str) -> str:
        """The session that these platform ids lead to."""
        who = {
            "both": (conversation, sender),
            "conversation": (conversation,),
            "sender": (sender,),
        }[self._keyed_by]
        return pseudonym.find_session(
            self._channel, self._account, who=who, keys=self._keys, known=self._known
        )

    def message(self, incoming: Incoming, *, now_ms: int) -> Taken:
        """A message as its event. Raises Refused with what the sender can do about it.

        Ids are recorded as they came: cleaned, two could become one. A time that no clock shows, or
        a reply token that cannot be one, counts as not given, since the sender cannot mend it and
        should not lose a message: without a time it is never too old, and without a token the
        channel answers in its ordinary way.
        """
        self.require_ours(incoming.account)
        _check_id("message id", incoming.message_id)
        _check_id("conversation id", incoming.conversation)
        _check_id("sender id", incoming.sender)
        text = _bounded(incoming.text, "text", MESSAGE_TEXT_BYTES_MAX)
        if not text:
            raise Refused("the message has no text: write something")
        body = MessageReceived(
            message_id=incoming.message_id,
            text=text,
            address=self._address(incoming),
            quoted=_bounded(incoming.quoted, "quoted text", QUOTED_TEXT_BYTES_MAX),
            locale=cleaned(incoming.locale)[:35],
        )
        session = self.session_id(incoming.conversation, incoming.sender)
        sent_ms = _time(incoming.sent_ms)
        event = Event(
            id=message_event_id(session, self._account, message_id=incoming.message_id),
            session_id=session,
            at_ms=now_ms,
            source=self._source,
            # A sender whose clock is ahead did not write in the future.
            sent_ms=None if sent_ms is None else min(sent_ms, now_ms),
            body=body,
        )
        line = own_line(event, body) if self._shows_lines else None
        return Taken(_append(event), line)

    def _address(self, incoming: Incoming) -> Address:
        token = incoming.reply_token
        if _NOT_IN_AN_ID.search(token) or len(token.encode()) > REPLY_TOKEN_BYTES_MAX:
            token = ""
        return Address(
            channel=self._channel,
            account=self._account,
            conversation=incoming.conversation,
            sender=incoming.sender,
            reply_token=token,
            reply_token_expires_ms=_time(incoming.reply_token_expires_ms) if token else None,
        )


def stop_requested(session_id: str, reply_id: str, *, request_id: str, now_ms: int) -> Taken:
    """The person pressed stop. Raises Refused."""
    _check_reply(reply_id)
    body = StopRequested(reply_id=reply_id)
    return _asked(session_id, "stop", request_id, body=body, source="person", now_ms=now_ms)


def feedback_given(
    session_id: str,
    reply_id: str,
    *,
    verdict: Literal["up", "down"],
    text: str,
    now_ms: int,
    request_id: str = "",
) -> Taken:
    """The person judged a reply; the last of their verdicts holds.

    `request_id` makes a repetition recognisable. Without one, a verdict and text for a reply counts
    once: somebody who goes back to their first verdict is not heard. Raises Refused.
    """
    _check_reply(reply_id)
    text = _bounded(text, "feedback", QUOTED_TEXT_BYTES_MAX)
    body = FeedbackGiven(reply_id=reply_id, verdict=verdict, text=text)
    key = request_id or f"{reply_id}\x1f{verdict}\x1f{text}"
    return _asked(session_id, "feedback", key, body=body, source="person", now_ms=now_ms)


def operator_said(
    session_id: str, text: str, *, operator: str, request_id: str, now_ms: int
) -> Taken:
    """An operator answers a handed-over person."""
    text = _bounded(text, "text", MESSAGE_TEXT_BYTES_MAX)
    if not text:
        raise Refused("the answer has no text: write something")
    body = OperatorSaid(text=text, operator=_name(operator))
    return _asked(session_id, "operator", request_id, body=body, source="operator", now_ms=now_ms)


def handed_back(session_id: str, *, operator: str, request_id: str, now_ms: int) -> Taken:
    """An operator gives the dialog back to the bot."""
    body = HandedBack(operator=_name(operator))
    return _asked(session_id, "hand-back", request_id, body=body, source="operator", now_ms=now_ms)


def redriven_id(letter: DeadLetter) -> str:
    """The event by which a dead letter is taken again: asked for twice at once, it is one event."""
    return derive(letter.session_id, "redriven", letter.partition, letter.offset)


def redriven(letter: DeadLetter, *, operator: str, now_ms: int) -> Taken:
    """A dead letter's message, to be taken again whatever its age, or its wake-up of a session, at
    once. Raises Refused.
    """
    number = f"dead letter {letter.number}"
    if letter.topic:
        raise Refused(f"{number} is no event: only a message or a wake-up can be taken again")
    if letter.redriven_ms is not None:
        raise Refused(f"{number} was taken again before: `sessions show` says what came of it")
    try:
        event = codec.decode_event(letter.value)
    except InvalidRecord as error:
        raise Refused(f"{number} cannot be read, and so not be taken again: {error}") from None
    body: Redriven | ClockReached
    match event.body:
        case ClockReached():
            body = event.body
        case MessageReceived():
            body = Redriven(of=event.id, message=event.body, operator=_name(operator))
        case Redriven(of=of, message=message):
            body = Redriven(of=of, message=message, operator=_name(operator))
        case _:
            raise Refused(
                f"{number} is a {event.type}: only a message or a wake-up can be taken again"
            )
    again = Event(
        id=redriven_id(letter),
        session_id=event.session_id,
        at_ms=now_ms,
        source="operator",
        body=body,
    )
    return Taken(_append(again), letter=replace(letter, redriven_ms=now_ms))


def _asked(session_id: str, kind: str, key: str, *, body: Body, source: str, now_ms: int) -> Taken:
    event_id = derive(session_id, kind, key)
    event = Event(id=event_id, session_id=session_id, at_ms=now_ms, source=source, body=body)
    return Taken(_append(event))


def _name(operator: str) -> str:
    return cleaned(operator)[:ID_CHARS_MAX]


def _check_id(field: str, value: str) -> None:
    if not value or len(value) > ID_CHARS_MAX:
        raise Refused(f"{field} has {len(value)} characters: 1 to {ID_CHARS_MAX}")
    if _NOT_IN_AN_ID.search(value):
        raise Refused(f"{field} has control characters or halves of a character: send it as it is")


def _check_reply(reply_id: str) -> None:
    """Raises Refused for what no reply of ours is called; a press may name none."""
    if reply_id:
        _check_id("reply id", reply_id)


def own_line(event: Event, body: MessageReceived) -> Line:
    """A person's words as they read them; marked where they came too late to be answered."""
    sent_ms = event.at_ms if event.sent_ms is None else event.sent_ms
    return Line(
        session_id=event.session_id,
        id=body.message_id,
        author="user",
        text=body.text,
        at_ms=event.at_ms,
        how="expired" if event.at_ms - sent_ms > MESSAGE_AGE_MAX_MS else "",
    )


def _time(given_ms: int | None) -> int | None:
    """A platform's time in the range of the engine's records; None where it is outside of it."""
    try:
        return None if given_ms is None else msgspec.convert(given_ms, Ms)
    except msgspec.ValidationError:
        return None


def _bounded(text: str, field: str, bytes_max: int) -> str:
    text = cleaned(text)
    size = len(text.encode())
    if size > bytes_max:
        raise Refused(f"{field} has {size} bytes: at most {bytes_max}; send it in parts")
    return text


def _append(event: Event) -> Append:
    return Append(event.session_id, event.id, codec.encode(event))
