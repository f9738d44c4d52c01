"""What OpenAI-compatible servers are asked and answer, decoded at the edge.

Place in the data path: inside `models.openai_compatible`. Unknown fields are passed over: servers
add their own. What is not understood is a `Rubbish`, which never holds what was in it.

Source: OpenAI API reference, "Create chat completion"; WHATWG HTML, "Server-sent events".
"""

import re
from collections.abc import Iterator

import msgspec

LINE_BYTES_MAX = 1 << 20
"""One event of a stream is some hundred bytes; a longer line is no stream of events."""
DONE = b"[DONE]"
CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Rubbish(Exception):
    """The server said something that is no chat completion; the text says what kind of thing."""


class Text(msgspec.Struct, frozen=True):
    """A message, or what is added to it."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One answer. A stream has `delta`, a whole answer `message`."""

    delta: Text | None = None
    message: Text | None = None
    finish_reason: str | None = None

    @property
    def text(self) -> str:
        """What it says, or adds."""
        part = self.delta or self.message
        return (part.content if part else None) or ""


class Usage(msgspec.Struct, frozen=True):
    completion_tokens: int | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An error as servers describe it. `message` may quote the prompt: it is never shown."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class Completion(msgspec.Struct, frozen=True):
    """A whole answer, a part of a streamed one, or an error."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: ServerError | str | None = None


_decoder = msgspec.json.Decoder(Completion)


def decode(data: bytes) -> Completion:
    """Return what the server said. Raises: Rubbish."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        raise Rubbish("JSON that is no chat completion") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Rubbish("what is not JSON in UTF-8") from None


def named_error(data: bytes) -> str:
    """Return the error's own short code, where the body has one; never its message."""
    try:
        error = decode(data).error
    except Rubbish:
        return ""
    if not isinstance(error, ServerError):
        return ""
    for name in (error.code, error.type):
        if isinstance(name, str) and CODE.fullmatch(name):
            return name
    return ""


class EventLines:
    """Cuts the bytes of an event stream into its `data` fields, however they arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived; yield each `data` that is whole now. Raises: Rubbish."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise Rubbish("a line without end")
        for line in lines:
            # Comments keep a connection alive; other fields mean nothing in a completion.
            if line.startswith(b"data:"):
                yield line[5:].strip()

    def end(self) -> Iterator[bytes]:
        """Yield what the stream ended with, where it did not end its last line."""
        yield from self.feed(b"\n")
