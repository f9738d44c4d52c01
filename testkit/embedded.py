"""The embedded host as a world: the real one, on SQLite, in this process, driven from outside.

Its clock is the world's. A crash ends all of its tasks at a crash point, and the next process opens
the file. Faults that need several workers (zombies) do nothing; a move is a restart. What it has in
common with a cluster's world is `host_world`.
"""

import asyncio
import dataclasses
import time
from functools import partial
from pathlib import Path
from random import Random

from adapters.logs.sqlite import SqliteLog
from engine.crash_points import CrashPoint
from engine.effects import RunnerRequest
from engine.errors import Unavailable
from engine.flow import Flow
from streams.embedded.host import EmbeddedHost
from streams.ingress import Taken
from testkit import stimuli
from testkit.embedded_deaths import Deaths, Died
from testkit.embedded_parts import (
    Calls,
    FailingLog,
    ManualTime,
    PlatformChannel,
    Process,
)
from testkit.host_world import HostWorld
from testkit.script import Script
from testkit.simulator.machines import Disk, Machine
from testkit.stimuli import AnyStimulus
from testkit.worlds import Began, Evidence, Fault, Seen

QUIET_WITHIN_S = 30.0
LINES_MAX = 1_000_000


class EmbeddedWorld(HostWorld):
    """One run of `flow` over a file in `directory`. Close it, or use it as a context manager.

    `limit`: max requests and period ms of the account.
    """

    _calls: Calls

    def __init__(
        self,
        flow: Flow,
        *,
        script: Script,
        seed: int = 0,
        directory: Path,
        idempotent: bool = True,
        limit: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(flow, script=script, seed=seed, idempotent=idempotent, limit=limit)
        self._time = ManualTime()
        self._disk = Disk()
        self._calls = Calls(self._began)
        self._seen: list[Seen] = []
        # Its chance is not the platform's: what the one decides changes nothing of the other.
        self._deaths = Deaths(Random(seed), dies=self._dies)
        self._broke_ms = self._time.now_ms
        self._machine = Machine(self._time)
        self._path = directory / "world.db"
        self._channel = PlatformChannel(self._platform, self._time, seen=self._seen, limit=limit)
        self._loop.run_until_complete(self._begin())
        self._loop.run_until_complete(self._settle())

    def evidence(self) -> Evidence:
        """What there is to judge so far, and the lines of the outbox."""
        lines = partial(self._log.lines, after=0, limit=LINES_MAX)
        return dataclasses.replace(super().evidence(), lines=lines)

    # ---- what `HostWorld` asks ---------------------------------------------------------------

    @property
    def _log(self) -> SqliteLog:
        return self._process.store

    @property
    def _door(self) -> EmbeddedHost:
        return self._process.host

    def _log_ms(self) -> int:
        return self._process.host.now_ms()

    _door_ms = _runners_ms = _log_ms

    def _mend(self) -> None:
        self._disk.fails = False

    async def _end(self) -> None:
        await self._process.bury()

    async def _after(self) -> None:
        self._process.wake()
        await self._settle()

    async def _late(self, request: RunnerRequest) -> None:
        late, seen = self._scene.late(request, now_ms=self._runners_ms())
        self._seen += seen
        await self._submitted(lambda now_ms: Taken(late))

    async def _fault(self, stimulus: AnyStimulus) -> None:
        match stimulus:
            case stimuli.Platform(how=how):
                self._platform.moods.append(how)
                self._note(f"the platform is {how}")
            case stimuli.Disk():
                self._disk.fails = True
                self._note("the next commit fails")
            case stimuli.Crash(point=point):
                self._deaths.armed.append(point)
            case stimuli.Move():
                self._note("restarted", new_owner=True)
                await self._restart()
            case stimuli.Skew(ms=ms):
                self._machine.jump(ms)
                self._note(f"the wall clock jumps by {ms} ms")
            case _:
                pass

    async def _advance(self, to_ms: int) -> None:
        asleep = self._time.asleep
        self._time.advance(to_ms)
        if self._time.asleep < asleep:  # what made the platform slow ends here
            self._broke_ms = self._time.now_ms
        self._process.wake()
        await self._settle()

    def _due_ms(self) -> int | None:
        """The world's time at which something happens by itself."""
        due_ms, now_ms = self._process.next_ms(), self._time.now_ms
        if due_ms is not None:
            due_ms = max(now_ms, due_ms - self._process.host.now_ms() + now_ms)
        times = (due_ms, self._time.next_ms())
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    async def _settle(self) -> None:
        """Until nothing moves; who died is replaced."""
        quiet, until_s = 0, time.monotonic() + QUIET_WITHIN_S
        while quiet < 3:
            if self._process.is_dead:
                await self._restart()
            stuck = self._process.is_stuck
            await asyncio.sleep(0.001 if stuck else 0)
            quiet = quiet + 1 if self._process.is_quiet(self._time.asleep) else 0
            if time.monotonic() > until_s:
                raise AssertionError(f"the host is not quiet: {self._process.host.fault}")

    # ---- processes ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        """A process that cannot write its log ends, and its parent starts the next one.

        So does the parent of one that died while it began.
        """
        while True:
            self._process = Process(
                FailingLog(self._path, self._disk),
                self.flow,
                machine=self._machine,
                calls=self._calls,
                channel=self._channel,
                ingress=self._scene.ingress,
            )
            try:
                await self._process.start(self._deaths)
                return
            except (Unavailable, Died):
                await self._forget()

    async def _restart(self) -> None:
        before_ms = self._process.host.now_ms()
        await self._forget()
        await self._begin()
        if (jumped_ms := self._process.host.now_ms() - before_ms) > 0:
            self._note("the clock of the next process is ahead", lasted_ms=jumped_ms)

    async def _forget(self) -> None:
        await self._process.bury()
        self._calls.forget()
        self._time.forget()

    def _dies(self, point: CrashPoint) -> None:
        self._broke_ms = self._time.now_ms
        death = Fault(
            at_ms=self._process.host.now_ms(),
            what="the process died",
            point=point.value,
            standing=self._deaths.standing,
            new_owner=True,
        )
        self._seen.append(death)
        self._process.kill()

    def _note(self, what: str, *, new_owner: bool = False, lasted_ms: int = 0) -> None:
        self._broke_ms = self._time.now_ms
        at_ms = self._process.host.now_ms()
        fault = Fault(at_ms=at_ms, what=what, new_owner=new_owner, lasted_ms=lasted_ms)
        self._seen.append(fault)

    def _began(self, request: RunnerRequest) -> None:
        self._seen.append(Began(at_ms=self._process.host.now_ms(), request=request))
