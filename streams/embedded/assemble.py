"""The composition root: settings in, an embedded host out. The only place that wires real parts.

What it never does: decide anything about a conversation, or start anything; `EmbeddedHost.start`
does that.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.channels.webchat import WebChat
from adapters.logs.sqlite import SqliteLog
from engine.flow import Flow
from engine.ports import Channel
from streams import crash_marks
from streams.egress import Account, Egress
from streams.embedded import data_dir
from streams.embedded.clock import HostClock
from streams.embedded.guard import Guard
from streams.embedded.host import EmbeddedHost
from streams.embedded.metrics import Metrics
from streams.embedded.pipeline import Pipeline
from streams.embedded.store import last_at_ms
from streams.embedded.told_model import ToldModel
from streams.ingress import Ingress
from streams.outbox import OUTBOX_CHANNELS
from streams.parts import (
    build_flow,
    enabled_skills,
    flow_of,
    model_runner,
    skill_runner,
)
from streams.performers import Performers
from streams.settings import (
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """An engine that is wired and not started."""

    host: EmbeddedHost
    flow: Flow
    config: bytes
    metrics: Metrics
    webchat: WebChat
    guard: Guard

    async def start(self) -> None:
        """Recover and begin."""
        await self.host.start(self.flow, self.config, standing=self.guard.standing())


def assemble(settings: Settings, *, env: Mapping[str, str]) -> Embedded:
    """Wire the embedded host of these settings. Raises Refused with what is wrong and the fix."""
    directory = settings.server.data_dir
    data_dir.prepare(directory)
    keys = data_dir.keys(directory)
    model = ToldModel(model_runner(settings))
    cards = enabled_skills(settings)
    skills = skill_runner(settings, cards, model=model, env=env)
    flow, config = build_flow(settings, cards)
    guard = Guard(directory / data_dir.GUARD_FILE)
    # After all that may be refused: from here on the log is ours.
    store = SqliteLog(directory / data_dir.LOG_FILE)
    clock = HostClock(last_at_ms(store))
    metrics = Metrics()
    webchat = WebChat(settings.webchat.account, keys.cookies)
    routes = Ingress(
        webchat.kind,
        webchat.account,
        keys=keys.pseudonyms,
        known=lambda session_id: store.get(session_id) is not None,
        shows_lines=True,
    )
    pipeline = Pipeline(
        store,
        egress=Egress(_accounts([webchat]), delivery=store.delivery, jitter=random.random),
        build=flow_of,
        outbox=OUTBOX_CHANNELS,
        stepping=guard.stepping,
    )
    performers = Performers(
        now_ms=clock.now_ms,
        attempt=pipeline.attempt,
        calls_max=settings.model.calls_max,
        model=model,
        skills=skills,
    )
    host = EmbeddedHost(
        pipeline,
        clock=clock,
        performers=performers,
        channels=[(webchat, routes)] if settings.webchat.enabled else [],
        metrics=metrics,
        batch_max=settings.engine.batch_events_max,
    )
    if crash_marks.VARIABLE in env:
        marks = crash_marks.CrashMarks(Path(env[crash_marks.VARIABLE]))
        marks.begin()
        host.at = marks.at
    return Embedded(
        host=host, flow=flow, config=config, metrics=metrics, webchat=webchat, guard=guard
    )


def _accounts(channels: Sequence[Channel]) -> dict[tuple[str, str], Account]:
    return {(c.kind, c.account): Account(idempotent=c.idempotent) for c in channels}
