"""What the llama.cpp runner and its child process say to each other, and how it is framed.

Place in the data path: between `models.llama_cpp` (the parent) and `models.llama_child`. One
socket pair; each message is four bytes of length, most significant first, then JSON. The child's
standard output is no part of it: llama.cpp prints there as it likes.

Requests are numbered by the parent. Each `Ask` ends in exactly one `Ended` or `Failed`.
"""

import msgspec

from engine.effects import PromptLine
from engine.events import FailureReason

MESSAGE_BYTES_MAX = 4 << 20
"""A prompt is at most some 100 KiB; a longer message is a broken stream."""
LENGTH_BYTES = 4
BATCH_TOKENS = 128
"""Tokens that the child decodes at once; the parent needs it to reckon the memory. llama.cpp ends
the whole process when it is given more than it was told."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages."""


class Load(Message, frozen=True, kw_only=True, tag="Load"):
    """The first message: load this file. `n_ctx`: tokens of each slot; a multiple of 256."""

    path: str
    n_ctx: int
    slots: int
    n_threads: int


class Ask(Message, frozen=True, kw_only=True, tag="Ask"):
    """Answer these lines. The same seed gives the same choices."""

    number: int
    lines: tuple[PromptLine, ...]
    max_tokens: int
    seed: int
    temperature_permille: int
    repeat_penalty_permille: int
    top_p_permille: int


class Drop(Message, frozen=True, kw_only=True, tag="Drop"):
    """Stop working on this request; an unknown or ended one is no error."""

    number: int


class Loaded(Message, frozen=True, kw_only=True, tag="Loaded"):
    """The model is ready. `template`: a digest of its chat template."""

    template: str


class CannotLoad(Message, frozen=True, kw_only=True, tag="CannotLoad"):
    """The model will never work; the child ends."""

    text: str


class Said(Message, frozen=True, kw_only=True, tag="Said"):
    """More of an answer: to be put after what came before."""

    number: int
    text: str


class Ended(Message, frozen=True, kw_only=True, tag="Ended"):
    """The answer ends. `cut`: not of itself. `left_out`: prompt lines that had no room."""

    number: int
    tokens: int
    cut: bool
    left_out: int


class Failed(Message, frozen=True, kw_only=True, tag="Failed"):
    """The request ends without an answer, or in the middle of one."""

    number: int
    reason: FailureReason
    detail: str


ToChild = Load | Ask | Drop
ToParent = Loaded | CannotLoad | Said | Ended | Failed

to_child = msgspec.json.Decoder(ToChild)
to_parent = msgspec.json.Decoder(ToParent)
_encoder = msgspec.json.Encoder()


def frame(message: ToChild | ToParent) -> bytes:
    """Return a message's bytes with their length before them."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def body_bytes(head: bytes) -> int:
    """Return the length that a frame's head names. Raises ValueError on a broken stream."""
    length = int.from_bytes(head, "big")
    if not 0 < length <= MESSAGE_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes")
    return length
