"""The driver of the crash test: kills, starts again at once, and in the end asks for the verdict.

Outside the engine's process. Some windows between two commits last for microseconds: for those the
engine is asked (`streams.crash_marks`) to stay a moment, and dies at a random instant of
that stay or shortly after. In which window a kill landed is what the engine itself had written
before it died, never what was aimed at.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from engine.crash_points import CrashPoint
from streams.embedded import LOG_FILE
from tests.crash.engines import Engines, dead
from tests.crash.judge import Verdict, at_rest, found_in, judge, sessions
from tests.crash.people import Person

WINDOWS = (
    CrashPoint.BEFORE_APPEND,
    CrashPoint.APPEND_ACK,
    CrashPoint.STEP_COMMIT,
    CrashPoint.MARK_CALL,
    CrashPoint.CALL_RECEIPT,
    CrashPoint.OUTCOME_APPEND,
)
STAY_MS = 20
AIM_WITHIN_S = 3.0
LIVE_S_MAX = 0.4
"""Before a kill the engine works for at most this long."""
UP_WITHIN_S = 60.0
REST_WITHIN_S = 120.0
PARENT_EVERY = 25
"""Kills between two runs with `ai-assistant run`, whose parent starts the engine again."""
PEOPLE = 30
REFUSED = 1
"""The exit code of an engine that found the log or the address in use."""


@dataclass(kw_only=True)
class Kill:
    """One death. `window`: None between windows. `back_s`: until somebody was welcomed again."""

    how: str
    window: CrashPoint | None = None
    back_s: float | None = None


@dataclass
class Report:
    """What was done and found. `broken`: what the run itself stumbled over."""

    kills: list[Kill] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def windows(self) -> Counter[CrashPoint | None]:
        """Kills by the window in which they landed."""
        return Counter(kill.window for kill in self.kills)

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.broken


class Killer:
    """One run over one data directory, which must not exist or be empty."""

    def __init__(self, data: Path, *, kills: int, seed: int, people: int = PEOPLE) -> None:
        self._data = data
        self._wanted = kills
        self._chance = random.Random(seed)
        self._engines = Engines(data)
        self._marks = self._engines.marks
        self._up = asyncio.Event()
        self._killed_s = 0.0
        self._leaving = 0  # the engine whose parent was killed, until it is gone
        self._start_s = 0.3  # how long a start takes
        url = f"http://127.0.0.1:{self._engines.port}"
        self._people = [
            Person(f"person{i:02}", [url], seed=seed, heard=self._welcomed) for i in range(people)
        ]
        self.report = Report()

    async def run(self) -> Report:
        """Kill so many times, come to rest, judge."""
        began_s = time.monotonic()
        lives: list[asyncio.Task[None]] = []
        try:
            await self._engines.open()
            await self._start()
            lives = [asyncio.create_task(person.live()) for person in self._people]
            await self._until_up()
            while len(self.report.kills) < self._wanted:
                await self._next()
            await self._rest(lives)
        finally:
            await self._end(lives)
            await self._engines.close()
        self._judge()
        self.report.seconds = time.monotonic() - began_s
        return self.report

    # ---- kills -----------------------------------------------------------------------------------

    async def _next(self) -> None:
        draw = self._chance.random()
        if len(self.report.kills) % PARENT_EVERY == PARENT_EVERY // 2:
            await self._with_parent()
        elif draw < 0.12:
            await self._at_start()
        elif draw < 0.3:
            await self._anywhere()
        else:
            await self._in_window()
        await self._until_up()

    async def _anywhere(self) -> None:
        """At a random instant."""
        await self._work()
        await self._kill("anywhere")
        await self._start()

    async def _in_window(self) -> None:
        """At a random instant in the window where the fewest kills have landed."""
        landed = self.report.windows
        least = min(landed[window] for window in WINDOWS)
        window = self._chance.choice([w for w in WINDOWS if landed[w] == least])
        await self._work()
        delay_s = self._chance.uniform(0, 1.2 * STAY_MS / 1_000)
        self._marks.aim(window, stay_ms=STAY_MS)
        await asyncio.to_thread(self._shoot, window, delay_s)
        self._marks.aim(None)
        await self._kill("aimed")
        await self._start()

    def _shoot(self, window: CrashPoint, delay_s: float) -> None:
        """Kill the engine that long after it was seen in the window."""
        until_s = time.monotonic() + AIM_WITHIN_S
        while self._marks.last is not window and time.monotonic() < until_s:
            time.sleep(0.0003)
        time.sleep(delay_s)
        with suppress(ProcessLookupError):
            os.kill(self._engines.pid, signal.SIGKILL)

    async def _at_start(self) -> None:
        """Once anywhere, and again while it starts and recovers."""
        await self._anywhere()
        await asyncio.sleep(self._chance.uniform(0, self._start_s))
        await self._kill("anywhere" if self._up.is_set() else "start")
        await self._start()

    async def _with_parent(self) -> None:
        """`ai-assistant run`: its engine is killed, which it starts again; then it is itself."""
        await self._work()
        await self._kill("before its parent")
        self._expect()
        await self._engines.start_with_parent()
        await self._until_up()
        await self._work()
        await self._engines.kill_child()
        self._died("under its parent")
        self._expect()
        await self._until_up()
        await self._work()
        # The engine finds its pipe ended and stops in order. Meanwhile the next one is refused.
        self._leaving = self._marks.pid
        await self._engines.kill_parent()
        self._died("parent")
        await self._start()

    async def _work(self) -> None:
        """Let the engine work for a while."""
        await asyncio.sleep(self._chance.uniform(0, LIVE_S_MAX))

    async def _kill(self, how: str) -> None:
        """Kill the forked engine."""
        code = await self._engines.kill()
        if code != -signal.SIGKILL:
            self.report.broken.append(f"the engine had ended by itself, with code {code}")
        self._died(how)

    def _died(self, how: str) -> None:
        """Note a kill, and where the engine was by its own word."""
        last = None if how in ("start", "parent") else self._marks.last
        self.report.kills.append(Kill(how=how, window=last if last in WINDOWS else None))
        self._killed_s = time.monotonic()

    # ---- starts ----------------------------------------------------------------------------------

    def _expect(self) -> None:
        """Somebody has to be welcomed anew."""
        self._up.clear()

    def _welcomed(self, connect_s: float) -> None:
        """Somebody is; it counts where it was the engine that was started after the last kill."""
        if self._leaving and not dead(self._leaving):
            return
        self._leaving = 0
        if connect_s > self._killed_s:
            self._up.set()

    async def _start(self) -> None:
        self._expect()
        await self._engines.start()

    async def _until_up(self) -> None:
        """Wait until somebody is welcomed. Raises TimeoutError."""
        until_s = time.monotonic() + UP_WITHIN_S
        while not self._up.is_set():
            if time.monotonic() > until_s:
                raise TimeoutError(f"nobody was welcomed within {UP_WITHIN_S} s")
            await self._start_again_where_refused()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), 0.02)
        if self.report.kills and self.report.kills[-1].back_s is None:
            last = self.report.kills[-1]
            last.back_s = time.monotonic() - self._killed_s
            if last.how in ("anywhere", "aimed"):
                self._start_s = last.back_s

    async def _start_again_where_refused(self) -> None:
        if not self._engines.pid or not self._engines.ended:
            return
        code = await self._engines.exit_code()
        if code != REFUSED or self.report.kills[-1].how != "parent":
            self.report.broken.append(f"the engine ended at its start, with code {code}")
        await self._engines.start()

    # ---- the end ---------------------------------------------------------------------------------

    async def _rest(self, lives: list[asyncio.Task[None]]) -> None:
        """Nobody says anything more; wait until all is done; let everybody read to the end."""
        for person in self._people:
            person.talking = False
        log = SqliteLog(self._data / LOG_FILE, read_only=True)
        until_s = time.monotonic() + REST_WITHIN_S
        while not (at_rest(log) and all(person.settled for person in self._people)):
            if time.monotonic() > until_s:
                self.report.broken.append(f"not at rest {REST_WITHIN_S} s after the last kill")
                break
            await asyncio.sleep(0.1)
        heads = {
            session.address.conversation: len(log.lines(session.id, after=0, limit=1_000_000))
            for session, _ in sessions(log)
            if session.address is not None
        }
        log.close()
        await self._end(lives)
        for person in self._people:
            try:
                await person.read_to(heads)
            except TimeoutError:
                self.report.broken.append("somebody could not read to the end within 30 s")
        code = await self._engines.stop()
        if code != 0:
            self.report.broken.append(f"the engine stopped with code {code}")

    async def _end(self, lives: list[asyncio.Task[None]]) -> None:
        """End the people's lives; one that had ended before by itself is no witness."""
        for life in lives:
            if life.done() and not life.cancelled():
                self.report.broken.append(f"a person is gone: {life.exception()!r}")
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

    def _judge(self) -> None:
        log = SqliteLog(self._data / LOG_FILE, read_only=True)
        self.report.verdict = judge(found_in(log), self._people)
        log.close()
