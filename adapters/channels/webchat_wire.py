"""The web chat's wire protocol without a wire: text in, typed frames out.

`Wire` is one socket's reading side: it decodes and checks what the client sent and says what is to
be done; what the server sends is a closed set of frames with hand-written tags. Between the socket
(`webchat_socket`) and whoever speaks the protocol: the chat page, the crash test, the HTTP twins.

What it never does: I/O, clocks, or raising on anything a client may send.
"""

import re
from typing import Annotated, Literal

import msgspec

from engine.limits import MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from engine.personal import Personal

FRAME_CHARS_MAX = 160 * 1024
"""JSON may escape each byte of a text into six characters: 6 × (16 + 8) KiB, and the envelope."""

CONVERSATIONS_MAX = 32
"""Conversations that one socket follows: a sidebar full of them; each costs memory here."""

RUBBISH_MAX = 20
"""Frames in a row that cannot be understood, before the socket is closed with code 1008."""

VERDICT_TEXT_BYTES_MAX = 4 * 1024
"""What a person adds to a thumb: a remark, not an essay."""

Ident = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]
"""Chosen by the client: conversations, messages, requests."""

ReplyId = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
"""Given by the server; contains the session's id."""


Time = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Milliseconds since the epoch, as far as a browser can count."""


class FromClient(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the frames that a client sends. Unknown fields are ignored: newer pages may add."""


class Hello(FromClient, frozen=True, kw_only=True, tag="hello"):
    """Follow a conversation from line `after` on: that is the last line the client has."""

    conversation: Ident
    after: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    locale: Annotated[str, msgspec.Meta(max_length=35, pattern=r"^[A-Za-z0-9-]*\Z")] = ""


class Message(FromClient, frozen=True, kw_only=True, tag="message"):
    """The person wrote. The same `id` again is the same message.

    `sent_ms`: when they sent it, by the server's time (`Welcome.now_ms`), however often it was sent
    again since. After a day it is shown and not answered; without it, it is never too old.
    """

    conversation: Ident
    id: Ident
    text: Personal
    quoted: Personal = ""
    sent_ms: Time | None = None


class Stop(FromClient, frozen=True, kw_only=True, tag="stop"):
    """The person pressed stop on a reply; `id` makes a repetition recognisable."""

    conversation: Ident
    id: Ident
    reply: Annotated[str, msgspec.Meta(max_length=512)] = ""


class Feedback(FromClient, frozen=True, kw_only=True, tag="feedback"):
    """The person judged a reply. `id`, where there is one, makes a repetition recognisable.

    A client that lets people change their mind and back again sends a new one with each verdict.
    """

    conversation: Ident
    id: Ident | None = None
    reply: ReplyId
    verdict: Literal["up", "down"]
    text: Personal = ""


class Ping(FromClient, frozen=True, kw_only=True, tag="ping"):
    """The client wants to know whether the connection lives."""


class FromServer(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False
):
    """Base of the frames that the server sends."""


class Welcome(FromServer, frozen=True, kw_only=True, tag="welcome"):
    """The lines after `last` follow. Less than the hello's `after`: forget what you have.

    `now_ms`: the time by the server's log, since a client's clock may be wrong by days.
    """

    conversation: str
    last: int
    now_ms: int


class LineFrame(FromServer, frozen=True, kw_only=True, tag="line"):
    """A durable line. One with a reply's id replaces that reply's open frame.

    `how` of a person's line is `expired` where it came too late to be answered.
    """

    conversation: str
    n: int
    id: str
    author: str
    text: Personal
    html: Personal
    at_ms: int
    how: str


class Ack(FromServer, frozen=True, kw_only=True, tag="ack"):
    """The message, or the request, of this id is durable."""

    conversation: str
    id: str


class FrameFrame(FromServer, frozen=True, kw_only=True, tag="frame"):
    """An open reply's text so far; the greatest (attempt, n) wins."""

    conversation: str
    reply: str
    attempt: int
    n: int
    text: Personal
    html: Personal


class StateFrame(FromServer, frozen=True, kw_only=True, tag="state"):
    """Where the conversation stands. `state` is empty before its first message.

    `replies`: the open ones, also before their first frame, so that a stop can name what it means.
    """

    conversation: str
    state: str
    busy: bool
    person: bool
    replies: tuple[str, ...] = ()


ErrorCode = Literal[
    "bad_frame",  # not understood: the text names the field and the fix
    "too_long",  # a text, or the whole frame
    "hello_first",  # the conversation was not opened on this socket
    "too_many_conversations",
    "no_person",  # the cookie is missing or not ours
    "refused",  # understood, and will not be done
    "unavailable",  # not now: keep it and send it again
    "internal",  # a bug of the server's
]


class ErrorFrame(FromServer, frozen=True, kw_only=True, tag="error"):
    """What went wrong, why, and the fix. Over HTTP it is the body of every error."""

    code: ErrorCode
    text: str
    conversation: str | None
    id: str | None
    retry_after_ms: int | None = None


class Pong(FromServer, frozen=True, kw_only=True, tag="pong"):
    """The connection lives."""


ClientFrame = Hello | Message | Stop | Feedback | Ping
ServerFrame = Welcome | LineFrame | Ack | FrameFrame | StateFrame | ErrorFrame | Pong

NO_UTF8 = "bytes that are no UTF-8: send one JSON object in UTF-8"

_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_encoder = msgspec.json.Encoder()

