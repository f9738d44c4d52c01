"""The engine process: the embedded host and its HTTP server, from settings to a clean stop.

Started by `ai-assistant run` through `streams.embedded.parent`, which restarts it when it dies; the
commands that need an engine for a moment (`chat --once`) use `running` directly.
"""

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from console.checkup import Verdict, check_model
from console.http.app import Parts, make_app
from console.http.serve import Server
from console.listening import bound_socket, calm_collector, server_of, stop_on_signals, url_of
from engine.errors import Unavailable
from streams.embedded.assemble import Embedded, assemble
from streams.embedded.parent import parent_is_gone
from streams.settings import Settings, operator_token

log = logging.getLogger(__name__)

T = TypeVar("T")

START_PAUSES_S = (0.5, 1.0, 2.0, *[5.0] * 23)
"""Between two tries to start where something outside is not there, a full disk for one: that clears
up within two minutes, or whoever runs the assistant must look."""

DIED = 75
"""The exit code of an engine that can do no more and wants to be restarted."""


@asynccontextmanager
async def running(settings: Settings, env: Mapping[str, str]) -> AsyncIterator[Embedded]:
    """An engine that runs as long as the block does. Raises Refused, Unavailable at the start."""
    async with _started(assemble(settings, env=env), settings) as engine:
        yield engine


@asynccontextmanager
async def _started(engine: Embedded, settings: Settings) -> AsyncIterator[Embedded]:
    try:
        await engine.start()
        yield engine
    finally:
        await engine.host.stop(drain_s=settings.server.drain_s)


async def serve(
    settings: Settings, env: Mapping[str, str], *, say: Callable[[str], None], watched: bool
) -> int:
    """Run engine and server until a signal; the exit code. `watched`: stdin is a parent's pipe."""
    calm_collector()
    stop = stop_on_signals()
    if watched:
        _stop_with_the_parent(asyncio.get_running_loop(), stop)
    started = await _patiently(lambda: _start(settings, env), stop=stop)
    if started is None:
        return 0
    engine, server, bound = started
    try:
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        say(f"the assistant is at {url_of(bound)}")
        _look_at_the_model(settings)
        died = asyncio.create_task(engine.host.failed())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([died, stopped, serving], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if died.done():
            say(f"the engine is {engine.host.fault}")
            os._exit(DIED)  # nothing in memory can be trusted to end in order
        say(
            f"stopping: waiting at most {settings.server.drain_s:g} s for what is in hand; "
            "Ctrl-C again stops now; the rest goes on at the next start"
        )
        server.should_exit = True
        await engine.webchat.close()
        await serving
        died.cancel()
    finally:
        await engine.host.stop(drain_s=settings.server.drain_s)
    return 0


async def _start(
    settings: Settings, env: Mapping[str, str]
) -> tuple[Embedded, Server, socket.socket]:
    """A started engine and what it will be served with; where that fails, nothing is left of it."""
    engine = assemble(settings, env=env)
    bound: socket.socket | None = None
    try:
        server = _server(settings, engine)
        # Before anything is started: an address in use is told at once.
        bound = bound_socket(settings)
        await engine.start()
    except BaseException:
        if bound is not None:
            bound.close()
        await engine.host.stop(drain_s=0)
        raise
    return engine, server, bound


async def _patiently(start: Callable[[], Awaitable[T]], *, stop: asyncio.Event) -> T | None:
    """What `start` comes to, tried again while it is Unavailable; None where we are to stop.

    Each reason is told once, not with each try. Raises Unavailable where it lasts.
    """
    told = ""
    for pause_s in START_PAUSES_S:
        try:
            return await start()
        except Unavailable as error:
            if str(error) != told:
                told = str(error)
                log.warning("not able to start, and trying again: %s", told)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
                return None
    try:
        return await start()
    except Unavailable as error:
        tries, spent_s = len(START_PAUSES_S) + 1, sum(START_PAUSES_S)
        raise Unavailable(
            f"given up after {tries} tries in {spent_s:.0f} s; start it again once this is "
            f"mended: {error}"
        ) from error


def _server(settings: Settings, engine: Embedded) -> Server:
    app = make_app(
        Parts(
            host=engine.host,
            chat=engine.webchat,
            token=operator_token(settings).reveal(),
            registry=engine.metrics.registry,
            origins=settings.webchat.origins,
        )
    )
    return server_of(app, settings)


def _look_at_the_model(settings: Settings) -> None:
    """Warn at once of a model server that would fail each answer; it may still come up later."""
    if settings.model.kind != "openai":
        return

    def look() -> None:
        for finding in check_model(settings):
            if finding.verdict != Verdict.OK:
                log.warning("the model: %s; see ai-assistant doctor", finding.found)

    # Not in the loop's own threads: a stop would wait for a server that does not answer.
    threading.Thread(target=look, daemon=True, name="model server").start()


def _stop_with_the_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def wait() -> None:
        if parent_is_gone(sys.stdin.fileno()):
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True, name="parent").start()
