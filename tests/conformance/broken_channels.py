"""Channels that break one promise each: `corner`'s, with one thing wrong.

For `test_broken_channels`, which wants the suites to notice. The comment is the promise.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from engine.errors import Refused, Unavailable
from engine.ports import Delivery, Frame, Gateway, Incoming, Line, Receipt
from tests.conformance.corner import CornerChat, Note

log = logging.getLogger(__name__)


class Nameless(CornerChat):  # kind and account stand in a session's id
    account = "main:1"


class Trims(CornerChat):  # texts are passed on as they are
    def incoming(self, note: Note) -> Incoming:
        return replace(super().incoming(note), text=" ".join(note.text.split()))


class SameSender(CornerChat):  # people are told apart
    def incoming(self, note: Note) -> Incoming:
        return replace(super().incoming(note), sender="somebody")


class OwnIds(CornerChat):  # a repetition has the platform's id
    numbers = itertools.count()

    def incoming(self, note: Note) -> Incoming:
        return replace(super().incoming(note), message_id=f"own-{next(self.numbers)}")


class NowSent(CornerChat):  # … and the time at which it was sent
    def incoming(self, note: Note) -> Incoming:
        return replace(super().incoming(note), sent_ms=time.time_ns())


class Overtakes(CornerChat):  # messages are accepted in order
    async def pass_on(self, gateway: Gateway, note: Note) -> None:
        await asyncio.sleep(0.2 if note.text == "1" else 0)
        await super().pass_on(gateway, note)


class AcksFirst(CornerChat):  # acknowledged after the append
    async def take(self, payload: bytes) -> tuple[int, str]:
        taking = asyncio.create_task(super().take(payload))
        await asyncio.wait({taking}, timeout=0.05)
        return taking.result() if taking.done() else (200, "")


class AcksAll(CornerChat):  # what cannot be appended is not acknowledged
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (200 if status == 503 else status), told


class Silent(CornerChat):  # what is refused is told
    async def take(self, payload: bytes) -> tuple[int, str]:
        return (await super().take(payload))[0], ""


class Chatty(CornerChat):  # a log line quotes nobody
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        if status != 200:
            log.error("cannot take %s", payload)
        return status, told


class Endless(CornerChat):  # what is no message is not kept for ever
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (500 if status == 422 and "`$" in told else status), told


class Vague(CornerChat):  # … and the field is named
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return status, "there is something wrong" if "`$" in told else told


class Cuts(CornerChat):  # a long message is whole, or refused
    def incoming(self, note: Note) -> Incoming:
        return replace(super().incoming(note), text=note.text[:1_000])


class Deaf(CornerChat):  # a stopped channel acknowledges nothing
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (200 if told == "starting or stopping" else status), told


class ClosesOnce(CornerChat):  # a channel that was never started is closed
    async def close(self) -> None:
        assert self._gateway is not None
        await super().close()


class Hangs(CornerChat):  # closing ends
    async def close(self) -> None:
        self._gateway = None
        while self._in_hand:
            await asyncio.sleep(0.01)


class AcksAtTheEnd(CornerChat):  # what is left at the close is not acknowledged
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (200 if told == "stopping" else status), told


class LosesAtTheEnd(CornerChat):  # what is durable at the close is acknowledged
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (503, "stopping") if self._gateway is None else (status, told)


class OwnReceipts(CornerChat):  # the receipt has the platform's ids
    async def send(self, delivery: Delivery) -> Receipt:
        await super().send(delivery)
        return Receipt(platform_ids=(delivery.reply_id,))


class Broadcasts(CornerChat):  # a reply is for one person
    async def send(self, delivery: Delivery) -> Receipt:
        for person in set(self._people.values()) - {delivery.address.sender}:
            await self.call(person, delivery.text or "", key=f"{person}-{delivery.reply_id}")
        return await super().send(delivery)


class Shortens(CornerChat):  # a long reply is whole
    async def call(self, person: str, text: str, *, key: str) -> str:
        return await super().call(person, text[:5_000], key=key)


class Raises(CornerChat):  # errors of send are Unavailable or Refused
    async def send(self, delivery: Delivery) -> Receipt:
        if "\x00" in (delivery.text or "") or delivery.address.sender == "nobody":
            raise KeyError("no such thing")
        return await super().send(delivery)


class NeedsTokens(CornerChat):  # a reply arrives without a token
    async def send(self, delivery: Delivery) -> Receipt:
        if not delivery.address.reply_token:
            raise Refused("there is no token")
        return await super().send(delivery)


class Repeats(CornerChat):  # what claims to be idempotent is
    async def call(self, person: str, text: str, *, key: str) -> str:
        return await super().call(person, text, key=f"{id(text)}-{next(OwnIds.numbers)}")


class ClaimsToBeQuick(CornerChat):  # what claims to be at once waits for nothing
    at_once = True


class Told(CornerChat):  # telling it something never raises
    def wrote(self, lines: Sequence[Line]) -> None:
        log.info(lines[-1].n)


class Blocks(CornerChat):  # … and never blocks
    def show(self, frame: Frame) -> None:
        time.sleep(0.0003)


# ---- calls ---------------------------------------------------------------------------------------


class RefusesAll(CornerChat):  # a platform that is away is Unavailable
    async def call(self, person: str, text: str, *, key: str) -> str:
        try:
            return await super().call(person, text, key=key)
        except Unavailable as error:
            raise Refused(str(error)) from None


class Impatient(CornerChat):  # a busy platform says when to come back
    async def call(self, person: str, text: str, *, key: str) -> str:
        try:
            return await super().call(person, text, key=key)
        except Unavailable as error:
            raise Unavailable(str(error), retry_after_ms=100) from None


class Quotes(CornerChat):  # an error quotes nothing that was said
    async def call(self, person: str, text: str, *, key: str) -> str:
        try:
            return await super().call(person, text, key=key)
        except Refused as error:
            raise Refused(f"{error}: {text}") from None


class Insists(CornerChat):  # a cancelled send ends
    async def call(self, person: str, text: str, *, key: str) -> str:
        return await asyncio.shield(asyncio.ensure_future(super().call(person, text, key=key)))


class Leaks(CornerChat):  # … and costs no other
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pool = asyncio.Semaphore(20)

    async def call(self, person: str, text: str, *, key: str) -> str:
        await self._pool.acquire()
        told = await super().call(person, text, key=key)
        self._pool.release()
        return told


class TriesAgain(CornerChat):  # what may have arrived is not sent again without a key
    async def call(self, person: str, text: str, *, key: str) -> str:
        try:
            return await super().call(person, text, key=key)
        except Refused:
            raise Unavailable("perhaps it did not arrive") from None


# ---- growing replies -----------------------------------------------------------------------------


class NeverShows(CornerChat):  # a reply is seen growing
    def show(self, frame: Frame) -> None:
        pass


class TwoCards(CornerChat):  # … and ends as one message
    async def draw(self, person: str, frame: Frame) -> None:
        await self._corner.put(person, frame.text, key=f"{frame.reply_id}-open", ended=False)


class LatestCall(CornerChat):  # the greatest (attempt, n) wins
    def show(self, frame: Frame) -> None:
        self._newest.clear()
        super().show(frame)


class ShowsAll(CornerChat):  # a burst is coalesced
    def show(self, frame: Frame) -> None:
        person = self._people.get(frame.session_id, "")
        self._corner._put(person, frame.text, key=f"{frame.reply_id}-0", ended=False)


class Reopens(CornerChat):  # an ended reply stays as it is
    def show(self, frame: Frame) -> None:
        self._ended.clear()
        super().show(frame)


class ShowsOthers(CornerChat):  # nobody sees another's reply
    async def draw(self, person: str, frame: Frame) -> None:
        for one in self._people.values():
            key = f"{frame.reply_id}-{0 if one == person else one}"
            await self._corner.put(one, frame.text, key=key, ended=False)


# ---- buttons -------------------------------------------------------------------------------------


class OwnPresses(CornerChat):  # a repeated press is known
    async def pass_on(self, gateway: Gateway, note: Note) -> None:
        if note.button:
            note.id = f"press-{next(OwnIds.numbers)}"
        await super().pass_on(gateway, note)


class AcksPresses(CornerChat):  # a press is answered as a message is
    async def take(self, payload: bytes) -> tuple[int, str]:
        status, told = await super().take(payload)
        return (200, "") if b"button" in payload else (status, told)