_FIXES = {
    "type": "use one of hello, message, stop, feedback, ping",
    "conversation": "8 to 64 of A-Z a-z 0-9 _ -, chosen once by the client and kept",
    "id": "8 to 64 of A-Z a-z 0-9 _ -, new for each message and the same when it is sent again",
    "after": "the number of the last line the client has, a whole number from 0",
    "text": "a string",
    "quoted": "a string, or leave it out",
    "reply": "the id of a reply as the server sent it",
    "verdict": "up or down",
    "sent_ms": "milliseconds since the epoch, a whole number, or leave it out",
    "locale": "a language tag such as zh-CN, or leave it out",
}


def encode(frame: ServerFrame) -> str:
    """The text of one WebSocket frame."""
    return _encoder.encode(frame).decode()


def fault(
    code: ErrorCode,
    text: str,
    *,
    about: ClientFrame | None = None,
    retry_after_ms: int | None = None,
) -> ErrorFrame:
    """An error, tied to the conversation and the id of the frame it is about."""
    return ErrorFrame(
        code=code,
        text=text,
        conversation=getattr(about, "conversation", None),
        id=getattr(about, "id", None),
        retry_after_ms=retry_after_ms,
    )


def explain(error: msgspec.DecodeError) -> str:
    """Say of a body that could not be decoded which field is wrong, and what is right."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return (
            f"not valid JSON: {text}. "
            "Send one JSON object, in UTF-8 and without lone surrogates (\\ud800 to \\udfff)"
        )
    what, _, path = text.partition(" - at ")
    missing = re.search(r"required field `(\w+)`", what)
    field = missing[1] if missing else path.strip("`$.") or "the frame"
    fix = _FIXES.get(field, "a JSON object with a `type`")
    return f"field `{field}`: {what}. The fix: {fix}"


def language(accept: str) -> str:
    """The first language of an Accept-Language header; empty where it names none."""
    tag = accept.partition(",")[0].partition(";")[0].strip()
    return tag if len(tag) <= 35 and tag.replace("-", "").isalnum() and tag.isascii() else ""


def check_texts(frame: ClientFrame) -> ErrorFrame | None:
    """An error if a text of the frame is empty or over its limit."""
    limits: tuple[tuple[str, int], ...]
    match frame:
        case Message():
            if not frame.text.strip():
                return fault("bad_frame", "field `text`: it is empty. Write something", about=frame)
            limits = (("text", MESSAGE_TEXT_BYTES_MAX), ("quoted", QUOTED_TEXT_BYTES_MAX))
        case Feedback():
            limits = (("text", VERDICT_TEXT_BYTES_MAX),)
        case _:
            return None
    for field, most in limits:
        size = len(getattr(frame, field).encode())
        if size > most:
            text = f"field `{field}`: {size} bytes in UTF-8, at most {most}. Shorten or split it"
            return fault("too_long", text, about=frame)
    return None


class MessageBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the HTTP twin of `message`."""

    id: Ident
    text: Personal
    quoted: Personal = ""
    sent_ms: Time | None = None


def read_message(conversation: str, body: bytes) -> Message | ErrorFrame:
    """A message that came over HTTP, checked like one that came over a socket."""
    try:
        said = msgspec.json.decode(body, type=MessageBody)
        fields = {"conversation": conversation, **msgspec.structs.asdict(said)}
        message = msgspec.convert({"type": "message", **fields}, Message)
    except msgspec.DecodeError as error:
        return fault("bad_frame", explain(error))
    except UnicodeDecodeError:
        return fault("bad_frame", NO_UTF8)
    return check_texts(message) or message


def read_hello(conversation: str, after: str) -> Hello | ErrorFrame:
    """A question for lines that came over HTTP; `after` is text from the query."""
    fields = {"type": "hello", "conversation": conversation, "after": after}
    try:
        return msgspec.convert(fields, Hello, strict=False)
    except msgspec.ValidationError as error:
        return fault("bad_frame", explain(error))


class Wire:
    """The reading side of one socket: which conversations it opened, how much rubbish it sent."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self._rubbish = 0

    @property
    def hopeless(self) -> bool:
        """True after `RUBBISH_MAX` frames in a row that could not be understood."""
        return self._rubbish >= RUBBISH_MAX

    def take(self, data: str | bytes) -> ClientFrame | ErrorFrame:
        """What the client wants, or the error to answer it with. A good hello opens."""
        read = self._read(data)
        self._rubbish = self._rubbish + 1 if isinstance(read, ErrorFrame) else 0
        if isinstance(read, Ping | ErrorFrame):
            return read
        if isinstance(read, Hello):
            return self._open(read)
        if read.conversation not in self.opened:
            text = "this socket has not opened the conversation: send a hello for it first"
            return fault("hello_first", text, about=read)
        return check_texts(read) or read

    def _open(self, hello: Hello) -> ClientFrame | ErrorFrame:
        if hello.conversation not in self.opened and len(self.opened) >= CONVERSATIONS_MAX:
            text = f"a socket follows at most {CONVERSATIONS_MAX}: open another socket for more"
            return fault("too_many_conversations", text, about=hello)
        self.opened.add(hello.conversation)
        return hello

    def _read(self, data: str | bytes) -> ClientFrame | ErrorFrame:
        if isinstance(data, bytes):
            return fault("bad_frame", "a binary frame: send JSON in text frames")
        if len(data) > FRAME_CHARS_MAX:
            text = f"a frame of {len(data)} characters, at most {FRAME_CHARS_MAX}: split it"
            return fault("too_long", text)
        try:
            return _decoder.decode(data)
        except msgspec.DecodeError as error:
            return fault("bad_frame", explain(error))
        except UnicodeEncodeError:
            return fault("bad_frame", "lone surrogates in the text: send well-formed UTF-8")
