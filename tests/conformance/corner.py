"""Corner, an IM platform in memory, and its channel: all that the channel's suites ask for.

For `test_corner`, where the channel passes, and `test_channel_suites_fail`, where each of its
subclasses breaks one promise. The platform calls a hook with JSON, is told texts by key, and can be
away, busy, silent, …, as IM platforms are. What it never does: hold a socket or read a clock.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec

from engine.errors import NoReceipt, Refused, Unavailable
from engine.ports import (
    Channel,
    Delivery,
    Frame,
    Gateway,
    Incoming,
    Line,
    Receipt,
    SessionView,
)
from testkit.conformance.channel_platform import BUSY_MS, Handed, Mood, Sight, Wrote

PATIENCE_S = 10
CLOSE_WITHIN_S = 0.5
TEXT_CHARS_MAX = 10_000

Hook = Callable[[bytes], Awaitable[tuple[int, str]]]


class Note(msgspec.Struct, kw_only=True):
    """What the platform posts to the hook. `reply`: of a press."""

    id: str
    person: str
    text: str = ""
    at_ms: int = 0
    button: Literal["stop", "up", "down", ""] = ""
    reply: str = ""


class Told(NamedTuple):
    """The platform's answer to a call."""

    status: int
    id: str = ""
    retry_s: int = 0


class Card:
    """One message on a person's screen."""

    def __init__(self, number: str, text: str, *, ended: bool) -> None:
        self.id, self.text, self.ended, self.changes = number, text, ended, 1


