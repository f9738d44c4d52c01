"""The composition root: settings in, an embedded host out. The only place that wires real parts.

What it never does: decide anything about a conversation, or start anything; `EmbeddedHost.start`
does that.
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adapters.channels.webchat import WebChat
from adapters.logs.sqlite import SqliteLog
from adapters.skills.metadata import SkillCard
from adapters.skills.registry import enabled
from adapters.skills.runner import CallModel, SkillPool, SkillSettings
from engine.effects import ModelRequest, PromptLine
from engine.errors import Refused, Unavailable
from engine.events import FlowActivated, ModelReplied
from engine.flow import Flow
from engine.ports import Channel, ModelRunner, SkillRunner
from models.fetch import default_file
from models.llama_cpp import LlamaCpp, LlamaSettings
from models.openai_compatible import OpenAICompatible, OpenAISettings
from models.scripted import WAITS, ScriptedModel
from statemachines import registry
from streams.egress import Account, Egress
from streams.embedded import crash_marks, data_dir
from streams.embedded.clock import HostClock, wall_ms
from streams.embedded.guard import Guard
from streams.embedded.host import EmbeddedHost
from streams.embedded.metrics import Metrics
from streams.embedded.performers import Performers
from streams.embedded.pipeline import Pipeline
from streams.embedded.store import last_at_ms
from streams.embedded.told_model import ToldModel
from streams.ingress import Ingress
from streams.settings import (
    Settings,
    WrongSettings,
    check_flow_table,
    files,
    flow_problems,
    joined,
    skill_tables,
)

OUTBOX_CHANNELS = frozenset({"webchat"})
"""Channels whose lines are kept in the log: *sent* means that a line is durable there."""


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


def model_runner(settings: Settings) -> ModelRunner:
    """The configured model's runner. Raises Refused where it lacks what it needs."""
    model = settings.model
    permille = round(model.temperature * 1_000)
    match model.kind:
        case "scripted":
            return ScriptedModel(WAITS)
        case "openai":
            if model.base_url is None or model.model is None:
                raise Refused("model.kind is openai: set model.base_url and model.model")
            return OpenAICompatible(
                OpenAISettings(
                    base_url=model.base_url,
                    model=model.model,
                    api_key=None if model.api_key is None else model.api_key.reveal(),
                    temperature_permille=permille,
                    max_tokens=model.max_tokens,
                )
            )
        case "llama":
            path = model.path or default_file(settings.server.data_dir)
            if path is None:
                raise Refused(
                    "there is no model yet: `ai-assistant models fetch` gets the default one, "
                    "or set MODEL_PATH to a .gguf file"
                )
            return LlamaCpp(
                LlamaSettings(
                    model_path=path,
                    n_ctx=model.n_ctx,
                    slots=model.calls_max,
                    n_threads=model.n_threads or max(1, (os.cpu_count() or 2) - 1),
                    temperature_permille=permille,
                    max_tokens=model.max_tokens,
                )
            )


def configured_flow(settings: Settings) -> Flow:
    """The flow that `run` uses: the enabled skills are asked for their trigger words.

    Raises: WrongSettings with what is wrong with the flow, its configuration or a skill.
    """
    flow, _ = build_flow(settings, enabled_skills(settings))
    return flow


def enabled_skills(settings: Settings) -> tuple[SkillCard, ...]:
    """The cards of the enabled skills. Raises WrongSettings where one cannot be used."""
    try:
        return enabled(settings.skills.enabled)
    except Refused as error:
        # With what is wrong with the flow, which nobody would get to read before the next try.
        file = settings.directory / files.ASSISTANT if settings.directory else None
        others = flow_problems(settings.flow, file=file, origins=settings.origins)
        raise WrongSettings(joined([f"skills.enabled: {error}", *others])) from error


def build_flow(settings: Settings, cards: Sequence[SkillCard]) -> tuple[Flow, bytes]:
    """The configured flow and its whole canonical configuration. Raises WrongSettings.

    `cards`: of the enabled skills, whose names and trigger words are a part of the configuration.
    """
    try:
        return _built(settings, cards)
    except Refused as error:
        # Only the flow knows what it allows, but it is a setting that has to be corrected.
        raise WrongSettings(str(error)) from error


def _built(settings: Settings, cards: Sequence[SkillCard]) -> tuple[Flow, bytes]:
    kind = registry.find(settings.flow.name).Config
    check_flow_table(settings, kind)
    given: dict[str, Any] = msgspec.json.decode(settings.flow.config)
    known = kind.__struct_fields__
    shared: dict[str, Any] = {
        "skills": [{"name": c.name, "trigger_words": list(c.trigger_words)} for c in cards],
        "fallback_strategies": [
            {"pattern": s.pattern, "action": s.action} for s in settings.fallbacks
        ],
        "max_tokens": settings.model.max_tokens,
    }
    merged = {name: value for name, value in shared.items() if name in known} | given
    if settings.origin("model.max_tokens").startswith("env") and "max_tokens" in known:
        merged["max_tokens"] = settings.model.max_tokens  # the environment wins over both files
    config = msgspec.json.encode(merged, order="sorted")
    return registry.build(settings.flow.name, config), config


def flow_of(body: FlowActivated) -> Flow:
    """The flow of an activation. Raises Refused where this version does not have it."""
    return registry.build(body.flow, bytes(body.config))


def _accounts(channels: Sequence[Channel]) -> dict[tuple[str, str], Account]:
    return {(c.kind, c.account): Account(idempotent=c.idempotent) for c in channels}


def skill_runner(
    settings: Settings, cards: tuple[SkillCard, ...], *, model: ModelRunner, env: Mapping[str, str]
) -> SkillRunner | None:
    """The skills' runner; None where no skill is enabled."""
    if not cards:
        return None
    return SkillPool(
        SkillSettings(
            cards=cards,
            workers=settings.skills.processes_max,
            limit_ms=round(settings.skills.within_s * 1_000),
            own=skill_tables(settings, env),
            model_languages=settings.model.languages,
        ),
        _ask(model),
    )


def _ask(model: ModelRunner) -> CallModel:
    """How a skill asks the model: outside any session, so nothing of it is an event."""

    async def _answer(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        request = ModelRequest(
            effect_id=f"skill/{wall_ms()}-{random.getrandbits(64):x}",
            session_id="",
            reply_id="",
            lines=(PromptLine(role="user", text=prompt),),
            max_tokens=max_tokens,
            stream=False,
            expires_ms=deadline_ms,
        )
        outcome = await model.run(request, lambda text: None)
        if isinstance(outcome, ModelReplied):
            return outcome.text
        raise Unavailable("the model did not answer")

    return _answer
