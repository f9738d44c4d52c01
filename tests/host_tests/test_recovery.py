"""What a start finds in the log goes on: requests, deliveries, timers, people's sessions."""

import asyncio
from pathlib import Path

import pytest

from engine import codec
from engine.crash_points import CrashPoint
from engine.errors import Unavailable
from engine.ports import SessionRow, SessionView
from models.scripted import Rule, ScriptedModel
from tests.host_tests.engines import PERSON, Engine, eventually
from tests.host_tests.folding import dispositions, folds, opened
from tests.host_tests.rogue_flow import Died


def never(*frames: str) -> ScriptedModel:
    """A model that shows these frames at once, and never ends."""
    return ScriptedModel([Rule(latency_ms=None, frames=frames)])


async def test_a_request_in_flight_at_a_death_is_asked_again_and_answered_once(
    data: Path,
) -> None:
    dying = await Engine(data, model=never()).start()
    await dying.say("hello")
    await eventually(lambda: dying.host._performers.in_flight)
    await dying.die()
    async with Engine(data) as engine:
        assert (await engine.answer()).text == "hello"
        assert await engine.texts() == ["hello", "hello"]
    assert dispositions(data) == ["answered"]
    assert folds(data) == 2


async def test_the_frames_of_a_later_process_win_over_those_of_an_earlier_one(data: Path) -> None:
    attempts = []
    for n in range(3):
        engine = await Engine(data, model=never(f"attempt {n}")).start()
        if n == 0:
            await engine.say("hello")
        view = await eventually(lambda at=engine: _streaming(at))
        (frame,) = view.frames
        assert frame.text == f"attempt {n}"
        attempts.append(frame.attempt)
        await engine.die()
    assert attempts == sorted(set(attempts))


async def _streaming(engine: Engine) -> SessionView | None:
    view = await engine.host.view(engine.session_id())
    return view if view is not None and view.frames else None


async def test_a_request_that_expired_while_nothing_ran_ends_with_an_apology(data: Path) -> None:
    config = {"model_within_s": 1}
    dying = await Engine(data, model=never(), config=config).start()
    await dying.say("hello")
    await eventually(lambda: dying.host._performers.in_flight)
    await dying.die()
    await asyncio.sleep(1.1)
    async with Engine(data, config=config) as engine:
        assert (await engine.answer()).text.startswith("Sorry")
        assert await engine.ask("again") == "again"
    assert dispositions(data) == ["failed", "answered"]
    folds(data)


async def test_a_timer_that_became_due_while_nothing_ran_fires_at_the_start(data: Path) -> None:
    config = {"person_timeout_s": 1}
    async with Engine(data, config=config) as engine:
        await engine.ask("human")
    await asyncio.sleep(1.1)
    async with Engine(data, config=config) as engine:
        assert (await engine.answer(2)).text.startswith("Nobody is free")
        view = await engine.host.view(engine.session_id())
        assert view is not None
        assert (view.state, view.person) == ("bot.listening", False)
        assert await engine.host.operator_sessions() == []
    folds(data)


async def test_a_session_in_a_persons_hands_is_still_there_after_a_death(data: Path) -> None:
    dying = await Engine(data).start()
    await dying.ask("human")
    await dying.die()
    async with Engine(data) as engine:
        (handed,) = await engine.host.operator_sessions()
        assert (handed.session_id, handed.last_text) == (engine.session_id(), "human")
        await engine.host.operator_say(
            handed.session_id, request_id="r1", text="Ann here", operator="ann"
        )
        assert (await engine.answer(2)).author == "operator"
    folds(data)


@pytest.mark.parametrize("point", list(CrashPoint))
async def test_a_death_at_any_crash_point_loses_nothing_and_doubles_nothing(
    data: Path, point: CrashPoint
) -> None:
    """What a client does: send until acknowledged, to whichever process there is."""
    dying = await Engine(data).start()

    def die(here: CrashPoint, things: int) -> None:
        if here is point and things:
            raise Died

    dying.host.at = die
    sent = asyncio.create_task(dying.say("hello", id="client-message-1"))
    await asyncio.wait([sent], timeout=0.3)
    acknowledged = sent.done() and sent.exception() is None
    sent.cancel()
    await asyncio.gather(sent, return_exceptions=True)
    await dying.die()
    async with Engine(data) as engine:
        if not acknowledged:
            await engine.say("hello", id="client-message-1")
        assert (await engine.answer()).text == "hello"
        assert await engine.ask("and on") == "and on"
        assert await engine.texts() == ["hello", "hello", "and on", "and on"]
    assert dispositions(data) == ["answered", "answered"]
    log = opened(data)
    assert {d.state for d in log.deliveries_of(engine.session_id())} == {"sent"}
    log.close()
    folds(data)


async def test_a_session_that_cannot_be_read_harms_nobody_else(data: Path) -> None:
    async with Engine(data) as engine:
        await engine.ask("hello", to="conversation-x")
        broken = engine.session_id("conversation-x")
        await engine.ask("hello")
        with engine.host._store.transaction(engine.host._pipeline._owner) as batch:
            batch.put_sessions([_row(engine, broken)._replace(value=b'{"id":')])
        await engine.die()
    async with Engine(data) as engine:
        assert await engine.ask("still there?") == "still there?"
        await engine.say("and me?", to="conversation-x")
        excuse = await engine.answer(2, to="conversation-x")
        assert excuse.text.startswith("Sorry")
        (letter,) = engine.host._store.dead_letters()
        assert letter.session_id == broken


def _row(engine: Engine, session_id: str) -> SessionRow:
    value = engine.host._store.get(session_id)
    assert value is not None
    return SessionRow(session_id, value, bool(codec.decode_session(value).pending))


async def test_nothing_is_taken_before_the_start_or_after_the_stop(data: Path) -> None:
    engine = Engine(data)
    with pytest.raises(Unavailable, match="starting"):
        await engine.say("too early")
    await engine.start()
    gateway = engine.wired.webchat.gateway
    await engine.stop()
    with pytest.raises(Unavailable, match="stopping"):
        await engine.say("too late")
    with pytest.raises(Unavailable, match="stopping"):
        await gateway.stop(f"webchat:web:k1:{PERSON}", reply_id="", request_id="r")
