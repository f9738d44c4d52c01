"""What every host is made of, from the same settings: the flow, the model, the skills.

Between `streams.settings` and the two composition roots, `streams.embedded.assemble` and
`streams.cluster.assemble`. What only some need is imported where it is made: a worker that was
killed has to be back soon.
"""

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters.skills.metadata import SkillCard
from adapters.skills.registry import enabled
from adapters.skills.runner import CallModel, SkillPool, SkillSettings
from engine.effects import ModelRequest, PromptLine
from engine.errors import Refused, Unavailable
from engine.events import FlowActivated, ModelReplied
from engine.flow import Flow
from engine.ports import ModelRunner, SkillRunner
from statemachines import registry
from streams.machine_clock import wall_ms
from streams.settings import (
    Settings,
    WrongSettings,
    check_flow_table,
    files,
    flow_problems,
    joined,
    skill_tables,
)


def model_runner(settings: Settings) -> ModelRunner:
    """The configured model's runner. Raises Refused where it lacks what it needs."""
    model = settings.model
    permille = round(model.temperature * 1_000)
    match model.kind:
        case "scripted":
            from models.scripted import WAITS, ScriptedModel

            return ScriptedModel(WAITS)
        case "openai":
            if model.base_url is None or model.model is None:
                raise Refused("model.kind is openai: set model.base_url and model.model")
            from models.openai_compatible import OpenAICompatible, OpenAISettings

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
            from models.fetch import default_file
            from models.llama_cpp import LlamaCpp, LlamaSettings

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
