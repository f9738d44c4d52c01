"""A role of a process: it connects, works until it is stopped, and says how it is.

Brokers that are away are waited for, for as long as it takes; another owner, or what nobody
foresaw, ends it: `failed` says why, and the process ends, to be started anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from engine.crash_points import CrashPoint
from engine.errors import Conflict, EngineError, Refused, Unavailable, trace_of
from streams.crash_marks import nowhere
from streams.machine_clock import awake_ms

log = logging.getLogger(__name__)

RETRY_S = 0.5
TURN_S_MAX = 5.0
"""A turn that takes longer is not waited for when the role is to stop."""


class Works(Protocol):
    """What a process asks of each of its roles, whatever it is made of.

    `ready`: empty, or why not. `progressed_ms`: when it last got on, by `awake_ms`.
    """

    at: Callable[[CrashPoint, int], None]

    @property
    def name(self) -> str: ...
    @property
    def ready(self) -> str: ...
    @property
    def progressed_ms(self) -> int: ...

    async def start(self) -> None:
        """Begin. It connects when the brokers are there."""

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more; wait at most `drain_s` for what is in hand; let go."""

    async def failed(self) -> None:
        """Return when it was stopped. Raises what ended it before."""


class Role:
    """What all roles share. `ready`: empty, or why not. `progressed_ms`: when it last got on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = "connecting"
        self.progressed_ms = awake_ms()
        self._stopping = False
        self._connected = False
        self._ends: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        # Told how many things have come to which crash point.
        self.at: Callable[[CrashPoint, int], None] = nowhere

    async def start(self) -> None:
        """Begin. It connects when the brokers are there; `ready` says when it has."""
        self._ends = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more; wait at most `drain_s` for what is in hand; let go."""
        self.ready = "stopping"
        self._stopping = True
        if self._task is not None:
            # It looks up at the end of a turn. Before the first it may wait for brokers for ever.
            await asyncio.wait([self._task], timeout=TURN_S_MAX if self._connected else 0)
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(drain_s):
                await self._drained()
        except TimeoutError:
            log.warning("%s stops with work in hand: it goes on elsewhere", self.name)
        await self._let_go()

    async def failed(self) -> None:
        """Return when it was stopped. Raises what ended it before."""
        assert self._ends is not None, "start it first"
        await asyncio.shield(self._ends)

    # ---- for roles ----------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Connect all it needs, with `_until_there`."""

    async def _turn(self) -> None:
        """Work for about a second at most."""

    def _not_yet(self) -> str:
        """Why it is connected and yet not ready; empty: it is."""
        return ""

    def _got_on_ms(self) -> int:
        """When it last got on: just now, since its loop went round."""
        return awake_ms()

    async def _drained(self) -> None:
        """Return when nothing is in hand."""

    async def _let_go(self) -> None:
        """Stop all it started."""

    async def _until_there(self, start: Callable[[], Awaitable[None]]) -> None:
        """Start a client; while the brokers are away, again and again."""
        while True:
            try:
                return await start()
            except Unavailable as error:
                self._waits(error)
                self.progressed_ms = awake_ms()
                await asyncio.sleep(RETRY_S)

    def _fail(self, error: BaseException) -> None:
        """It can do no more."""
        if self._ends is not None and not self._ends.done():
            told = error if isinstance(error, EngineError) else trace_of(error)
            log.critical("%s cannot go on: %s", self.name, told)
            self.ready = "broken, and about to be restarted"
            self._ends.set_exception(error)
            self._ends.exception()  # whoever asks is told; nobody has to ask

    # ---- inside -------------------------------------------------------------------------------

    async def _run(self) -> None:
        assert self._ends is not None
        try:
            await self._connect()
            self._connected = True
            while not self._stopping and not self._ends.done():
                await self._try_turn()
                self.progressed_ms = self._got_on_ms()
        except (Conflict, Refused) as error:
            self._fail(error)
        except Exception as error:
            self._fail(error)
        finally:
            if not self._ends.done():
                self._ends.set_result(None)

    async def _try_turn(self) -> None:
        try:
            await self._turn()
        except Unavailable as error:
            self._waits(error)
            await asyncio.sleep(RETRY_S)
        else:
            if not self._stopping:
                self.ready = self._not_yet()

    def _waits(self, error: Unavailable) -> None:
        if self.ready != str(error):
            log.warning("%s waits: %s", self.name, error)
        self.ready = str(error)
