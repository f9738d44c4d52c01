"""Our own contestant: the embedded host with an in-process channel, and the same through WebSocket.

A turn is: message in → durable → model asked (scripted, zero latency) → outcome durable, reply
marked → reply out through the channel. Receipts are written too; nobody waits for them.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from bench.load import REPLY, fresh, text
from engine.ports import Delivery, Frame, Gateway, Incoming, Line, Receipt, SessionView
from engine.pseudonym import Key
from models.scripted import Rule, ScriptedModel
from statemachines import registry
from streams.egress import Account, Egress
from streams.embedded.clock import HostClock
from streams.embedded.guard import Guard
from streams.embedded.host import EmbeddedHost
from streams.embedded.metrics import Metrics
from streams.embedded.pipeline import Pipeline
from streams.embedded.store import last_at_ms
from streams.ingress import Ingress
from streams.performers import Performers

ACCOUNT = "bench"
CALLS_MAX = 4_096


class InProcess:
    """A channel without a platform: who sends a message waits for its session's next reply."""

    kind = "bench"
    account = ACCOUNT
    idempotent = True
    at_once = True

    def __init__(self) -> None:
        self.gateway: Gateway | None = None
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def start(self, gateway: Gateway) -> None:
        """Keep the way in."""
        self.gateway = gateway

    async def close(self) -> None:
        """Nothing to end."""

    async def send(self, delivery: Delivery) -> Receipt:
        """The reply is out: its sender goes on."""
        waiting = self._waiting.pop(delivery.session_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(delivery.text or "")
        return Receipt(platform_ids=(delivery.reply_id,))

    def show(self, frame: Frame) -> None:
        """Nobody looks."""

    def follows(self, session_id: str) -> bool:
        """Nobody looks."""
        return False

    def stepped(self, view: SessionView) -> None:
        """Nobody looks."""

    def wrote(self, lines: Sequence[Line]) -> None:
        """There is no outbox."""

    async def turn(self, session: str, number: int) -> None:
        """One turn; returns when its reply is out."""
        gateway = self.gateway
        assert gateway is not None
        session_id = gateway.session_id(ACCOUNT, conversation=session, sender=session)
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[session_id] = reply
        await gateway.accept(
            Incoming(
                account=ACCOUNT,
                conversation=session,
                sender=session,
                message_id=f"m{number}",
                text=text(number),
            )
        )
        said = await reply
        assert said == REPLY, said


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[tuple[InProcess, EmbeddedHost]]:
    """A running host over a log in this directory, with the channel of the bench."""
    store = SqliteLog(directory / "log.sqlite")
    channel = InProcess()
    guard = Guard(directory / "stepping.guard")
    clock = HostClock(last_at_ms(store))
    routes = Ingress(
        channel.kind,
        channel.account,
        keys=(Key(id="k1", secret=b"0123456789abcdef"),),
        known=lambda session_id: True,
    )
    pipeline = Pipeline(
        store,
        egress=Egress(
            {(channel.kind, channel.account): Account(idempotent=True)},
            delivery=store.delivery,
            jitter=random.random,
        ),
        build=lambda body: registry.build(body.flow, bytes(body.config)),
        outbox=frozenset(),
        stepping=guard.stepping,
    )
    host = EmbeddedHost(
        pipeline,
        clock=clock,
        performers=Performers(
            now_ms=clock.now_ms,
            attempt=pipeline.attempt,
            calls_max=CALLS_MAX,
            model=ScriptedModel((Rule(text=REPLY),)),
        ),
        channels=[(channel, routes)],
        metrics=Metrics(),
    )
    await host.start(registry.build("assistant"), b"{}")
    try:
        yield channel, host
    finally:
        await host.stop(drain_s=5)


def directory() -> Path:
    """An empty directory beside the peers' data, on the same file system."""
    return fresh("ours")
