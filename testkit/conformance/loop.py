"""An event loop for each test of a suite, and what its adapter must not leave behind.

Between pytest, which sees plain functions, and the suites of ports with coroutines: so an author
needs no plugin for asyncio, in whatever mode it may be. What a fixture gives is either the adapter,
not started, or an async context manager that yields it: a server, say, that lives as long.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WITHIN_S = 30.0
"""For what has no bound in its port: a slow machine passes, and what hangs is named."""

AT_ONCE_S = 1.0
"""For what a port wants within 100 ms: ten times that, since a test machine does other things."""

LOOK_EVERY_S = 0.01


class Startable(Protocol):
    """What has processes, connections or tasks of its own."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The coroutine as a test that pytest can call."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds: Callable[[], bool], *, within_s: float = AT_ONCE_S) -> bool:
    """Whether it holds, or comes to hold in time."""
    ends_s = asyncio.get_running_loop().time() + within_s
    while not holds():
        if asyncio.get_running_loop().time() > ends_s:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True


@asynccontextmanager
async def entered(given: T | AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """What a fixture gave; afterwards no process and no task of it is left."""
    tasks, processes = asyncio.all_tasks(), descendants()
    if isinstance(given, AbstractAsyncContextManager):
        async with given as adapter:
            yield adapter
    else:
        yield given
    assert await until(lambda: asyncio.all_tasks() <= tasks), "close left tasks behind"
    assert await until(lambda: not descendants(apart=processes)), "close left processes behind"


@asynccontextmanager
async def started(given: T | AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """The same, started, and closed at the end."""
    async with entered(given) as adapter:
        startable: Startable = adapter  # type: ignore[assignment]  # its suite says so
        try:
            await startable.start()
            yield adapter
        finally:
            await startable.close()


def descendants(*, apart: frozenset[int] = frozenset()) -> frozenset[int]:
    """The living processes that this one started, and those that they started.

    Those `apart` are left out, and what they started: a browser or a broker of other tests may
    start a process at any time.
    """
    parents = {pid: int(stat[1]) for pid, stat in _stats().items() if stat[0] != "Z"}
    ours: set[int] = {_own_pid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours - apart:
        ours |= more
    return frozenset(ours - {_own_pid()})


def worked_ticks() -> int:
    """Processor time that the processes of `descendants` have used, in the kernel's ticks."""
    ours = descendants()
    return sum(int(stat[11]) + int(stat[12]) for pid, stat in _stats().items() if pid in ours)


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def _stats() -> dict[int, list[str]]:
    """Of each process, what the kernel says of it from its state on."""
    found: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except OSError:  # it has ended meanwhile
                continue
            found[int(entry.name)] = stat.rpartition(")")[2].split()
    return found
