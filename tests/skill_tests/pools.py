"""Pools of real worker processes with the skills of `rogues.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.skills.metadata import SkillCard, SkillSource
from adapters.skills.runner import CallModel, SkillPool, SkillSettings
from engine.effects import SkillRequest

NOW_MS = 1_700_000_000_000


def source(name: str) -> SkillSource:
    """Where the skill of `rogues.py` with this class name is."""
    return SkillSource(entry=name, target=f"tests.skill_tests.rogues:{name}", origin="these tests")


def card(name: str) -> SkillCard:
    """What the registry would have made of it."""
    words = (f"run {name}",)
    return SkillCard(name=name, version="1.0", trigger_words=words, source=source(name))


def request(skill: str, text: str = "", *, within_ms: int = 20_000) -> SkillRequest:
    """A request that was made now."""
    return SkillRequest(
        effect_id="web/a/1/p/effect",
        session_id="web/a/1/p",
        skill=skill,
        text=text,
        locale="zh-CN",
        expires_ms=NOW_MS + within_ms,
    )


@asynccontextmanager
async def pool(
    *skills: str, model: CallModel | None = None, workers: int = 2, limit_ms: int = 5_000
) -> AsyncIterator[SkillPool]:
    """A started pool with these skills; none of its processes is left afterwards."""
    settings = SkillSettings(
        cards=tuple(card(name) for name in skills),
        workers=workers,
        spare=2,
        limit_ms=limit_ms,
        own={"Facts": {"unit": "metres"}},
        model_languages=("en", "zh"),
    )
    made = SkillPool(settings, model)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
