"""The worker processes of an installation: each is started again at once when it ends.

Between the lab and the processes. It kills, stops and pauses them by their ids, and asks them over
their own probes whether they are ready; it never looks into one by another way.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from streams.crash_marks import VARIABLE, CrashMarks
from tests.crash.engines import ROOT, free_port

LOOK_S = 0.05
READY_WITHIN_S = 180.0
STOPPED_WITHIN_S = 30.0
TAIL_LINES = 3


@dataclass(kw_only=True)
class End:
    """One end of a process. `killed`: by SIGKILL from here. `asked`: by SIGTERM from here."""

    role: str
    instance: str
    code: int
    at_s: float
    killed: bool = False
    asked: bool = False
    last: str = ""


@dataclass(frozen=True, kw_only=True)
class Post:
    """What one process is started with, each time. `env`: beside what all have."""

    role: str
    number: int
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        return f"{self.role}-{self.number}"


class Worker:
    """One process under its static name, over all its lives."""

    def __init__(self, post: Post, *, folder: Path, env: Mapping[str, str], port: int) -> None:
        self.post = post
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{post.instance}.log"
        marks = folder / f"{post.instance}.marks"
        self.marks = CrashMarks(marks)
        self.process: Process | None = None
        self.ends: list[End] = []
        self.on_end = lambda end: None
        self._held = False  # nobody starts it again
        self._killed = self._asked = False
        self._life: asyncio.Task[None] | None = None
        self.clock = folder / f"{post.instance}.clock"
        self._env = {
            **env,
            VARIABLE: str(marks),
            "LAB_CLOCK": str(self.clock),
            "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{port}",
            "AI_ASSISTANT_SERVER__DATA_DIR": str(folder / post.instance),
            "AI_ASSISTANT_KAFKA__INSTANCE": post.instance,
            **post.env,
        }

    @property
    def pid(self) -> int:
        """Of its present life."""
        assert self.process is not None
        return self.process.pid

    @property
    def living(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start it, and again whenever it ends, until `dismiss`."""
        self._held = False
        await self._spawn()
        self._life = asyncio.create_task(self._live(), name=self.post.instance)

    async def kill(self) -> None:
        """SIGKILL; returns once it is dead: its successor is started at once."""
        self._killed = True
        await self._signal(signal.SIGKILL)

    async def restart(self) -> None:
        """SIGTERM, as a rolling upgrade does; returns once it has ended."""
        self._asked = True
        await self._signal(signal.SIGTERM)

    async def dismiss(self, *, kill: bool = False) -> None:
        """End it for good: in an orderly way unless `kill`."""
        self._held = True
        if self.living:
            await (self.kill() if kill else self.restart())
        if self._life is not None:
            await self._life
            self._life = None

    def set_clock(self, *, ahead_s: float) -> None:
        """How far its wall clock is off, from now on and over its restarts (`shim`)."""
        self.clock.write_text(f"{ahead_s:.3f}\n")

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def ready(self, *, within_s: float = READY_WITHIN_S) -> float:
        """Wait until it says so; seconds that it took. Raises TimeoutError with its last words."""
        began_s, why = time.monotonic(), "it does not answer"
        async with httpx.AsyncClient() as http:
            while time.monotonic() < began_s + within_s:
                with suppress(httpx.HTTPError):
                    answer = await http.get(f"{self.url}/readyz", timeout=2)
                    if answer.status_code == 200:
                        return time.monotonic() - began_s
                    why = answer.text
                await asyncio.sleep(LOOK_S)
        raise TimeoutError(f"{self.post.instance} is not ready: {why}; {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " / ".join(lines[-TAIL_LINES:])

    async def _signal(self, number: signal.Signals) -> None:
        process = self.process
        assert process is not None
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        command = (sys.executable, "-P", "-m", "console.main", "worker", "--role", self.post.role)
        with self.log.open("a") as out:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=self._env, cwd=ROOT, stdout=out, stderr=out
            )

    async def _live(self) -> None:
        while True:
            process = self.process
            assert process is not None
            code = await process.wait()
            end = End(
                role=self.post.role,
                instance=self.post.instance,
                code=code,
                at_s=time.monotonic(),
                killed=self._killed,
                asked=self._asked,
                last="" if self._killed else self.last_words(),
            )
            self._killed = self._asked = False
            if not self._held:
                await self._spawn()
            self.ends.append(end)
            self.on_end(end)
            if self._held:
                return


class Crew:
    """All worker processes of one installation."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._port = 0
        self.workers: list[Worker] = []
        self.ends: list[End] = []

    def add(self, post: Post) -> Worker:
        """One more, not yet started."""
        self._port = free_port(after=self._port)
        worker = Worker(post, folder=self._folder, env=self._env, port=self._port)
        worker.on_end = self.ends.append
        self.workers.append(worker)
        return worker

    async def start(self) -> None:
        """Start all, and wait until each is ready."""
        await asyncio.gather(*(worker.start() for worker in self.workers))
        await self.ready()

    async def ready(self) -> None:
        """Wait until all are."""
        await asyncio.gather(*(worker.ready() for worker in self.workers))

    def of(self, role: str) -> list[Worker]:
        """The workers of a role."""
        return [worker for worker in self.workers if worker.post.role == role]

    async def close(self) -> None:
        """None is left, whatever it does."""
        for worker in self.workers:
            if worker.living:
                with suppress(ProcessLookupError):
                    worker.resume()
        await asyncio.gather(*(worker.dismiss(kill=True) for worker in self.workers))
