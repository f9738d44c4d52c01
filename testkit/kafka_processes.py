"""The processes of a cluster in `testkit.kafka_world`, one for each role, with the roles' own code.

Each is wired as `streams.cluster.assemble` wires it, but for what `testkit.kafka_parts` puts in the
place of groups and clocks. Here alone the test kit reaches into the roles' own tasks: to see
whether they are quiet, and to end them as SIGKILL would.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.newest import NewestSender
from adapters.kafka.records import Fetched, Row
from engine.crash_points import CrashPoint
from engine.errors import Refused
from engine.events import FlowActivated
from engine.flow import Flow
from streams.cluster.lane import Accounts
from streams.cluster.metrics import Metrics
from streams.cluster.performing import Links, Performing
from streams.cluster.role import Role
from streams.cluster.stepping_metrics import SteppingMetrics
from streams.ingress import Ingress
from streams.outbox import OUTBOX_CHANNELS
from streams.partition import Decided, Partition
from streams.partition_worker import PartitionWorker
from streams.performers import Performers
from streams.topics import T
from testkit.kafka_channel import ClusterChannel
from testkit.kafka_log import KafkaLog, Tape
from testkit.kafka_parts import (
    Assigned,
    Calls,
    Fed,
    Group,
    Intents,
    Model,
    Skills,
    WorldAppender,
    WorldLedger,
)
from testkit.simulator.machines import Disk, Machine, Time

CALLS_MAX = 1_000
RUNNERS = (T.MODEL, T.SKILL, T.INTENT)


class Happens(Protocol):
    """What a process tells its world."""

    def at(self, process: "Process", point: CrashPoint, *, things: int) -> None:
        """It has come to a crash point. Raises Died."""

    def stepping(self, process: "Process", offset: int) -> None:
        """It is about to step this record alone, or a batch that begins with it. Raises Died."""

    def ended(self, process: "Process", error: BaseException) -> None:
        """It cannot go on."""


@dataclass(kw_only=True)
class Around:
    """What all processes of a world share. `acknowledged`: the offset of the sessions' group."""

    settings: KafkaSettings
    flow: Flow
    time: Time
    tape: Tape
    log: KafkaLog
    disk: Disk
    rng: Random
    calls: Calls
    happens: Happens
    ingress: Ingress
    channel: Callable[["Process"], ClusterChannel]
    accounts: Callable[[int], Accounts]
    groups: dict[str, Group] = field(default_factory=dict)
    acknowledged: int = 0
    frames: list[tuple[int, Fetched]] = field(default_factory=list)
    frames_sent: int = 0

    def assigned(self, of: Any) -> Assigned:
        """The world's partition of this role's topic."""
        topic: str = of._topic
        group = self.groups.setdefault(topic, Group())
        return Assigned(of, group, before=self.tape.records[topic])


class Process:
    """One process. `is_gone`: it has died, or was fenced. `is_zombie`: it has lost its partition,
    and does not know it."""

    name = ""

    def __init__(self, around: Around, machine: Machine) -> None:
        self.around = around
        self.is_gone = self.is_zombie = False
        settings, time = around.settings, around.time
        self.appender = WorldAppender(settings, time=time, machine=machine, name=self.name)

    async def start(self) -> None:
        """Connect and begin."""
        await self.appender.start()
        await self._start()

    async def _start(self) -> None:
        raise NotImplementedError

    def give(self, record: Fetched) -> None:
        """A record of any topic was committed."""

    def wake(self) -> None:
        """Time has passed."""

    async def commit(self) -> None:
        """Its groups commit what is done."""

    def now_ms(self) -> int:
        """Log time, by its clock."""
        return self.appender.now_ms()

    def next_ms(self) -> int | None:
        """Log time at which it has something to do though nothing comes in."""
        return None

    @property
    def is_recovered(self) -> bool:
        """It owns what it was given."""
        return True

    def is_quiet(self) -> bool:
        """Nothing happens by itself any more."""
        raise NotImplementedError

    def _watch(self, role: Role) -> None:
        def ended(ends: "asyncio.Future[None]") -> None:
            error = None if ends.cancelled() else ends.exception()
            if error is not None:
                self.around.happens.ended(self, error)

        assert role._ends is not None
        role._ends.add_done_callback(ended)

    def die(self) -> None:
        """From here on nothing in memory gets another word in."""
        self.is_gone = self.appender.is_gone = True
        here = asyncio.current_task()
        for task in self._tasks():
            if task is not here:
                task.cancel()

    async def bury(self) -> None:
        """Let its connections go, as the end of a process would."""
        self.die()
        await asyncio.gather(*self._tasks(), return_exceptions=True)
        await self._let_go()
        await self.appender.stop()

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        raise NotImplementedError

    async def _let_go(self) -> None:
        """Close what is open."""

    def _at(self, point: CrashPoint, things: int) -> None:
        self.around.happens.at(self, point, things=things)


# ---- sessions ------------------------------------------------------------------------------------


