"""Puts load on a contestant through the broker: appends messages, and sees the replies committed.

The same for all of them: an idempotent producer (acks=all) and a `read_committed` consumer of all
partitions, both aiokafka's. A turn's time runs from when its message was due, or, with many busy
sessions, from when it was handed to the producer; it ends when the reply is read here, committed.
Beside it, by the broker's clock alone: from the message's append to the reply's.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from adapters.kafka.clients import KafkaSettings, producer_of
from adapters.kafka.records import Fetched
from adapters.kafka.tail import Tail
from bench.kafka.meter import GroupMeter, Spent

FETCH_MS = 100
DRAIN_S = 60.0
FIRST_S = 120.0
EACH_MAX = 100
"""Messages a second of which each is sent at its own instant."""


class Message(Protocol):
    """A message of a session as key and value."""

    def __call__(self, session: str, number: int, *, now_ms: int) -> tuple[bytes, bytes]: ...


class Route(NamedTuple):
    """How a contestant is talked to.

    `replied`: the session that a
    record of `outward` is a reply of; empty: it is none.
    """

    inward: str
    outward: str
    message: Message
    replied: Callable[[Fetched], str]


@dataclass(kw_only=True, slots=True)
class Asked:
    """A message on its way. `appended_ms`: by the broker's clock, once it is known."""

    due_s: float
    appended_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a load came to. `appended_s`: from the message's append to its reply's."""

    what: str
    turns: int
    spent: Spent
    latencies_s: list[float]
    appended_s: list[float]


class LostReplies(Exception):
    """A contestant did not answer all that it was asked."""


class Driver:
    """One contestant's load. `async with` connects."""

    def __init__(self, kafka: KafkaSettings, route: Route) -> None:
        self._kafka = kafka
        self._route = route
        self._topic = kafka.named(route.inward)
        self._producer = producer_of(kafka)
        self._tail = Tail(kafka, route.outward, everything=True)
        self._open: dict[str, deque[Asked]] = {}
        self._waiting = 0
        self._numbers: dict[str, int] = {}
        self._sends: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Driver":
        await self._producer.start()
        await self._tail.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tail.stop()
        await self._producer.stop()

    async def first(self) -> None:
        """One turn, however long it takes: then all is there."""
        await self._send(f"first-{time.time_ns()}", time.perf_counter())
        await self._drained(within_s=FIRST_S)

    async def busy(
        self, sessions: int, *, warm_s: float, seconds: float, meter: GroupMeter
    ) -> Measured:
        """So many sessions, each with its next message as soon as its last reply is there."""
        tag = f"sat{sessions}-{time.time_ns()}-"
        for n in range(sessions):
            await self._send(f"{tag}{n}", time.perf_counter())
        await self._answering(time.perf_counter() + warm_s)
        meter.start()
        latencies, appended = await self._answering(time.perf_counter() + seconds)
        spent = meter.stop()
        await self._drained()
        return Measured(
            what=f"sat{sessions}",
            turns=len(latencies),
            spent=spent,
            latencies_s=latencies,
            appended_s=appended,
        )

    async def steady(
        self, rate: float, *, sessions: int, warm_s: float, seconds: float, meter: GroupMeter
    ) -> Measured:
        """`rate` messages a second over so many sessions, whatever happens to the earlier ones."""
        tag = f"rate{rate:g}-{time.time_ns()}-"
        total_s = warm_s + seconds
        pace = self._in_turns if rate > EACH_MAX else partial(asyncio.to_thread, self._in_time)
        sending = asyncio.create_task(pace(rate, total_s, sessions, tag))
        end_s = time.perf_counter() + total_s
        await self._reading(end_s - seconds)
        meter.start()
        latencies, appended = await self._reading(end_s)
        spent = meter.stop()
        await sending
        await self._drained()
        return Measured(
            what=f"{rate:g}/s",
            turns=len(latencies),
            spent=spent,
            latencies_s=latencies,
            appended_s=appended,
        )

    # ---- inside ------------------------------------------------------------------------------

    def _in_time(self, rate: float, seconds: float, sessions: int, tag: str) -> None:
        """In a thread: an event loop's own timers round up to the next millisecond."""
        loop = self._producer._loop
        begun_s = time.perf_counter()
        for n in range(int(rate * seconds)):
            due_s = begun_s + n / rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            loop.call_soon_threadsafe(self._send_soon, f"{tag}{n % sessions}", due_s)

    async def _in_turns(self, rate: float, seconds: float, sessions: int, tag: str) -> None:
        """All that are due, every other millisecond: a thread's wake-up for each costs a core."""
        begun_s = time.perf_counter()
        for n in range(int(rate * seconds)):
            while (due_s := begun_s + n / rate) > time.perf_counter():
                await asyncio.sleep(0.002)
            await self._send(f"{tag}{n % sessions}", due_s)

    def _send_soon(self, session: str, due_s: float) -> None:
        task = asyncio.ensure_future(self._send(session, due_s))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send(self, session: str, due_s: float) -> None:
        number = self._numbers.get(session, 0)
        self._numbers[session] = number + 1
        asked = Asked(due_s=due_s)
        self._open.setdefault(session, deque()).append(asked)
        self._waiting += 1
        key, value = self._route.message(session, number, now_ms=time.time_ns() // 1_000_000)

        def appended(done: "asyncio.Future[Any]") -> None:
            asked.appended_ms = done.result().timestamp

        (await self._producer.send(self._topic, value, key)).add_done_callback(appended)

    async def _answering(self, until_s: float) -> tuple[list[float], list[float]]:
        """Read replies, each followed by its session's next message."""
        return await self._reading(until_s, again=True)

    async def _reading(
        self, until_s: float, *, again: bool = False
    ) -> tuple[list[float], list[float]]:
        latencies: list[float] = []
        appended: list[float] = []
        while time.perf_counter() < until_s:
            for session, asked, reply_ms in await self._replies():
                now_s = time.perf_counter()
                latencies.append(now_s - asked.due_s)
                appended.append((reply_ms - asked.appended_ms) / 1e3)
                if again:
                    await self._send(session, now_s)
        return latencies, appended

    async def _replies(self) -> list[tuple[str, Asked, int]]:
        found = []
        for record in await self._tail.fetch(within_ms=FETCH_MS):
            session = self._route.replied(record)
            asked = self._open.get(session)
            if asked:
                self._waiting -= 1
                found.append((session, asked.popleft(), record.timestamp_ms))
        return found

    async def _drained(self, *, within_s: float = DRAIN_S) -> None:
        """Read until nothing is owed. Raises LostReplies."""
        until_s = time.perf_counter() + within_s
        while self._waiting or self._sends:
            await self._replies()
            if time.perf_counter() > until_s:
                raise LostReplies(f"{self._waiting} replies did not come within {within_s:g} s")
        self._open.clear()
        self._numbers.clear()
