"""The processes of `testkit.kafka_world` together: who owns what, who dies, and when all is quiet.

Between the world, which says what happens, and the processes. It reads the topics by a consumer of
its own, and gives each role the records of its partition as a group would.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from adapters.kafka.clients import KafkaSettings
from engine import codec
from engine.crash_points import CrashPoint
from engine.effects import RunnerRequest
from engine.errors import Conflict, Unavailable
from engine.flow import Flow
from engine.ports import Append
from streams.cluster.lane import Accounts
from streams.egress import Account
from streams.ingress import Ingress
from streams.limiter import Limiter
from streams.sessions import activated
from streams.topics import T
from testkit.embedded_deaths import Deaths, Died
from testkit.embedded_parts import ManualTime
from testkit.kafka_channel import Caller, ClusterChannel
from testkit.kafka_edges import ClockProcess, EgressProcess, IngressProcess
from testkit.kafka_log import KafkaLog, Tape
from testkit.kafka_parts import Calls, make_topics
from testkit.kafka_processes import Around, Process, RunnersProcess, SessionsProcess
from testkit.scene import ACCOUNT, config_of
from testkit.simulator.cluster import CHANNEL
from testkit.simulator.machines import Disk, Machine
from testkit.simulator.platform import Platform
from testkit.worlds import Began, Fault, Seen

QUIET_WITHIN_S = 60.0
Kind = type[Process]
PROCESSES: tuple[Kind, ...] = (
    SessionsProcess,
    RunnersProcess,
    EgressProcess,
    ClockProcess,
    IngressProcess,
)


class KafkaCluster:
    """One process for each role, over one partition. `limit`: of the world's account."""

    def __init__(
        self,
        kafka: KafkaSettings,
        flow: Flow,
        *,
        platform: Platform,
        ingress: Ingress,
        seed: int,
        limit: tuple[int, int] | None,
    ) -> None:
        self.time = ManualTime()
        self.seen: list[Seen] = []
        self.log = KafkaLog()
        self.cards: dict[str, tuple[int, int]] = {}
        self.platform = platform
        self.disk = Disk()
        self.calls = Calls(self._began, asked=self.log.asked)
        self.deaths = Deaths(Random(seed), dies=self._dies)
        self.zombie_at_call = False
        self.broke_ms = self.time.now_ms
        self.owners: dict[Kind, Process] = {}
        self._limit = limit
        self._rng = Random(seed)
        self._machines = {kind: Machine(self.time) for kind in PROCESSES}
        self._zombies: list[Process] = []
        self._gone: list[Process] = []
        self._died: dict[Process, Fault] = {}
        self._here: Process | None = None  # which is at a crash point
        self._broken: BaseException | None = None
        self._frames_read = 0
        self._tape = Tape(kafka)
        self._reading = asyncio.Lock()
        self._around = Around(
            settings=kafka,
            flow=flow,
            time=self.time,
            tape=self._tape,
            log=self.log,
            disk=self.disk,
            rng=self._rng,
            calls=self.calls,
            happens=self,
            ingress=ingress,
            channel=lambda process: ClusterChannel(self, process),
            accounts=self._accounts,
        )

    def _accounts(self, now_ms: int) -> Accounts:
        """What a new owner knows of the account."""
        limiter = None
        if self._limit is not None:
            most, period_ms = self._limit
            limiter = Limiter.of_new_owner(most, period_ms=period_ms, now_ms=now_ms)
        return {(CHANNEL, ACCOUNT): Account(self.platform.idempotent, limiter)}

    # ---- life --------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Make the topics, activate the flow, start all roles."""
        around = self._around
        await make_topics(around.settings)
        await self._tape.start()
        await self._start(IngressProcess)
        control = activated(around.flow, config_of(around.flow), at_ms=self.time.now_ms)
        appender = self.owners[IngressProcess].appender
        await appender.append(Append("", control.id, codec.encode(control)))
        await asyncio.gather(*(self._start(kind) for kind in PROCESSES if kind not in self.owners))
        await self.settle()

    async def end(self) -> None:
        """End all processes; the topics stay."""
        for process in (*self.owners.values(), *self._zombies, *self._gone):
            await process.bury()
        await self._tape.stop()

    async def _start(self, kind: Kind) -> None:
        """A new process owns what belongs to the role. One whose clock is off appends nothing, and
        says so: somebody sets it right, and starts it anew."""
        process = self.owners[kind] = kind(self._around, self._machines[kind])
        await process.start()
        if process.appender.fault and kind is not SessionsProcess:
            self.note("its clock is off: it appends nothing until that is set right")
            self._machines[kind] = Machine(self.time)
            await process.bury()
            await self._start(kind)

    def processes(self) -> Iterator[Process]:
        """Those who work: zombies, and owners."""
        yield from [*self._zombies, *self.owners.values()]

    async def bury_zombies(self) -> None:
        """Nobody goes on who has lost its partition."""
        while self._zombies:
            await self._zombies.pop().bury()

    async def move(self, kind: Kind, *, leaves_zombie: bool) -> None:
        """The next process of the role takes the partition over from its owner, who is not told."""
        old = self.owners[kind]
        what = "moved, and not noticed" if leaves_zombie else "moved"
        self.note(f"{kind.name} {what}", new_owner=True)
        await self._commit(old)
        if leaves_zombie:
            old.is_zombie = True
            self._zombies.append(old)
        else:
            await old.bury()
        await self._succeed(kind, old)

    async def _succeed(self, kind: Kind, old: Process) -> None:
        before_ms = old.now_ms()
        await self._start(kind)
        if (jumped_ms := self.owners[kind].now_ms() - before_ms) > 0:
            self.note("the clock of the next process is ahead", lasted_ms=jumped_ms)

    async def _commit(self, process: Process) -> None:
        """Every half second the role's group commits what is done: perhaps just before."""
        if self._rng.random() < 0.5:
            await process.commit()

    # ---- what processes tell -------------------------------------------------------------------

    def at(self, process: Process, point: CrashPoint, *, things: int) -> None:
        """Die here, if that is wanted. Raises Died."""
        if not process.is_gone:
            self._here = process
            self.deaths.at(point, things)

    def stepping(self, process: Process, offset: int) -> None:
        """Die in the middle of this step, if that is wanted. Raises Died."""
        record = self._tape.records[T.EVENTS][offset]
        self._here = process
        if record.key:
            self.deaths.stepping(codec.decode_event(record.value or b"").id)
            self.deaths.standing = ""  # here the topics say which event stands

    def ended(self, process: Process, error: BaseException) -> None:
        """It cannot go on. Where nobody wanted that, the world goes no further."""
        process.die()
        if isinstance(error, Died) or (isinstance(error, Conflict) and process in self._zombies):
            return
        if isinstance(error, Unavailable) and self.owners[SessionsProcess] is process:
            self.broke_ms = self.time.now_ms
            what = "a transaction failed, and its owner ended"
            self._died[process] = Fault(at_ms=self.log_ms(), what=what, new_owner=True)
        else:
            self._broken = error

    def _dies(self, point: CrashPoint) -> None:
        process = self._here
        assert process is not None
        is_owner = self.owners.get(type(process)) is process
        what = f"the process of {process.name} died"
        self.broke_ms = self.time.now_ms
        fault = Fault(at_ms=self.log_ms(), what=what, point=point.value, new_owner=is_owner)
        process.die()
        if isinstance(process, SessionsProcess) and is_owner:
            self._died[process] = fault  # told when the topics say which event stood
        else:
            self.seen.append(fault)

    def jump(self, kind: Kind, ms: int) -> None:
        """The wall clock jumps under a process: the next one there reads it."""
        self._machines[kind].jump(ms)

    def note(self, what: str, *, new_owner: bool = False, lasted_ms: int = 0) -> None:
        """Something breaks."""
        self.broke_ms = self.time.now_ms
        at_ms = self.log_ms()
        self.seen.append(Fault(at_ms=at_ms, what=what, new_owner=new_owner, lasted_ms=lasted_ms))

    def _began(self, request: RunnerRequest, process: object) -> None:
        fenced = process is not self.owners[RunnersProcess]
        at_ms = self.owners[RunnersProcess].now_ms()
        self.seen.append(Began(at_ms=at_ms, request=request, fenced=fenced))

    async def before_call(self, caller: Caller) -> None:
        """Where a zombie is wanted, it loses its partition between a mark and the call."""
        if self.zombie_at_call and caller is self.owners[EgressProcess]:
            self.zombie_at_call = False
            await self.move(EgressProcess, leaves_zombie=True)
            while not self.owners[EgressProcess].is_recovered:
                await asyncio.sleep(0.001)

    def is_fenced(self, caller: Caller) -> bool:
        """Whether it has lost its partition."""
        return caller is not self.owners[EgressProcess]

    # ---- time --------------------------------------------------------------------------------

    def log_ms(self) -> int:
        """Log time, by the clock that is ahead."""
        return max(owner.now_ms() for owner in self.owners.values())

    async def advance(self, to_ms: int) -> None:
        """It is this late now, and what is due happens."""
        asleep = self.time.asleep
        self.time.advance(to_ms)
        if self.time.asleep < asleep:  # what made the platform slow ends here
            self.broke_ms = self.time.now_ms
        for process in self.processes():
            process.wake()
        await self.settle()

    def due_ms(self) -> int | None:
        """The world's time at which something happens by itself."""
        now_ms = self.time.now_ms
        times = [self.time.next_ms()]
        for process in self.processes():
            due_ms = process.next_ms()
            times.append(
                None if due_ms is None else max(now_ms, due_ms - process.now_ms() + now_ms)
            )
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    # ---- until nothing moves -------------------------------------------------------------------

    async def settle(self) -> None:
        """Until nothing moves; who died is replaced."""
        until_s = time.monotonic() + QUIET_WITHIN_S
        while True:
            await self._replace()
            while not self._is_quiet():
                await asyncio.sleep(0.001)
                await self._replace()
                if time.monotonic() > until_s:
                    raise AssertionError(f"the cluster is not quiet: {self._busy()}")
            if not await self.look() and self._is_quiet() and not self._is_waiting():
                return

    async def look(self) -> int:
        """Read what is committed by now, and give it out; how much that was."""
        async with self._reading:
            found = await self._tape.catch_up()
            for record in found:
                self.log.take(record)
                if record.topic == T.FRAMES:
                    self._frames_read += 1
                    self._around.frames.append((self.time.now_ms, record))
                for process in self.processes():
                    process.give(record)
        return len(found)

    def _is_waiting(self) -> bool:
        """Frames are on their way that nobody waits for."""
        return self._frames_read < self._around.frames_sent

    def _is_quiet(self) -> bool:
        return not self._busy()

    def _busy(self) -> list[str]:
        return [one.name for one in self.processes() if one.is_gone or not one.is_quiet()]

    async def _replace(self) -> None:
        if self._broken is not None:
            raise self._broken
        for zombie in [one for one in self._zombies if one.is_gone]:
            self._zombies.remove(zombie)
            await zombie.bury()
        for kind, owner in [*self.owners.items()]:
            if owner.is_gone:
                await self._commit(owner)
                await owner.bury()
                # What it sent of frames may be lost with it.
                self._around.frames_sent = self._frames_read
                await self._tell_of(owner)
                await self._succeed(kind, owner)

    async def _tell_of(self, dead: Process) -> None:
        """The event at which it died is the one whose attempt is durable, and never ended."""
        fault = self._died.pop(dead, None)
        if fault is None:
            return
        await self.look()
        record = self.log.standing
        standing = "" if record is None else codec.decode_event(record.value).id
        self.seen.append(replace(fault, standing=standing))
