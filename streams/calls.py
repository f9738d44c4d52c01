"""The calls of one host: the event loop around the egress hop.

Between the pump, which hands over durable marks, and the adapters of `adapters/channels/`. What
each call came to goes back to the pump. It decides nothing: whether a mark may still be called on,
egress says.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.crash_points import CrashPoint
from engine.errors import NoReceipt, Refused, Unavailable, trace_of
from engine.ids import account_of
from engine.ports import Channel, Delivery, Receipt
from streams.egress import Called

log = logging.getLogger(__name__)

SEND_WITHIN_S = 30.0
"""A platform answers within seconds, slow ones included. What takes longer has lost its answer, and
would hold back all later replies of its session."""


class Pump(NamedTuple):
    """What calls need of the host: may this mark be called on, what it came to, where we are."""

    may_call: Callable[[str], bool]
    called: Callable[[Called], None]
    at: Callable[[CrashPoint, int], None]


class Calls:
    """The calls of channel accounts, found by session."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._channels = {(channel.kind, channel.account): channel for channel in channels}
        self._calls: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()
        self.pump: Pump | None = None

    @property
    def in_hand(self) -> frozenset[str]:
        """Replies whose call has begun and not ended."""
        return frozenset(self._in_hand)

    def of(self, session_id: str) -> Channel | None:
        """The channel account of a session."""
        return self._channels.get(account_of(session_id))

    def call(self, marked: Sequence[Delivery]) -> None:
        """Begin the calls: a task for each that may wait, one for all that will not."""
        self._in_hand.update(delivery.reply_id for delivery in marked)
        at_once: list[Delivery] = []
        for delivery in marked:
            channel = self.of(delivery.session_id)
            if channel is not None and channel.at_once:
                at_once.append(delivery)
            else:
                self._begin([delivery])
        if at_once:
            self._begin(at_once)

    def cancel(self) -> None:
        """End all calls: their marks stay, and the next start decides about them."""
        for calls in self._calls:
            calls.cancel()

    def _begin(self, deliveries: list[Delivery]) -> None:
        calls = asyncio.create_task(self._call_in_turn(deliveries))
        self._calls.add(calls)
        calls.add_done_callback(self._calls.discard)

    async def _call_in_turn(self, deliveries: list[Delivery]) -> None:
        pump = self.pump
        assert pump is not None
        for delivery in deliveries:
            pump.at(CrashPoint.MARK_CALL, 1)
            outcome = await self._send(delivery, pump)
            pump.at(CrashPoint.CALL_RECEIPT, 1)
            self._in_hand.discard(delivery.reply_id)
            pump.called(Called(delivery.reply_id, outcome))

    async def _send(self, delivery: Delivery, pump: Pump) -> Receipt | Refused | Unavailable | None:
        """Call the channel for a delivery whose mark is durable; None where it was not called."""
        channel = self.of(delivery.session_id)
        if channel is None:
            return Refused("this channel account is not configured any more")
        if not pump.may_call(delivery.reply_id):
            return None
        bound = asyncio.timeout(SEND_WITHIN_S)
        try:
            async with bound:
                return await channel.send(delivery)
        except (Refused, Unavailable) as error:
            return error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this: something inside the adapter ended itself.
            told = f"channel {channel.kind} cancelled its own call"
            log.error("%s: %s", told, trace_of(error))
            return Unavailable(told) if channel.idempotent else NoReceipt(told)
        except TimeoutError as error:
            if not bound.expired():  # its own
                return _broken(channel, error)
            told = f"channel {channel.kind} did not answer within {SEND_WITHIN_S:g} s"
            log.warning("%s", told)
            # It may have arrived: only a platform that knows it again may be given it again.
            return Unavailable(told) if channel.idempotent else NoReceipt(told)
        except Exception as error:  # the adapter broke its contract: as good as not sent
            return _broken(channel, error)


def _broken(channel: Channel, error: Exception) -> Refused:
    log.error("channel %s failed to send: %s", channel.kind, trace_of(error))
    return Refused(f"{type(error).__name__} in channel {channel.kind}")
