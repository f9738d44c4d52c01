"""The scripted runners: what they answer, when, and how they fail."""

import asyncio

import pytest

from engine.effects import IntentRequest
from engine.events import IntentFailed, IntentFound, ModelFailed, ModelReplied
from models.scripted import IntentRule, Rule, ScriptedIntents, ScriptedModel
from tests.model_tests.asking import request


async def test_without_rules_the_model_repeats_what_was_said() -> None:
    frames: list[str] = []
    outcome = await ScriptedModel().run(request("first", "answer", "你好 🎉"), frames.append)
    assert isinstance(outcome, ModelReplied)
    assert outcome.text == "你好 🎉"
    assert frames == []


async def test_the_first_rule_that_fits_decides() -> None:
    model = ScriptedModel(
        [Rule(pattern="^a", failure="died", detail="why"), Rule(pattern="a", text="yes", cut=True)]
    )
    died = await model.run(request("ab"), lambda text: None)
    assert isinstance(died, ModelFailed)
    assert (died.reason, died.detail) == ("died", "why")
    replied = await model.run(request("ba"), lambda text: None)
    assert isinstance(replied, ModelReplied)
    assert (replied.text, replied.cut) == ("yes", True)
    assert model.scripted(request("ba")) == replied


async def test_frames_are_shown_before_the_end() -> None:
    frames: list[str] = []
    model = ScriptedModel([Rule(text="abc", frames=("a", "ab"), latency_ms=3)])
    await model.run(request("x"), frames.append)
    assert frames == ["a", "ab"]


async def test_a_rule_without_latency_limit_never_ends_but_can_be_cancelled() -> None:
    model = ScriptedModel([Rule(latency_ms=None)])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.run(request("x"), lambda text: None), 0.01)


async def test_intents_are_recognised_from_the_table() -> None:
    intents = ScriptedIntents(
        [IntentRule(pattern="假", intent="leave"), IntentRule(pattern="!", failure="timeout")]
    )

    def asked(text: str) -> IntentRequest:
        return IntentRequest(effect_id="e", session_id="s", text=text, expires_ms=0)

    leave = await intents.run(asked("我要请假"))
    assert isinstance(leave, IntentFound)
    assert leave.intent == "leave"
    failed = await intents.run(asked("!"))
    assert isinstance(failed, IntentFailed)
    other = await intents.run(asked("?"))
    assert isinstance(other, IntentFound)
    assert other.intent == "other"
