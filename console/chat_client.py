"""A person at a terminal: the web chat's protocol, spoken from the other side.

Keeps a conversation over the engine's restarts: what was written is sent again until it is
acknowledged, and after a reconnect the server sends the lines after the last one seen. Used by
`ai-assistant chat`; reads nothing but the socket. What it never does: print (the caller does).
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import websockets

from adapters.channels import webchat_wire as wire
from engine.errors import Refused, Unavailable
from engine.personal import Personal

T = TypeVar("T")

QUIET_S = 0.4
"""No line for so long after the engine is done: the answer is whole."""
CONNECT_WITHIN_S = 5.0
AGAIN_AFTER_S = 0.5

_decoder: msgspec.json.Decoder[wire.ServerFrame] = msgspec.json.Decoder(wire.ServerFrame)
_encoder = msgspec.json.Encoder()

Seen = wire.LineFrame | wire.FrameFrame | wire.StateFrame | wire.ErrorFrame


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who the person at this terminal is, kept between two starts."""

    cookie: str
    conversation: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an answer. `author`: bot or operator."""

    author: str
    text: Personal
    at_ms: int


def identity(file: Path, make: Callable[[], Identity], *, new: bool = False) -> Identity:
    """The kept identity; a new conversation where `new`, a new person where nothing is kept.

    Raises: Refused where the file cannot be written, and what `make` raises.
    """
    kept = _kept(file)
    if kept is not None and not new:
        return kept
    made = make() if kept is None else Identity(cookie=kept.cookie, conversation=new_conversation())
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(made))
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from error
    return made


def _kept(file: Path) -> Identity | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Identity)
    except (OSError, msgspec.DecodeError):
        return None


def new_conversation() -> str:
    """An id that nobody else has: of a conversation, or of a message."""
    return secrets.token_hex(16)


def new_person(url: str) -> Identity:
    """A new person at the engine at `url`. Raises Unavailable where none answers."""
    try:
        answer = httpx.post(f"{url}/api/person", timeout=CONNECT_WITHIN_S)
    except httpx.HTTPError as error:
        raise nobody(url, error) from None
    cookie = answer.cookies.get("person")
    if cookie is None:
        raise Refused(f"{url} is not an assistant's chat (status {answer.status_code})")
    return Identity(cookie=cookie, conversation=new_conversation())


class Conversation:
    """One conversation over one socket at a time. `seen` is called with each frame to show."""

    def __init__(self, url: str, who: Identity, *, seen: Callable[[Seen], None]) -> None:
        self._url = url.replace("http", "ws", 1) + "/ws/chat"
        self._who = who
        self._seen = seen
        self._last = 0
        self._unsent: dict[str, str] = {}
        self._socket: websockets.ClientConnection | None = None
        self.welcomed = asyncio.Event()

    async def run(self, *, give_up: bool) -> None:
        """Stay connected until cancelled; with `give_up`, only as long as the first socket lives.

        Raises: Unavailable where no engine answers the first time; Refused where it turns us away.
        """
        while True:
            try:
                await self._once()
            except (OSError, websockets.InvalidMessage, TimeoutError) as error:
                if give_up or not self.welcomed.is_set():
                    raise nobody(self._url, error) from None
            except websockets.InvalidHandshake as error:
                raise Refused(f"{self._url} turned us away: {error}") from None
            except websockets.ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else 1006
                if code == 4401:
                    raise Refused("the engine does not know this person: try --new") from None
                if give_up:
                    raise nobody(self._url, error) from None
            await asyncio.sleep(AGAIN_AFTER_S)

    @property
    def unsent(self) -> int:
        """Messages that the engine has not acknowledged yet."""
        return len(self._unsent)

    async def say(self, text: str) -> str:
        """Say something; it is sent again until it is acknowledged. Returns the message's id."""
        message_id = new_conversation()
        frame = wire.Message(conversation=self._who.conversation, id=message_id, text=text)
        self._unsent[message_id] = _encoder.encode(frame).decode()
        await self._send(self._unsent[message_id])
        return message_id

    async def _once(self) -> None:
        cookie = {"Cookie": f"person={self._who.cookie}"}
        async with websockets.connect(
            self._url, additional_headers=cookie, open_timeout=CONNECT_WITHIN_S
        ) as socket:
            hello = wire.Hello(conversation=self._who.conversation, after=self._last)
            await socket.send(_encoder.encode(hello).decode())
            self._socket = socket
            try:
                async for data in socket:
                    await self._take(_decoder.decode(data))
            except msgspec.DecodeError:
                raise Refused(f"{self._url} is not an assistant of this version") from None
            finally:
                self._socket = None

    async def _take(self, frame: wire.ServerFrame) -> None:
        match frame:
            case wire.Welcome():
                self._last = min(self._last, frame.last)
                self.welcomed.set()
                for text in list(self._unsent.values()):
                    await self._send(text)
            case wire.Ack():
                self._unsent.pop(frame.id, None)
            case wire.LineFrame():
                self._last = max(self._last, frame.n)
                self._unsent.pop(frame.id, None)
                self._seen(frame)
            case wire.ErrorFrame():
                if frame.code != "unavailable":
                    self._unsent.pop(frame.id or "", None)
                self._seen(frame)
            case wire.FrameFrame() | wire.StateFrame():
                self._seen(frame)
            case wire.Pong():
                pass

    async def _send(self, text: str) -> None:
        if self._socket is not None and self.welcomed.is_set():
            # A socket that just died: the next welcome sends it again.
            with contextlib.suppress(websockets.ConnectionClosed):
                await self._socket.send(text)


