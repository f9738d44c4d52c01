"""Another flow, or another configuration, at the next start: sessions go on in it."""

import logging
from pathlib import Path
from unittest.mock import patch

import pytest

from engine.errors import Refused
from models.scripted import Rule, ScriptedModel
from statemachines import registry
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds, steps_of

NEVER = ScriptedModel([Rule(latency_ms=None)])


async def test_a_changed_configuration_takes_sessions_along_where_they_are(data: Path) -> None:
    async with Engine(data) as engine:
        await engine.ask("human")
        before = engine.host.state().flow
    async with Engine(data, config={"language": "zh"}) as engine:
        assert engine.host.state().flow != before
        (handed,) = await engine.host.operator_sessions()
        await engine.host.hand_back(handed.session_id, request_id="r1", operator="ann")
        assert (await engine.answer(2)).text == "您正在与智能助手对话。"
        assert await engine.ask("hello") == "hello"
    records = steps_of(data, engine.session_id())
    assert len({record.flow for record in records}) == 2
    assert folds(data) == len(records)


async def test_changed_settings_are_told_calmly_and_another_flow_as_a_warning(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="streams.embedded.host")
    for config, flow in ({}, "assistant"), ({"language": "zh"}, "assistant"), ({}, "leave_request"):
        async with Engine(data, config=config, flow=flow):
            pass
    told = [(r.levelno, r.getMessage().partition("#")[0]) for r in caplog.records]
    assert told == [
        (logging.INFO, "settings changed: conversations go on with them"),
        (logging.WARNING, "flow leave_request@1"),
    ]


async def test_a_request_in_flight_is_answered_in_the_new_configuration(data: Path) -> None:
    dying = await Engine(data, model=NEVER).start()
    await dying.say("hello")
    await eventually(lambda: dying.host._performers.in_flight)
    await dying.die()
    async with Engine(data, config={"greeting": "Welcome!"}) as engine:
        assert (await engine.answer()).text == "hello"
        assert await engine.ask("hi", to="conversation-2") == "Welcome!"
        assert (await engine.answer(2, to="conversation-2")).text == "hi"
    assert dispositions(data) == ["answered", "answered"]
    folds(data)


async def test_from_one_flow_to_another_and_back(data: Path) -> None:
    async with Engine(data) as engine:
        await engine.ask("hello")
    async with Engine(data, flow="leave_request") as engine:
        await engine.say("I want leave")
        await engine.answer(2)
    async with Engine(data) as engine:
        assert await engine.ask("hello again") == "hello again"
    names = [record.flow.name for record in steps_of(data, engine.session_id())]
    assert names[0] == "assistant"
    assert "leave_request" in names
    assert names[-1] == "assistant"
    folds(data)


async def test_the_same_flow_again_changes_nothing(data: Path) -> None:
    for _ in range(3):
        async with Engine(data) as engine:
            await engine.ask("hello")
    records = steps_of(data, engine.session_id())
    assert len({record.flow for record in records}) == 1
    assert folds(data) == 6


@pytest.mark.usefixtures("rogues")
async def test_a_flow_that_is_gone_is_replaced_where_all_of_its_events_are_applied(
    data: Path,
) -> None:
    async with Engine(data, flow="rogue") as engine:
        await engine.ask("hello")
    with patch.object(registry, "PLUGINS", "nothing.is.installed.here"):
        async with Engine(data) as engine:
            assert await engine.ask("and on") == "and on"
        with pytest.raises(Refused, match="no flow 'rogue'"):
            Engine(data, flow="rogue")
    folds(data)
