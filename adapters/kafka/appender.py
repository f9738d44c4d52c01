"""Appends events to the log: durable on all copies once `append` returns, whatever dies then.

Beside the roles that have something to say to a session: ingress, runners, egress, clock. It is
never in a transaction, because the log of record is read as it is written.

The times in events are its process's; the log's are the brokers'. It compares the two before its
first append and at each one, and appends nothing while they are further apart than
`CLOCK_SKEW_MAX_MS`: a session would see its time-outs come too early, or not at all.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from adapters.kafka.clients import KafkaSettings, begun, ended, producer_of, told
from engine.errors import EngineError, Unavailable
from engine.limits import CLOCK_SKEW_MAX_MS
from engine.ports import Append, Clock

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
LOOK_AGAIN_S = 0.5
"""Between heartbeats while something is wrong."""
AWAY_S = 5.0
"""A broker that has not taken a heartbeat in this time is away."""
WITHIN_S = 30.0
AWAY = "the brokers do not take records just now"


class Place(NamedTuple):
    """Where an event stands in the log."""

    partition: int
    offset: int


class LogClock:
    """`now_ms` never goes back in a process, and does not follow a wall clock that jumps.

    `set_again` takes the wall clock as it is now; if that is earlier, time stands until then. Not
    so before `agreed`: a machine whose clock was hours ahead when the process began would be wrong
    for hours after it was set right, and nobody has used that time.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._last_ms = 0
        self.agreed = False
        self.set_again()

    def set_again(self) -> None:
        """Take the machine's wall clock as right."""
        if not self.agreed:
            self._last_ms = 0
        self._ahead_ms = self._machine.now_ms() - self._machine.monotonic_ms()

    def now_ms(self) -> int:
        """Log time."""
        self._last_ms = max(self._last_ms, self._machine.monotonic_ms() + self._ahead_ms)
        return self._last_ms

    def monotonic_ms(self) -> int:
        """Never goes back; its zero means nothing."""
        return self._machine.monotonic_ms()


class Appender:
    """The one way of a process into `events`; its heartbeats go to `heartbeats`.

    `fault` says why nothing is appended just now; empty: it is.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clock: Clock,
        instance: str,
        events: str = "conversation.events",
        heartbeats: str = "workers",
    ) -> None:
        self._settings = settings
        self._clock = LogClock(clock)
        self._instance = instance.encode()
        self._events = settings.named(events)
        self._heartbeats = settings.named(heartbeats)
        self._producer: AIOKafkaProducer | None = None
        self._beats: asyncio.Task[None] | None = None
        self.fault = AWAY
        self.skew_ms = 0
        self._away_s = time.monotonic()

    async def start(self) -> None:
        """Connect and look at the clock once. Raises Unavailable while the brokers are away.

        A clock that is off is no reason to fail: `fault` says so, and it is looked at again. Until
        it has agreed once, `now_ms` is nobody's time.
        """
        self._producer = await self._connected()
        await self._beat()
        self._beats = asyncio.create_task(self._keep_beating(), name="heartbeats")

    async def stop(self) -> None:
        """Wait for what is on its way, at most a second or two, and let go."""
        if self._beats is not None:
            self._beats.cancel()
            await asyncio.wait([self._beats])
        if self._producer is not None:
            await ended(self._producer)
            self._producer = None

    @property
    def taken_for_s(self) -> float:
        """How long the brokers have taken our heartbeats without a gap."""
        return time.monotonic() - self._away_s

    def now_ms(self) -> int:
        """Log time: what an event that is made now says."""
        return self._clock.now_ms()

    def monotonic_ms(self) -> int:
        """Never goes back; its zero means nothing."""
        return self._clock.monotonic_ms()

    async def append(self, append: Append, *, within_s: float = WITHIN_S) -> Place:
        """Append; once it returns, the event is durable.

        Raises Unavailable: it may have been appended all the same, so the same event, with the
        same id, is to be appended again until it is taken.
        """
        if self.fault:
            raise Unavailable(self.fault)
        producer = self._producer
        assert producer is not None, "start it first"
        sent_ms = self.now_ms()
        try:
            async with asyncio.timeout(within_s):
                record = await self._sent(producer, append)
        except TimeoutError:
            self.fault = AWAY
            raise Unavailable(AWAY) from None
        except Unavailable as error:
            if self._producer is producer:
                log.error("an event was not appended, and is to be tried again: %s", error)
                self.fault = AWAY
                await self._drop(producer)
            raise
        self._look(record.timestamp, sent_ms=sent_ms)
        return Place(record.partition, record.offset)

    async def append_many(self, appends: Sequence[Append]) -> list[Place]:
        """Append these, those of one session in this order. Raises as `append`."""
        sent = await asyncio.gather(*map(self.append, appends), return_exceptions=True)
        for place in sent:
            if isinstance(place, BaseException):
                raise place
        return [place for place in sent if isinstance(place, Place)]

    async def _sent(self, producer: AIOKafkaProducer, append: Append) -> RecordMetadata:
        with told("append an event"):
            key = append.session_id.encode()
            # Cancelled, it is sent all the same: whoever waited did not hear of it.
            return await (await producer.send(self._events, value=append.value, key=key))

    # ---- the clock, and whether somebody is there ---------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self.fault else HEARTBEAT_S)
            try:
                async with asyncio.timeout(AWAY_S):
                    if self._producer is None:
                        self._producer = await self._connected()
                    await self._beat()
            except (EngineError, TimeoutError) as error:
                if not self.fault:
                    log.warning("nothing is appended just now: %s", str(error) or AWAY)
                self.fault, self._away_s = self.fault or AWAY, time.monotonic()
                # One that only takes long is on its way still.
                if isinstance(error, EngineError) and self._producer is not None:
                    await self._drop(self._producer)

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """A batch that failed for good leaves a gap in its producer's own numbers: no later one
        would be taken. The next heartbeat makes another producer."""
        self._producer = None
        await ended(producer)

    async def _beat(self) -> None:
        producer = self._producer
        assert producer is not None
        if abs(self.skew_ms) > CLOCK_SKEW_MAX_MS:
            self._clock.set_again()
        with told("heartbeat"):
            sent_ms = self.now_ms()
            future = await producer.send(self._heartbeats, value=b"{}", key=self._instance)
            record: RecordMetadata = await future
        if self.fault == AWAY and self._producer is producer:  # nobody has dropped it meanwhile
            self.fault = ""
        self._look(record.timestamp, sent_ms=sent_ms)

    def _look(self, taken_ms: int, *, sent_ms: int) -> None:
        """The broker took a record at `taken_ms`; by our clock, between `sent_ms` and now."""
        self.skew_ms = max(0, sent_ms - taken_ms) + min(0, self.now_ms() - taken_ms)
        is_off = abs(self.skew_ms) > CLOCK_SKEW_MAX_MS
        self._clock.agreed |= not is_off
        if is_off:
            self._is_off()
        elif self.fault and self.fault != AWAY:
            log.warning("the machine's clock and the brokers' agree again")
            self.fault = ""

    def _is_off(self) -> None:
        side = "ahead of" if self.skew_ms > 0 else "behind"
        told_before = self.fault and self.fault != AWAY
        self.fault = (
            f"this machine's clock is {abs(self.skew_ms) / 1_000:.1f} s {side} the brokers': "
            "nothing is appended until they agree; set both by the same time server"
        )
        if not told_before:
            log.error("%s", self.fault)

    async def _connected(self) -> AIOKafkaProducer:
        producer = producer_of(self._settings)
        await begun(producer, self._settings, what="connect to append events")
        return producer