async def ask_once(url: str, who: Identity, *, text: str, within_s: float) -> list[Said]:
    """Say `text` and wait until the engine has said all that it wants to; its lines.

    Raises: Unavailable where it does not answer in time; Refused where it refuses the message.
    """
    seen: asyncio.Queue[Seen] = asyncio.Queue()
    talk = Conversation(url, who, seen=seen.put_nowait)
    running = asyncio.create_task(talk.run(give_up=False))
    try:
        async with asyncio.timeout(within_s):
            await _either(talk.welcomed.wait(), running)
            mine = await talk.say(text)
            return [
                Said(author=line.author, text=line.text, at_ms=line.at_ms)
                async for line in _answers(seen, mine, running)
            ]
    except TimeoutError:
        raise Unavailable(
            f"no answer within {within_s:.0f} s: it goes on; look again later"
        ) from None
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Refused, Unavailable):
            await running


async def _answers(
    seen: "asyncio.Queue[Seen]", mine: str, running: "asyncio.Task[None]"
) -> AsyncIterator[wire.LineFrame]:
    """The engine's lines after ours, until it is not busy and has been quiet."""
    said, answered, busy = False, False, True
    while True:
        try:
            async with asyncio.timeout(QUIET_S if answered and not busy else None):
                frame = await _either(seen.get(), running)
        except TimeoutError:
            return
        match frame:
            case wire.LineFrame() if frame.id == mine:
                said = True
            case wire.LineFrame() if said:
                answered = True
                yield frame
            case wire.StateFrame():
                busy = frame.busy
            case wire.ErrorFrame() if frame.id == mine:
                raise Refused(frame.text)


async def _either(awaited: Coroutine[Any, Any, T], running: "asyncio.Task[None]") -> T:
    """What is awaited, unless the connection ends for good before it comes."""
    task = asyncio.create_task(awaited)
    try:
        await asyncio.wait({task, running}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        running.result()
        raise Unavailable("the connection ended")
    finally:
        task.cancel()


def nobody(url: str, error: Exception) -> Unavailable:
    """The error where no engine answers."""
    return Unavailable(
        f"no engine answers at {url} ({type(error).__name__}): start one with `ai-assistant run`"
    )
