"""A worker process: roles of a cluster and its HTTP server, from settings to a clean stop.

Started by `ai-assistant worker`, one process or container for each; whoever runs it restarts it. A
role that can go on no more ends the process at once, whatever else it does: what is durable is
elsewhere, and its partitions go to others.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace
from starlette.types import ASGIApp

from console.http.probes import make_probes
from console.http.serve import Server
from console.invocation import code_of
from console.listening import bound_socket, calm_collector, server_of, stop_on_signals, url_of
from engine.errors import EngineError, Unavailable, trace_of
from streams.cluster import topic_table
from streams.cluster.assemble import Assembled, assemble_worker
from streams.cluster.links import kafka_settings
from streams.cluster.promotion import require_none_open
from streams.host_state import HostState
from streams.machine_clock import awake_ms, wall_ms
from streams.settings import Settings
from streams.version import own_version

log = logging.getLogger(__name__)

STUCK_MS = 60_000
"""Whatever a role waits for, its loop turns each few seconds, and what it asks of brokers that are
there has an end within half a minute."""
AGAIN_S = 0.5


class Worker:
    """The roles of one process, as probes and operators see them together."""

    def __init__(self, assembled: Assembled) -> None:
        self._parts = assembled
        self._started_ms = wall_ms()

    def state(self) -> HostState:
        """Ready where every role is."""
        whys = [f"{role.name}: {role.ready}" for role in self._parts.roles if role.ready]
        if self._parts.appender.fault:
            whys.append(self._parts.appender.fault)
        gateway = self._parts.gateway
        if gateway is not None:
            found = gateway.gateway.state()
        else:
            found = HostState(
                ready=True, reason="", version=own_version(), flow="",
                started_ms=self._started_ms, sessions=0, events=0, lag=0, undelivered=0,
                dead_letters=0,
            )  # fmt: skip
        return replace(found, ready=not whys, reason="; ".join(whys))

    def alive(self) -> str:
        """The roles that have not got on for a minute, though the brokers were there all the time.

        While they are away no restart would help, and all processes would restart at once.
        """
        if self._parts.appender.taken_for_s * 1_000 < STUCK_MS:
            return ""
        now_ms = awake_ms()
        roles = self._parts.roles
        return ", ".join(r.name for r in roles if now_ms - r.progressed_ms > STUCK_MS)

    async def start(self) -> None:
        """Begin all roles; they connect when the brokers are there."""
        for role in self._parts.roles:
            await role.start()

    async def failed(self) -> BaseException:
        """Wait until a role can go on no more; why."""
        waits = [asyncio.ensure_future(role.failed()) for role in self._parts.roles]
        done, others = await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
        for other in others:
            other.cancel()
        errors = [future.exception() for future in done]
        return next((error for error in errors if error is not None), asyncio.CancelledError())

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more in, then let each role finish what it has in hand."""
        gateway = self._parts.gateway
        if gateway is not None:
            await gateway.gateway.stop(drain_s=drain_s)
        others = [r for r in self._parts.roles if gateway is None or r is not gateway.gateway]
        await asyncio.gather(*(role.stop(drain_s=drain_s) for role in others))
        await self._parts.appender.stop()


async def work(
    settings: Settings, names: Sequence[str], *, env: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """Run these roles until a signal; the exit code. Raises Refused with what is wrong."""
    calm_collector()
    stop = stop_on_signals()
    assembled = assemble_worker(settings, names, env=env)
    worker = Worker(assembled)
    bound = bound_socket(settings)
    server = _server(settings, assembled, worker)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    say(f"worker {', '.join(names)}: probes at {url_of(bound)}")
    stopped = asyncio.create_task(stop.wait())
    connected = asyncio.create_task(_connected(settings, assembled, names))
    await asyncio.wait([stopped, connected], return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        connected.result()
        await worker.start()
        died = asyncio.create_task(worker.failed())
        await asyncio.wait([stopped, died, serving], return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            error = died.result()
            told = str(error) if isinstance(error, EngineError) else trace_of(error)
            say(f"worker {', '.join(names)} ends: {told}")
            os._exit(int(code_of(error)) if isinstance(error, EngineError) else 70)
        say(f"stopping: waiting at most {settings.server.drain_s:g} s for what is in hand")
        await worker.stop(drain_s=settings.server.drain_s)
    server.should_exit = True
    await serving
    # What Faust still has running would take seconds to end, and nobody needs it.
    os._exit(0)


async def _connected(settings: Settings, assembled: Assembled, names: Sequence[str]) -> None:
    """The appender is the first to need the brokers; they may be down for as long as they like, and
    the machine's clock may be wrong.

    Raises Refused where the topics are not as they must be, or while an embedded log is being
    copied there; the role sessions sees that itself, in the rows of its partitions.
    """
    told, kafka = "", kafka_settings(settings)
    while True:
        try:
            await topic_table.require(kafka, settings.kafka)
            if set(names) != {"sessions"}:
                await require_none_open(kafka)
            await assembled.appender.start()
            while assembled.appender.fault:  # of the clock: no role is to begin with a wrong one
                await asyncio.sleep(AGAIN_S)
            return
        except Unavailable as error:
            if str(error) != told:
                told = str(error)
                log.warning("waiting for the brokers: %s", told)
            await asyncio.sleep(AGAIN_S)


def _server(settings: Settings, assembled: Assembled, worker: Worker) -> Server:
    gateway = assembled.gateway
    app: ASGIApp
    if gateway is None:
        token = settings.operators.token
        app = make_probes(
            worker.state,
            alive=worker.alive,
            registry=assembled.registry,
            token="" if token is None else token.reveal(),
        )
    else:
        # Only here: a worker without pages starts without them, and so sooner.
        from console.http.app import Parts, make_app

        app = make_app(
            Parts(
                host=gateway.gateway,
                chat=gateway.webchat,
                token=gateway.token.reveal(),
                registry=assembled.registry,
                origins=settings.webchat.origins,
                state=worker.state,
                alive=worker.alive,
            )
        )
    return server_of(app, settings)
