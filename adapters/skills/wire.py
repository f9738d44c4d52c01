"""The frames between the host and a worker process: a length of four bytes, then MessagePack.

A worker is opened with `Load`; then it says `Loaded`, and each `Call` ends in `Done` or `Failed`,
with any number of `Ask` and `Answer` between. `Describe` is the registry's, and ends in `Described`
or `Failed`. What they never hold: anything but plain data, so that neither side can make the other
run what it sent.
"""

import struct
from collections.abc import Callable

import msgspec

from engine.errors import InvalidRecord

FRAME_BYTES_MAX = 4 * 1024 * 1024
"""A text of a session is 64 KiB at most, and a skill's settings are small; beyond is rubbish."""

TEXT_BYTES_MAX = 512 * 1024
"""Of one text that a skill returns or asks: the hop cuts to an event's limit, this only bounds."""

_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all frames."""


class Load(Frame, frozen=True, kw_only=True, tag="load"):
    """Host: load these skills now. `targets`: skill name to `module:Class`."""

    targets: dict[str, str]


class Loaded(Frame, frozen=True, kw_only=True, tag="loaded"):
    """Worker: ready. `broken`: skill name to the type of the exception that its import raised."""

    broken: dict[str, str]


class Call(Frame, frozen=True, kw_only=True, tag="call"):
    """Host: run this skill. `n` is in every frame about this call: one of another is a breach, so
    that what a skill left running can never answer in the name of the next call.

    `within_ms`: what is left until the kill. `settings`: JSON.
    """

    n: int
    skill: str
    text: str
    settings: bytes
    session_id: str
    request_id: str
    deadline_ms: int
    within_ms: int
    locale: str
    model_languages: tuple[str, ...]
    has_model: bool


class Ask(Frame, frozen=True, kw_only=True, tag="ask"):
    """Worker: the running skill asks the model."""

    n: int
    prompt: str
    max_tokens: int
    within_ms: int


class Answer(Frame, frozen=True, kw_only=True, tag="answer"):
    """Host: what the model said; None with the reason why it did not."""

    n: int
    text: str | None
    reason: str = ""


class Done(Frame, frozen=True, kw_only=True, tag="done"):
    """Worker: the skill's text."""

    n: int
    text: str


class Failed(Frame, frozen=True, kw_only=True, tag="failed"):
    """Worker: it raised. `where`: import, construct, execute, return, get_metadata, metadata."""

    n: int
    where: str
    exception: str
    refused: bool = False


class Describe(Frame, frozen=True, kw_only=True, tag="describe"):
    """Registry: what does the skill at this target say of itself?"""

    target: str


class Described(Frame, frozen=True, kw_only=True, tag="described"):
    """Worker: the metadata as JSON, unchecked."""

    metadata: bytes


ToWorker = Load | Call | Answer | Describe
ToHost = Loaded | Ask | Done | Failed | Described

_encode = msgspec.msgpack.Encoder().encode
_decode_to_worker: Callable[[bytes], ToWorker] = msgspec.msgpack.Decoder(ToWorker).decode
_decode_to_host: Callable[[bytes], ToHost] = msgspec.msgpack.Decoder(ToHost).decode


def pack(frame: Frame) -> bytes:
    """The frame with its length before it. Raises InvalidRecord: too long, or a lone surrogate."""
    try:
        body = _encode(frame)
    except UnicodeEncodeError as error:
        raise InvalidRecord("a frame with text that is no UTF-8") from error
    if len(body) > FRAME_BYTES_MAX:
        raise InvalidRecord(f"a frame of {len(body)} bytes; at most {FRAME_BYTES_MAX}")
    return _LENGTH.pack(len(body)) + body


def body_length(head: bytes) -> int:
    """How long the frame is that these `LENGTH_BYTES` bytes begin. Raises InvalidRecord."""
    (length,) = _LENGTH.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise InvalidRecord(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX}")
    return int(length)


def to_worker(body: bytes) -> ToWorker:
    """Decode what the host sent. Raises InvalidRecord."""
    try:
        return _decode_to_worker(body)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"no frame for a worker: {error}") from error


def to_host(body: bytes) -> ToHost:
    """Decode what a worker sent. Raises InvalidRecord."""
    try:
        return _decode_to_host(body)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"no frame for the host: {error}") from error
