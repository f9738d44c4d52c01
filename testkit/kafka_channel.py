"""The channel of one egress process in `testkit.kafka_world`: the simulated platform behind it.

What judges see of a call is noted here, together with what the topics said at that instant.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from engine.ports import Delivery, Frame, Gateway, Line, Receipt, SessionView
from testkit.embedded_parts import ManualTime
from testkit.kafka_log import KafkaLog
from testkit.scene import ACCOUNT
from testkit.simulator.cluster import CHANNEL
from testkit.simulator.platform import Answer, Platform, reached
from testkit.worlds import Called, Received, Seen, Shown


class Caller(Protocol):
    """The process that calls."""

    is_gone: bool

    def now_ms(self) -> int:
        """Log time, by its clock."""


class Sees(Protocol):
    """What the channel needs of its world."""

    platform: Platform
    time: ManualTime
    seen: list[Seen]
    log: KafkaLog
    cards: dict[str, tuple[int, int]]

    async def look(self) -> object:
        """Read what is committed by now."""

    async def before_call(self, caller: Caller) -> None:
        """Somebody may take the partition over just now."""

    def is_fenced(self, caller: Caller) -> bool:
        """Whether somebody has."""


class ClusterChannel:
    """One account, of one process."""

    kind, account, at_once = CHANNEL, ACCOUNT, False

    def __init__(self, world: Sees, caller: Caller) -> None:
        self.idempotent = world.platform.idempotent
        self.asleep = 0
        self._world = world
        self._caller = caller

    async def start(self, gateway: Gateway) -> None:
        """Messages are handed over by the world, through the gateway."""

    async def close(self) -> None:
        """Nothing is in hand here."""

    async def send(self, delivery: Delivery) -> Receipt:
        """The platform takes it, refuses it, is away or slow: as its mood is."""
        world = self._world
        await world.before_call(self._caller)
        # What it may know of withdrawals is what it was given to read: the watermark of that.
        watermark = world.log.watermark(0)
        await world.look()
        if self._caller.is_gone:
            await asyncio.Event().wait()
        answer = world.platform.call(delivery, world.platform.mood())
        self._saw(delivery, answer, watermark)
        if answer.late_ms:
            self.asleep += 1
            try:
                await world.time.sleep(answer.late_ms)
            finally:
                self.asleep -= 1
        if isinstance(answer.outcome, Receipt):
            return answer.outcome
        raise answer.outcome

    def _saw(self, delivery: Delivery, answer: Answer, watermark: int) -> None:
        world, at_ms, text = self._world, self._caller.now_ms(), delivery.text or ""
        session_id, reply_id = reached(delivery.address), delivery.reply_id
        durable, fenced = world.log.delivery(reply_id), world.is_fenced(self._caller)
        if durable is None:
            marked = False
        elif fenced:  # the new owner may have ended the mark by which this one calls
            marked = durable.sending_ms is not None
        else:
            marked = durable.state == "sending"
        called = Called(
            at_ms=at_ms,
            session_id=session_id,
            reply_id=reply_id,
            text=text,
            took=answer.took,
            refused=answer.is_refused,
            marked=marked,
            watermark=watermark,
            platform_ms=world.time.now_ms,
            fenced=fenced,
            unsaid=answer.is_unsaid,
        )
        world.seen.append(called)
        if answer.took and answer.is_new:
            received = Received(at_ms=at_ms, session_id=session_id, reply_id=reply_id, text=text)
            world.seen.append(received)

    def show(self, frame: Frame) -> None:
        """The person sees it grow; what the platform shows already is no news."""
        order, cards = (frame.attempt, frame.n), self._world.cards
        if cards.get(frame.reply_id) == order:
            return
        cards[frame.reply_id] = order
        shown = Shown(
            at_ms=self._caller.now_ms(),
            session_id=frame.session_id,
            reply_id=frame.reply_id,
            attempt=frame.attempt,
            n=frame.n,
            text=frame.text,
            watermark=self._world.log.watermark(0),
        )
        self._world.seen.append(shown)

    def follows(self, session_id: str) -> bool:
        """Nobody looks at states."""
        return False

    def stepped(self, view: SessionView) -> None:
        """Nobody looks at states."""

    def wrote(self, lines: Sequence[Line]) -> None:
        """No line is kept."""
