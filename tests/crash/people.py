"""People at the web chat's wire protocol who keep what they saw, over every death of the engine.

Each has a cookie, conversations, the last line of each, and messages of their own that they send
again until they are acknowledged. What contradicts what they saw before is a fault, noted at once:
a gap between lines, a line that came twice or changed, a frame of a reply that was closed.

What they never do: look at the engine from any other side.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from adapters.channels import webchat_wire as wire

OPEN_MESSAGES_MAX = 4
"""Unanswered messages of one person: the flow refuses the ninth that it has to queue."""

ANSWER_WITHIN_S = 5.0
"""Then it was stopped, or the engine is dead for longer than usual."""

AGAIN_AFTER_S = 2.0
STOPS = 0.1
"""How likely a person presses stop when a frame has come."""

HELLOS_MAX = 24
"""Conversations followed on one socket at the end; the protocol allows 32."""

WAITS = ("", "", "wait 20 ", "wait 20 ", "wait 100 ", "wait 400 ")
LOST = (OSError, ConnectionClosed, InvalidHandshake, httpx.HTTPError, TimeoutError)

_decode = msgspec.json.Decoder(wire.ServerFrame).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a person talks.

    `think_s`: mean time between two things that one does. `begins`: how messages begin, any of
    these. `conversation_messages`: then a new conversation is begun.
    """

    think_s: float = 0.7
    begins: Sequence[str] = WAITS
    conversation_messages: int = 40


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A line as it was read."""

    id: str
    author: str
    text: str
    how: str


@dataclass(kw_only=True)
class Said:
    """A message of one's own."""

    text: str
    said_s: float = 0.0  # first
    sent_s: float = 0.0  # last
    sends: int = 0
    acked: bool = False
    answered_s: float | None = None
    answered_at: str = ""  # the server that showed the answer


@dataclass
class Conversation:
    """What one person knows of one conversation."""

    id: str
    said: dict[str, Said] = field(default_factory=dict)
    lines: dict[int, Seen] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # of each line's id
    answers: set[str] = field(default_factory=set)  # texts of the bot's lines
    stops: dict[str, Said] = field(default_factory=dict)
    frames: dict[str, tuple[tuple[int, int], str]] = field(default_factory=dict)
    """The newest of each reply, and the server that showed it."""
    streaming: str = ""  # the reply of the last frame
    faults: list[str] = field(default_factory=list)
    asked_after: list[int] = field(default_factory=list)  # each hello on the present socket
    cursor: int | None = None  # on the present socket; None before its welcome
    at: str = ""  # the server of the present socket
    framed: tuple[str, float] = ("", 0.0)  # the last frame's reply, and when it came
    stall_s: float = 0.0  # the longest wait between two frames of one reply

    @property
    def last(self) -> int:
        """The last line without a gap before it."""
        return len(self.lines)

    @property
    def unacked(self) -> list[tuple[str, Said]]:
        return [(key, said) for key, said in self.said.items() if not said.acked]

    @property
    def open(self) -> int:
        """Messages that an answer may still come to."""
        since_s = time.monotonic() - ANSWER_WITHIN_S
        recent = list(self.said.values())[-2 * OPEN_MESSAGES_MAX :]
        return sum(said.sent_s > since_s and said.text not in self.answers for said in recent)

    def welcome(self, frame: wire.Welcome) -> None:
        if frame.last not in self.asked_after:
            self.faults.append(f"asked for lines after {self.asked_after}, got {frame.last}")
        # A hello may overtake the answer to the one before: only the last one's counts.
        self.cursor = frame.last if frame.last == self.asked_after[-1] else None

    def line(self, frame: wire.LineFrame) -> None:
        if self.cursor is None:  # on its way before the hello that is being answered
            return
        if frame.n != self.cursor + 1:
            self.faults.append(f"line {frame.n} came after line {self.cursor}")
        self.cursor = frame.n
        seen = Seen(id=frame.id, author=frame.author, text=frame.text, how=frame.how)
        if self.lines.setdefault(frame.n, seen) != seen:
            self.faults.append(f"line {frame.n} is another one than before: {seen.id}")
        if self.numbers.setdefault(frame.id, frame.n) != frame.n:
            self.faults.append(f"line {frame.id} has two numbers, {frame.n} is one")
        if frame.author == "bot":
            self._answered(frame.text.split("\n"))  # merged messages are echoed as lines
        if frame.id == self.streaming:
            self.streaming = ""

    def _answered(self, texts: Sequence[str]) -> None:
        self.answers.update(texts)
        for text in texts:
            said = self.said.get(text.rpartition(" ")[2])
            if said is not None and said.answered_s is None:
                said.answered_s, said.answered_at = time.monotonic(), self.at

    def frame(self, frame: wire.FrameFrame) -> None:
        if frame.reply in self.numbers:
            self.faults.append(f"a frame of reply {frame.reply} came after its line")
        place = (frame.attempt, frame.n)
        newest, its_server = self.frames.get(frame.reply, (place, self.at))
        if place < newest:
            # A server knows only what it showed itself: from another one the greatest wins here.
            if its_server == self.at:
                told = f"frame {place} of reply {frame.reply} is older than the one before"
                self.faults.append(told)
            return
        self.frames[frame.reply] = place, self.at
        (reply, at_s), now_s = self.framed, time.monotonic()
        if reply == frame.reply:
            self.stall_s = max(self.stall_s, now_s - at_s)
        self.framed = (frame.reply, now_s)
        self.streaming = frame.reply

    def ack(self, key: str) -> None:
        known = self.said.get(key) or self.stops.get(key)
        if known is None:
            self.faults.append(f"an ack of {key}, which was never sent")
        else:
            known.acked = True