class SessionsProcess(Process):
    """A partition's worker, and the reader that brings it records: here, the world."""

    name = "sessions"

    def __init__(self, around: Around, machine: Machine) -> None:
        super().__init__(around, machine)
        self._metrics = SteppingMetrics(CollectorRegistry())
        self.worker = PartitionWorker(
            Partition(0, build=self._build, outbox=OUTBOX_CHANNELS),
            ledger=WorldLedger(around.settings, disk=around.disk, rng=around.rng),
            reader=self,
            watched=self,
            now_ms=lambda: around.time.now_ms,
        )
        self.worker.at = self._at
        self.worker.group_says_s = 0  # there is none

    def _build(self, body: FlowActivated) -> Flow:
        if body.flow != self.around.flow.ref:
            raise Refused(f"flow {body.flow} is not in this world")
        return self.around.flow

    async def start(self) -> None:
        """It appends nothing, so it needs no appender."""
        self.worker.start()
        # Offsets are committed now and then: a new owner may be given what was acknowledged long
        # ago, and passes over what is applied.
        again = self.around.rng.choice((0, self.around.acknowledged))
        for record in self.around.tape.records[T.EVENTS][again:]:
            self.give(record)

    def give(self, record: Fetched) -> None:
        """An event."""
        if record.topic == T.EVENTS and not self.is_gone:
            self.worker.put([record], record.offset + 1)

    @property
    def is_recovered(self) -> bool:
        """It may step."""
        return self.worker.ready

    def is_quiet(self) -> bool:
        """All is applied."""
        return self.worker.ready and not self.worker.waiting

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        if self.worker._task is not None:
            yield self.worker._task

    async def _let_go(self) -> None:
        await self.worker.stop()

    # ---- its reader and its metrics ------------------------------------------------------------

    def acknowledge(self, mark: object) -> None:
        """The offset may be committed."""
        assert isinstance(mark, int)
        self.around.acknowledged = max(self.around.acknowledged, mark)

    def hold(self, partition: int, *, full: bool) -> None:
        """The world's lists are short."""

    def fatal(self, error: BaseException) -> None:
        """The end of the process."""
        self.around.happens.ended(self, error)

    def recovered(self, partition: Partition, *, took_s: float) -> None:
        """It may step."""
        self._metrics.recovered(partition, took_s=took_s)

    def stepping(self, partition: int, offset: int | None) -> None:
        """A step begins, or has ended."""
        self._metrics.stepping(partition, offset)
        if offset is not None:
            self.around.happens.stepping(self, offset)

    def committed(self, decided: Decided, *, took_s: float) -> None:
        """A transaction is durable."""
        self._metrics.committed(decided, took_s=took_s)


# ---- runners -------------------------------------------------------------------------------------


class _CountedSender(NewestSender):
    """Counts what will stand in the topic, so that the world can wait for it."""

    def __init__(self, around: Around) -> None:
        super().__init__(around.settings)
        self._around = around

    def put(self, key: str, row: Row) -> None:
        """As the sender; one that waits is replaced."""
        self._around.frames_sent += key not in self._rows
        super().put(key, row)


class RunnersProcess(Process):
    """The roles model, skill and intent."""

    name = "runners"

    def __init__(self, around: Around, machine: Machine) -> None:
        super().__init__(around, machine)
        metrics = Metrics(CollectorRegistry())
        links = Links(around.settings, self.name, self.appender)
        self.roles: list[Performing] = []
        self._works: dict[str, Assigned] = {}
        self._cancels: list[Fed] = []
        for topic in RUNNERS:
            performers = Performers(
                now_ms=self.appender.now_ms,
                attempt=1,
                calls_max=CALLS_MAX,
                model=Model(around.calls, self),
                skills=Skills(around.calls, self),
                intents=Intents(around.calls, self),
            )
            role = Performing(
                topic,
                performers,
                links=links,
                calls_max=CALLS_MAX,
                metrics=metrics,
                outbox=OUTBOX_CHANNELS,
            )
            role.at = self._at
            role._queue = self._works[topic] = around.assigned(role._queue)
            role._cancels = Fed(around.settings, T.CANCEL)
            role._frames = _CountedSender(around)
            self._cancels.append(role._cancels)
            self.roles.append(role)

    async def _start(self) -> None:
        for role in self.roles:
            await role.start()
            self._watch(role)

    def give(self, record: Fetched) -> None:
        """A request, or a cancel."""
        if record.topic in self._works:
            if not self.is_zombie:
                self._works[record.topic].give(record)
        elif record.topic == T.CANCEL:
            for cancels in self._cancels:
                cancels.give(record)

    def wake(self) -> None:
        """They look at what is overdue."""
        for work in self._works.values():
            work.wake()

    async def commit(self) -> None:
        """Their groups commit what is done."""
        for work in self._works.values():
            await work.commit()

    def is_quiet(self) -> bool:
        """All that is in hand waits for its end."""
        works, fed = self._works.values(), self._cancels
        running = sum(len(role._performers._tasks) for role in self.roles)
        if running != self.around.calls.of(self) or any(role._reports for role in self.roles):
            return False
        return all(one.is_idle for one in works) and all(one.is_idle for one in fed)

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        for role in self.roles:
            yield from (one for one in (role._task, role._listener) if one is not None)
            yield from role._reports
            yield from role._performers._tasks.values()

    async def _let_go(self) -> None:
        for role in self.roles:
            await role._let_go()