class Corner:
    """The platform: its server's side (`put`), and what the suites need of it.

    `keys`: it knows a repeated key again.
    """

    def __init__(self, make: Callable[["Corner"], Channel], *, keys: bool = True) -> None:
        self.keys = keys
        self.hook: Hook | None = None
        self._make = make
        self._mood: Mood = "well"
        self._screens: dict[str, list[Card]] = {}
        self._by_key: dict[str, Card] = {}

    # ---- the server's side ----------------------------------------------------------------------

    async def put(self, person: str, text: str, *, key: str, ended: bool = True) -> Told:
        """Show a text to a person; the same key again changes what is shown."""
        await asyncio.sleep(0)
        match self._mood:
            case "away":
                raise ConnectionRefusedError
            case "busy":
                return Told(429, retry_s=BUSY_MS // 1_000)
            case "refuses":
                return Told(403)
        if person not in self._screens:
            return Told(404)
        card = self._put(person, text, key=key, ended=ended)
        if self._mood == "silent":
            await asyncio.Event().wait()
        if self._mood == "drops":
            raise ConnectionResetError
        return Told(200, card.id)

    def _put(self, person: str, text: str, *, key: str, ended: bool) -> Card:
        card = self._by_key.get(key) if self.keys else None
        if card is None:
            card = Card(f"card-{len(self._by_key)}-{person}", text, ended=ended)
            self._screens[person].append(card)
            self._by_key[key if self.keys else card.id] = card
        elif (card.text, card.ended) != (text, ended):
            card.text, card.ended = text, ended
            card.changes += 1
        return card

    # ---- the suites' side -----------------------------------------------------------------------

    async def connect(self) -> Channel:
        return self._make(self)

    async def hand_over(self, wrote: Wrote) -> Handed:
        self._screens.setdefault(wrote.person, [])
        note = {"id": wrote.id, "person": wrote.person, "text": wrote.text, "at_ms": 1_000}
        return await self.hand_over_raw(json.dumps(note).encode())

    async def press(self, person: str, button: str, *, reply_id: str, press_id: str) -> Handed:
        note = {"id": press_id, "person": person, "button": button, "reply": reply_id}
        return await self.hand_over_raw(json.dumps(note).encode())

    async def hand_over_raw(self, payload: bytes) -> Handed:
        if self.hook is None:
            return Handed("kept")
        try:
            status, told = await asyncio.wait_for(self.hook(payload), PATIENCE_S)
        except Exception as error:
            return Handed("kept", repr(error))
        how: Literal["acknowledged", "refused", "kept"] = "kept"
        if status < 500:
            how = "acknowledged" if status == 200 else "refused"
        return Handed(how, told)

    async def sights(self, person: str) -> list[Sight]:
        cards = self._screens.get(person, [])
        return [Sight(card.id, card.text, card.ended, card.changes) for card in cards]

    def treat(self, mood: Mood) -> None:
        self._mood = mood


class CornerChat:
    """The channel. Its replies grow on one card, since the platform knows a key again."""

    kind, account, at_once = "corner", "main", False

    def __init__(self, corner: Corner) -> None:
        self.idempotent = corner.keys
        self._corner = corner
        self._gateway: Gateway | None = None
        self._in_hand: set[asyncio.Task[Any]] = set()
        self._people: dict[str, str] = {}
        self._newest: dict[str, tuple[int, int]] = {}
        self._fresh: dict[str, Frame] = {}
        self._ended: set[str] = set()
        self._painter: asyncio.Task[None] | None = None

    async def start(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._corner.hook = self.take

    async def close(self) -> None:
        self._gateway = None
        if self._painter is not None:
            self._painter.cancel()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=CLOSE_WITHIN_S)
        for accepting in self._in_hand:
            accepting.cancel()

    # ---- in -------------------------------------------------------------------------------------

    async def take(self, payload: bytes) -> tuple[int, str]:
        """The hook: status and what the person is told."""
        gateway = self._gateway
        if gateway is None:
            return 503, "starting or stopping"
        try:
            note = self.read(payload)
        except msgspec.ValidationError as error:
            return 422, str(error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 400, "no JSON"
        accepting = asyncio.ensure_future(self.pass_on(gateway, note))
        self._in_hand.add(accepting)
        accepting.add_done_callback(self._in_hand.discard)
        try:
            await accepting
        except Refused as error:
            return 422, str(error)
        except Unavailable as error:
            return 503, str(error)
        except Exception:
            return 500, "the bot has a bug"
        except asyncio.CancelledError:
            return 503, "stopping"
        return 200, ""

    def read(self, payload: bytes) -> Note:
        return msgspec.json.decode(payload, type=Note)

    def incoming(self, note: Note) -> Incoming:
        return Incoming(
            account=self.account,
            conversation=f"with {note.person}",
            sender=note.person,
            message_id=note.id,
            text=note.text,
            sent_ms=note.at_ms,
        )

    async def pass_on(self, gateway: Gateway, note: Note) -> None:
        talk = self.incoming(note)
        session_id = gateway.session_id(
            self.account, conversation=talk.conversation, sender=talk.sender
        )
        if note.button == "stop":
            await gateway.stop(session_id, reply_id=note.reply, request_id=note.id)
        elif note.button:
            await gateway.feedback(
                session_id, reply_id=note.reply, verdict=note.button, text="", request_id=note.id
            )
        else:
            self._people[session_id] = note.person
            await gateway.accept(talk)

    # ---- out ------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> Receipt:
        self._ended.add(delivery.reply_id)
        self._fresh.pop(delivery.reply_id, None)
        text = delivery.text or ""
        parts = [text[n : n + TEXT_CHARS_MAX] for n in range(0, len(text), TEXT_CHARS_MAX)]
        ids = []
        for n, part in enumerate(parts):
            key = f"{delivery.reply_id}-{n}"
            ids.append(await self.call(delivery.address.sender, part, key=key))
        return Receipt(platform_ids=tuple(ids))

    async def call(self, person: str, text: str, *, key: str) -> str:
        try:
            told = await self._corner.put(person, text, key=key)
        except ConnectionRefusedError:
            raise Unavailable("the platform cannot be reached") from None
        except ConnectionResetError:
            lost = "the platform did not answer: nobody knows whether it has the reply"
            raise (Unavailable(lost) if self.idempotent else NoReceipt(lost)) from None
        if told.status == 429:
            raise Unavailable("the platform is busy", retry_after_ms=told.retry_s * 1_000)
        if told.status != 200:
            raise Refused(f"the platform answers {told.status}")
        return told.id

    def show(self, frame: Frame) -> None:
        place = (frame.attempt, frame.n)
        if self._gateway is None or frame.session_id not in self._people:
            return
        if frame.reply_id in self._ended or place <= self._newest.get(frame.reply_id, (-1, -1)):
            return
        self._newest[frame.reply_id] = place
        self._fresh[frame.reply_id] = frame
        if self._painter is None or self._painter.done():
            self._painter = asyncio.create_task(self.paint())

    async def paint(self) -> None:
        """Show the latest of each reply, at the platform's pace."""
        while self._fresh:
            reply_id = next(iter(self._fresh))
            frame = self._fresh.pop(reply_id)
            with suppress(ConnectionError):
                person = self._people[frame.session_id]
                await self.draw(person, frame)
            await asyncio.sleep(0.01)

    async def draw(self, person: str, frame: Frame) -> None:
        await self._corner.put(person, frame.text, key=f"{frame.reply_id}-0", ended=False)

    def follows(self, session_id: str) -> bool:
        return False

    def stepped(self, view: SessionView) -> None:
        """The platform shows no states."""

    def wrote(self, lines: Sequence[Line]) -> None:
        """The platform keeps its own lines."""