class Person:
    """One person: talks while `talking`, and always comes back.

    `urls`: servers that are one to a person; a new connection goes to any of them. `heard` is
    called on each welcome, with the time when its socket began to connect.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        seed: int,
        heard: Callable[[float], None] = lambda connect_s: None,
        habits: Habits = Habits(),
    ) -> None:
        self._name = name
        self._urls = urls
        self._heard = heard
        self._habits = habits
        self._chance = random.Random(f"{seed}/{name}")
        self._cookie = ""
        self._count = 0
        self._ws: ClientConnection | None = None
        self.talking = True
        self.conversations = [Conversation(f"{name}-talk-0000")]
        self._connect_s = 0.0
        self._url = urls[0]

    @property
    def current(self) -> Conversation:
        return self.conversations[-1]

    @property
    def at(self) -> str:
        """The server of the present or the last connection."""
        return self._url

    @property
    def said(self) -> int:
        """How many messages, in all conversations."""
        return sum(len(conversation.said) for conversation in self.conversations)

    @property
    def settled(self) -> bool:
        """Everything that was said is acknowledged."""
        return not any(conversation.unacked for conversation in self.conversations)

    @property
    def followed(self) -> list[Conversation]:
        """Those that something may still come in, or has to go out."""
        return [c for c in self.conversations if c.unacked or c in self.conversations[-2:]]

    async def live(self) -> None:
        """Connect, talk, and connect again when the connection breaks; until cancelled."""
        while True:
            try:
                await self._connected()
            except LOST:
                self._ws = None
                await asyncio.sleep(self._chance.uniform(0.01, 0.08))

    async def _connected(self) -> None:
        async with self._connect() as ws:
            self._ws = ws
            for conversation in self.conversations:
                conversation.asked_after.clear()
                conversation.at = self._url
            for conversation in self.followed:
                await self._hello(conversation, after=conversation.last)
                for key, said in conversation.unacked:
                    await self._send_message(conversation, key, said)
            talks = asyncio.create_task(self._talk())
            try:
                async for data in ws:
                    self._take(data)
                    if self.current.streaming and self._chance.random() < STOPS:
                        await self._stop()
            finally:
                talks.cancel()
                await asyncio.gather(talks, return_exceptions=True)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[ClientConnection]:
        self._url = self._chance.choice(self._urls)
        if not self._cookie:
            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{self._url}/api/person", timeout=5)
                answer.raise_for_status()
                self._cookie = answer.cookies["person"]
        began_s = time.monotonic()
        async with connect(
            f"{self._url.replace('http', 'ws', 1)}/ws/chat",
            additional_headers={"Cookie": f"person={self._cookie}"},
            open_timeout=5,
            ping_interval=None,
            compression=None,
        ) as ws:
            self._connect_s = began_s
            yield ws

    # ---- reading ---------------------------------------------------------------------------------

    def _take(self, data: str | bytes) -> None:
        frame = _decode(data)
        about = {c.id: c for c in self.conversations}.get(getattr(frame, "conversation", ""))
        match frame:
            case wire.Welcome() if about is not None:
                about.welcome(frame)
                self._heard(self._connect_s)
            case wire.LineFrame() if about is not None:
                about.line(frame)
            case wire.FrameFrame() if about is not None:
                about.frame(frame)
            case wire.Ack() if about is not None:
                about.ack(frame.id)
            case wire.ErrorFrame(code="unavailable"):
                pass  # sent again later
            case wire.StateFrame():
                pass
            case _:
                self.current.faults.append(f"not expected: {frame}")

    # ---- talking ---------------------------------------------------------------------------------

    async def _talk(self) -> None:
        chance = self._chance
        while True:
            await asyncio.sleep(chance.expovariate(1 / self._habits.think_s))
            await self._send_again()
            if not self.talking:
                continue
            doing = chance.random()
            if doing < 0.03:
                assert self._ws is not None
                await self._ws.close()
            elif doing < 0.06:
                await self._hello(self.current, after=chance.randint(0, self.current.last))
            elif doing < 0.1 and self.current.said:
                # An ack may have been lost on its way: what was acknowledged may come again, too.
                key, said = chance.choice(list(self.current.said.items()))
                await self._send_message(self.current, key, said)
            else:
                for _ in range(chance.choice((1, 1, 1, 2, 3))):
                    await self._say()

    async def _say(self) -> None:
        if self.current.open >= OPEN_MESSAGES_MAX:
            return
        if len(self.current.said) >= self._habits.conversation_messages:
            place = f"{self._name}-talk-{len(self.conversations):04}"
            self.conversations.append(Conversation(place, at=self._url))
            await self._hello(self.current, after=0)
        self._count += 1
        key = f"{self._name}-{self._count:06}"
        begin = self._chance.choice(self._habits.begins)
        said = Said(text=f"{begin}this is {key}", said_s=time.monotonic())
        self.current.said[key] = said
        await self._send_message(self.current, key, said)

    async def _stop(self) -> None:
        self._count += 1
        key, reply = f"{self._name}-s{self._count:06}", self.current.streaming
        self.current.stops[key] = Said(text=reply)
        self.current.streaming = ""
        await self._send(wire.Stop(conversation=self.current.id, id=key, reply=reply))

    async def _send_again(self) -> None:
        now_s = time.monotonic()
        for conversation in self.followed:
            for key, said in conversation.unacked:
                if conversation.cursor is not None and now_s - said.sent_s > AGAIN_AFTER_S:
                    await self._send_message(conversation, key, said)

    async def _send_message(self, conversation: Conversation, key: str, said: Said) -> None:
        said.sent_s = time.monotonic()
        said.sends += 1
        await self._send(wire.Message(conversation=conversation.id, id=key, text=said.text))

    async def _hello(self, conversation: Conversation, *, after: int) -> None:
        conversation.asked_after.append(after)
        conversation.cursor = None
        conversation.framed = ("", 0.0)
        await self._send(wire.Hello(conversation=conversation.id, after=after))

    async def _send(self, frame: wire.FromClient) -> None:
        assert self._ws is not None
        await self._ws.send(_encode(frame).decode())

    # ---- at the end ------------------------------------------------------------------------------

    async def read_to(self, heads: dict[str, int]) -> None:
        """Read each conversation up to the line that the log ends with. Raises TimeoutError."""
        for start in range(0, len(self.conversations), HELLOS_MAX):
            part = self.conversations[start : start + HELLOS_MAX]
            async with asyncio.timeout(30), self._connect() as ws:
                self._ws = ws
                for conversation in part:
                    await self._hello(conversation, after=conversation.last)
                while any(c.last < heads.get(c.id, 0) or c.cursor is None for c in part):
                    self._take(await ws.recv())
