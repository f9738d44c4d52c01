"""A stop drains what is in hand within its time; the rest goes on at the next start."""

import asyncio
import time
from pathlib import Path

import pytest

from engine.errors import Unavailable
from models.scripted import Rule, ScriptedModel
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds, opened

SLOW = ScriptedModel([Rule(latency_ms=300, frames=("so", "so far"))])
NEVER = ScriptedModel([Rule(latency_ms=None)])


async def test_a_stop_waits_for_the_answer_that_is_being_made(data: Path) -> None:
    engine = await Engine(data, model=SLOW).start()
    await engine.say("hello")
    await engine.stop(drain_s=10)
    log = opened(data)
    assert [line.text for line in log.lines(engine.session_id(), after=0, limit=9)] == [
        "hello",
        "hello",
    ]
    log.close()
    assert dispositions(data) == ["answered"]
    folds(data)


async def test_a_stop_right_after_a_message_still_brings_its_whole_turn_to_an_end(
    data: Path,
) -> None:
    """Whatever instant of a commit the stop falls into."""
    for n in range(15):
        engine = await Engine(data).start()
        sent = asyncio.create_task(engine.say("hello", to=f"conversation-{n}"))
        await asyncio.sleep(n / 2_000)
        await asyncio.gather(sent, engine.stop(drain_s=10), return_exceptions=True)
        if sent.exception() is None:
            log = opened(data)
            lines = log.lines(engine.session_id(f"conversation-{n}"), after=0, limit=9)
            log.close()
            assert [line.author for line in lines] == ["user", "bot"]
    folds(data)


async def test_a_stop_ends_within_its_time_though_a_model_does_not(data: Path) -> None:
    engine = await Engine(data, model=NEVER).start()
    await engine.say("hello")
    await eventually(lambda: engine.host._performers.in_flight)
    began_s = time.monotonic()
    await engine.stop(drain_s=0.5)
    assert 0.4 < time.monotonic() - began_s < 4
    async with Engine(data) as after:
        assert (await after.answer()).text == "hello"
    assert dispositions(data) == ["answered"]
    folds(data)


async def test_while_it_drains_nothing_more_is_taken(data: Path) -> None:
    engine = await Engine(data, model=SLOW).start()
    gateway = engine.gateway
    await engine.say("hello")
    stopping = asyncio.create_task(engine.stop(drain_s=10))
    await asyncio.sleep(0.05)
    assert engine.host.state().reason == "stopping"
    assert not engine.host.state().ready
    with pytest.raises(Unavailable, match="stopping"):
        await gateway.stop(engine.session_id(), reply_id="", request_id="r")
    await stopping
    async with Engine(data) as after:
        assert len(await after.lines()) == 2
    folds(data)


async def test_an_engine_that_never_started_lets_go_of_its_directory(data: Path) -> None:
    engine = Engine(data)
    await engine.stop()
    async with Engine(data) as after:
        assert await after.ask("hello") == "hello"
