"""The processes at the edges of a cluster in `testkit.kafka_world`: egress, clock and ingress.

Beside `testkit.kafka_processes`, which has what all processes share.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from adapters.kafka.records import Fetched
from streams.cluster.gateway import ClusterGateway, GatewayParts, _Open
from streams.cluster.gateway_metrics import GatewayMetrics
from streams.cluster.last_shown import BACK_MS
from streams.cluster.metrics import Metrics
from streams.cluster.read_model import ReadModel
from streams.cluster.sending import Sending
from streams.cluster.waking import Waking
from streams.topics import T
from testkit.kafka_parts import Fed
from testkit.kafka_processes import Around, Process
from testkit.simulator.machines import Machine

# ---- egress and clock ----------------------------------------------------------------------------


class EgressProcess(Process):
    """The role egress, with the world's platform behind its channel."""

    name = "egress"

    def __init__(self, around: Around, machine: Machine) -> None:
        super().__init__(around, machine)
        self._channel = around.channel(self)
        self.role = Sending(
            around.settings,
            instance=self.name,
            appender=self.appender,
            channels=[self._channel],
            accounts=around.accounts,
            metrics=Metrics(CollectorRegistry()),
        )
        self.role._outside = self.role._outside._replace(jitter=around.rng.random)
        self.role.at = self._at
        self.role._queue = self._work = around.assigned(self.role._queue)
        since_ms = around.time.now_ms - BACK_MS
        before = [record for at_ms, record in around.frames if at_ms >= since_ms]
        self._frames = Fed(around.settings, T.FRAMES, before=before)
        self.role._frames = self._frames

    async def _start(self) -> None:
        await self.role.start()
        self._watch(self.role)

    def give(self, record: Fetched) -> None:
        """An order, or a frame."""
        if record.topic == T.EGRESS:
            self._work.give(record)
        elif record.topic == T.FRAMES:
            self._frames.give(record)

    def wake(self) -> None:
        """What waited may be sent."""
        self._work.wake()
        for lane, _ in self.role._lanes.values():
            lane._wake.set()

    async def commit(self) -> None:
        """Its group commits what is done."""
        await self._work.commit()

    def next_ms(self) -> int | None:
        """Log time of the next try to send."""
        now_ms = self.appender.now_ms()
        times = [lane._egress.next_ms(now_ms) for lane, _ in self.role._lanes.values()]
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    @property
    def is_recovered(self) -> bool:
        """Its lane may send."""
        lanes = self.role._lanes.values()
        return bool(lanes) and all(lane.recovered for lane, _ in lanes)

    def is_quiet(self) -> bool:
        """All that may be sent was, and has its receipt."""
        due_ms = self.next_ms()
        is_due = due_ms is not None and due_ms <= self.appender.now_ms()
        if is_due or not (self._work.is_idle and self._frames.is_idle and self.role._lanes):
            return False
        for lane, _ in self.role._lanes.values():
            busy = lane._working or lane._orders or lane._called or lane._wake.is_set()
            if busy or not lane.recovered or len(lane._calls.in_hand) != self._channel.asleep:
                return False
        return True

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        role = self.role
        yield from (one for one in (role._task, role._shower) if one is not None)
        for lane, task in role._lanes.values():
            yield task
            yield from lane._calls._calls

    async def _let_go(self) -> None:
        await self.role._let_go()


class ClockProcess(Process):
    """The role clock."""

    name = "clock"

    def __init__(self, around: Around, machine: Machine) -> None:
        super().__init__(around, machine)
        metrics = Metrics(CollectorRegistry())
        self.role = Waking(
            around.settings, instance=self.name, appender=self.appender, metrics=metrics
        )
        self.role._queue = self._rows = around.assigned(self.role._queue)

    async def _start(self) -> None:
        await self.role.start()
        self._watch(self.role)

    def give(self, record: Fetched) -> None:
        """A session's row."""
        if record.topic == T.SESSIONS and not self.is_zombie:
            self._rows.give(record)

    def wake(self) -> None:
        """It looks at its clock."""
        self._rows.wake()

    def next_ms(self) -> int | None:
        """Log time of the next deadline."""
        times = [owned.deadlines.next_ms() for owned in self.role._owned.values()]
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    def is_quiet(self) -> bool:
        """All that is due was told."""
        if not self._rows.is_idle or any(owned.unsent for owned in self.role._owned.values()):
            return False
        due_ms = self.next_ms()
        if due_ms is not None and due_ms <= self.appender.now_ms():
            self._rows.wake()  # so much at once was not allowed
            return False
        return True

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        if self.role._task is not None:
            yield self.role._task

    async def _let_go(self) -> None:
        await self.role._let_go()


# ---- ingress -------------------------------------------------------------------------------------


class _Followed:
    """In the place of the gateway's loops: the world gives its read model what the topic has."""

    fault = ""
    unread = 0

    async def reached_the_end(self, *, within_s: float) -> bool:
        return True


class IngressProcess(Process):
    """The role ingress: a gateway in front of which stands the world."""

    name = "ingress"

    def __init__(self, around: Around, machine: Machine) -> None:
        super().__init__(around, machine)
        self.gateway = ClusterGateway(
            GatewayParts(
                kafka=around.settings,
                appender=self.appender,
                channel=around.channel(self),
                routes=lambda known: around.ingress,
                metrics=GatewayMetrics(CollectorRegistry(), version="world"),
            )
        )
        self.gateway.at = self._at

    async def _start(self) -> None:
        followed: Any = _Followed()
        model = ReadModel(None, installation="world")
        self.gateway._open = _Open(model, followed, followed)
        self.gateway._fault = ""
        model.apply(self.around.tape.records[T.OUTBOX])

    def give(self, record: Fetched) -> None:
        """A view."""
        if record.topic == T.OUTBOX and self.gateway._open is not None:
            self.gateway._model.apply([record])

    def is_quiet(self) -> bool:
        """It does nothing by itself."""
        return True

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        yield from ()

    async def _let_go(self) -> None:
        if self.gateway._open is not None:
            self.gateway._model.close()
