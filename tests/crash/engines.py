"""The engine process under test: how it is started, killed, and found dead.

Between `killer` and the processes. What it never does: look into the engine by other ways than its
process id and the file of `streams.crash_marks`.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

from streams.crash_marks import VARIABLE, CrashMarks

ROOT = Path(__file__).parent.parent.parent


class Engines:
    """All processes of one crash run, one engine at a time, over one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = data.with_suffix(".out")
        self.port = free_port()
        self.pid = 0
        marks = data.with_suffix(".marks")
        self.marks = CrashMarks(marks)
        self._env = {
            **os.environ,
            VARIABLE: str(marks),
            "AI_ASSISTANT_MODEL__KIND": "scripted",
            "AI_ASSISTANT_MODEL__CALLS_MAX": "16",
            "AI_ASSISTANT_SKILLS__ENABLED": "[]",
            "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{self.port}",
        }
        self._template: Process | None = None
        self._parent: Process | None = None

    async def open(self) -> None:
        """Start the template."""
        command = (sys.executable, "-m", "tests.crash.template", str(self.log))
        self._template = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=self._env, cwd=ROOT
        )

    async def start(self) -> None:
        """Fork an engine; returns before it is ready."""
        self.pid = await self._order(f"start {self.data}")

    async def start_with_parent(self) -> None:
        """`ai-assistant run`: the parent, whose child is the engine."""
        self.pid = 0
        with self.log.open("a") as out:
            self._parent = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "console.main", "run", "--data", str(self.data)),
                env=self._env,
                stdout=out,
                stderr=out,
            )

    @property
    def ended(self) -> bool:
        """The forked engine is dead."""
        return dead(self.pid)

    async def kill(self) -> int:
        """SIGKILL to the forked engine; its exit code, -9 unless it had ended before."""
        os.kill(self.pid, signal.SIGKILL)
        return await self.exit_code()

    async def kill_child(self) -> None:
        """SIGKILL to the engine that the parent started; returns when it is dead."""
        pid = self.marks.pid
        os.kill(pid, signal.SIGKILL)
        while not dead(pid):
            await asyncio.sleep(0.0005)

    async def kill_parent(self) -> None:
        """SIGKILL to the parent: its engine stops in order by itself."""
        assert self._parent is not None
        self._parent.kill()
        await self._parent.wait()
        self._parent = None

    async def stop(self) -> int:
        """SIGTERM to the forked engine; its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return await self._order("wait")

    async def exit_code(self) -> int:
        """Of the forked engine that has ended."""
        return await self._order("wait")

    async def close(self) -> None:
        """End every process that is left."""
        if self._parent is not None:
            await self.kill_parent()
        if self._template is not None:
            assert self._template.stdin is not None
            self._template.stdin.close()  # it takes its engine along
            await self._template.wait()

    async def _order(self, line: str) -> int:
        assert self._template is not None
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        self._template.stdin.write(f"{line}\n".encode())
        return int(await self._template.stdout.readline())


def dead(pid: int) -> bool:
    """No process, or one that only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def free_port(*, after: int = 0) -> int:
    """A port that no connection of ours gets as its own end: one of those would hold it."""
    for port in range(max(20_000 + os.getpid() % 10_000, after + 1), 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free between 20000 and 32000")
