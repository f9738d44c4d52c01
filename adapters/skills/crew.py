"""The warm worker processes: a fixed number of them, replaced in the background as they die.

Between the runner, which takes one for each call, and `process.py`. There are never more processes
than `size`: a killed one is reaped before its successor starts. What it never does: look at what a
skill says, or hand out a worker that has not loaded the skills.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping

from adapters.skills import wire
from adapters.skills.process import WorkerProcess
from engine.errors import InvalidRecord, Unavailable

START_WITHIN_S = 60
"""Until the skills are imported: a plugin may bring a big library along."""

CALLS_PER_WORKER_MAX = 1_000
"""After that many it is replaced: a skill may leak memory, and nobody would notice."""

RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0
"""Between attempts to start a worker that does not come up."""

_log = logging.getLogger(__name__)


class WorkerDied(Exception):
    """The process is gone, or broke the protocol."""


class Hand:
    """One worker process that has loaded the skills, and the frames to and from it."""

    def __init__(
        self, process: WorkerProcess, way: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self._process = process
        self._reader, self._writer = way
        self.calls = 0

    @classmethod
    async def open(cls) -> "Hand":
        """Start its process. Raises OSError."""
        process = WorkerProcess()
        return cls(process, await asyncio.open_connection(sock=process.socket))

    async def begin(self, targets: Mapping[str, str]) -> Mapping[str, str]:
        """Let it load the skills; what could not be loaded. Raises WorkerDied, TimeoutError."""
        async with asyncio.timeout(START_WITHIN_S):
            await self.send(wire.Load(targets=dict(targets)))
            loaded = await self.receive()
        if not isinstance(loaded, wire.Loaded):
            raise WorkerDied
        return loaded.broken

    async def send(self, frame: wire.ToWorker) -> None:
        """Raises WorkerDied; InvalidRecord where the frame is too long."""
        try:
            self._writer.write(wire.pack(frame))
            await self._writer.drain()
        except OSError as error:
            raise WorkerDied from error

    async def receive(self) -> wire.ToHost:
        """The next frame. Raises WorkerDied."""
        try:
            head = await self._reader.readexactly(wire.LENGTH_BYTES)
            return wire.to_host(await self._reader.readexactly(wire.body_length(head)))
        except (OSError, EOFError, InvalidRecord) as error:
            raise WorkerDied from error

    @property
    def dead(self) -> bool:
        """Whether its process has ended."""
        return self._process.dead

    def kill(self) -> None:
        """At once; nothing is waited for."""
        self._process.kill()

    async def bury(self) -> None:
        """Reap the killed process and close the way to it."""
        await asyncio.to_thread(self._process.reap)
        self._writer.close()


class Crew:
    """`size` workers, each of which loads `targets` (skill name to `module:Class`)."""

    def __init__(self, targets: Mapping[str, str], size: int) -> None:
        self._targets = targets
        self._size = size
        self._ready: asyncio.Queue[Hand] = asyncio.Queue()
        self._hands: list[Hand] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._reported: set[str] = set()

    async def start(self) -> None:
        """Start them all; returns when the first is ready. Raises Unavailable where none comes."""
        for _ in range(self._size):
            self._spawn(self._hire())
        try:
            async with asyncio.timeout(START_WITHIN_S):
                self._ready.put_nowait(await self._ready.get())
        except TimeoutError as error:
            await self.close()
            raise Unavailable(f"no skill worker was ready within {START_WITHIN_S} s") from error

    async def close(self) -> None:
        """Kill and reap every process."""
        self._closing = True
        for hand in tuple(self._hands):
            self.dismiss(hand)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self) -> Hand:
        """A warm worker, as soon as one is free; give it to `back` or `dismiss`."""
        while (hand := await self._ready.get()).dead:
            self.dismiss(hand)
        hand.calls += 1
        return hand

    def back(self, hand: Hand) -> None:
        """It ended its call in good order."""
        if self._closing or hand.calls >= CALLS_PER_WORKER_MAX:
            self.dismiss(hand)
        else:
            self._ready.put_nowait(hand)

    def dismiss(self, hand: Hand) -> None:
        """Kill it now; reap it and start its successor in the background. Twice is no error."""
        if hand in self._hands:
            self._hands.remove(hand)
            hand.kill()
            self._spawn(self._succeed(hand))

    async def _succeed(self, hand: Hand) -> None:
        await hand.bury()
        await self._hire()

    async def _hire(self) -> None:
        wait_s = RETRY_FIRST_S
        while not self._closing and not await self._started():
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)

    async def _started(self) -> bool:
        """Whether one more worker is ready now."""
        try:
            hand = await Hand.open()
        except OSError as error:
            _log.warning("no process for a skill worker: %s", error)
            return False
        self._hands.append(hand)
        try:
            self._report(await hand.begin(self._targets))
        except (WorkerDied, TimeoutError) as error:
            await self._bury(hand)
            if not self._closing:
                _log.warning("a skill worker did not start: %s", type(error).__name__)
            return False
        if self._closing:
            await self._bury(hand)
        else:
            self._ready.put_nowait(hand)
        return True

    async def _bury(self, hand: Hand) -> None:
        """As `dismiss`, without a successor."""
        if hand in self._hands:
            self._hands.remove(hand)
            hand.kill()
            await hand.bury()

    def _report(self, broken: Mapping[str, str]) -> None:
        for skill, exception in broken.items():
            if skill not in self._reported:
                self._reported.add(skill)
                _log.warning("skill %s cannot be imported: %s", skill, exception)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
