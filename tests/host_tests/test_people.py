"""Handing over to people and back, as operators and persons see it."""

from pathlib import Path

import pytest

from engine.crash_points import CrashPoint
from engine.effects import Forward, Withdraw
from engine.errors import Refused, Unavailable
from engine.ports import Delivery, Receipt
from models.scripted import WAITS, Rule, ScriptedModel
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds, opened, steps_of


async def test_a_person_is_handed_over_answered_and_handed_back(data: Path) -> None:
    async with Engine(data) as engine:
        session = engine.session_id()
        assert await engine.ask("human") == "A colleague will answer you here."
        await engine.say("is anybody there?")
        host = engine.host
        (handed,) = await host.operator_sessions()
        assert (handed.session_id, handed.last_text, handed.waiting) == (
            session,
            "is anybody there?",
            2,
        )
        await host.operator_say(session, request_id="r1", text="Ann here", operator="ann")
        line = await engine.answer(2)
        assert (line.text, line.author) == ("Ann here", "operator")
        await host.operator_say(session, request_id="r1", text="Ann here", operator="ann")
        await host.hand_back(session, request_id="r2", operator="ann")
        assert (await engine.answer(3)).text == "You are talking to the assistant again."
        assert await host.operator_sessions() == []
        assert await engine.ask("hello") == "hello"
    assert dispositions(data) == ["forwarded", "forwarded", "answered"]
    forwarded = [
        effect.body.text
        for record in steps_of(data, session)
        for effect in record.effects
        if isinstance(effect.body, Forward)
    ]
    assert forwarded == ["human", "is anybody there?"]
    folds(data)


async def test_an_operator_is_told_who_is_not_in_their_hands(data: Path) -> None:
    async with Engine(data) as engine:
        await engine.ask("hello")
        for ask in (
            engine.host.operator_say(
                engine.session_id(), request_id="r1", text="hi", operator="ann"
            ),
            engine.host.operator_say("nobody", request_id="r1", text="hi", operator="ann"),
            engine.host.hand_back(engine.session_id(), request_id="r2", operator="ann"),
        ):
            with pytest.raises(Refused, match="operator list"):
                await ask
        assert await engine.ask("still here") == "still here"
    folds(data)


async def test_a_fallback_strategy_hands_over_before_anything_of_it_is_shown(data: Path) -> None:
    model = ScriptedModel(
        [
            Rule(pattern="broken", text="系统错误: 5", frames=("系统", "系统错误"), latency_ms=30),
            Rule(),
        ]
    )
    config = {"fallback_strategies": [{"pattern": "^系统错误", "action": "escalate_to_human"}]}
    async with Engine(data, model=model, config=config) as engine:
        assert (await engine.ask("it is broken")).startswith("I am passing this on")
        assert "系统" not in "".join(line.text for line in await engine.lines())
        (handed,) = await engine.host.operator_sessions()
        assert handed.waiting == 1
    assert dispositions(data) == ["forwarded"]
    folds(data)


async def test_a_reply_that_was_not_marked_is_withdrawn_when_a_person_takes_over(
    data: Path,
) -> None:
    async with Engine(data, config={"busy": "interrupt"}) as engine:
        channel = engine.wired.webchat
        tries: list[str] = []

        async def away(delivery: Delivery) -> Receipt:
            tries.append(delivery.text or "")
            if len(tries) == 1:
                raise Unavailable("the platform is away", retry_after_ms=60_000)
            return Receipt()

        channel.send = away  # type: ignore[method-assign]
        await engine.say("stale question")
        await eventually(lambda: tries)
        await eventually(lambda: not engine.host._pipeline.egress._sending)
        await engine.say("human")
        assert (await engine.answer()).text.startswith("A colleague")
        assert tries == ["stale question", "A colleague will answer you here."]
    log = opened(data)
    states = [(d.text, d.state) for d in log.deliveries_of(engine.session_id())]
    log.close()
    assert states == [
        ("stale question", "withdrawn"),
        ("A colleague will answer you here.", "sent"),
    ]
    records = steps_of(data, engine.session_id())
    assert any(isinstance(e.body, Withdraw) for record in records for e in record.effects)
    folds(data)


async def test_a_reply_that_its_platform_refuses_is_told_to_the_session(data: Path) -> None:
    async with Engine(data) as engine:

        async def refuse(delivery: Delivery) -> Receipt:
            raise Refused("the person has left \ud800" + "!" * 100_000)

        engine.wired.webchat.send = refuse  # type: ignore[method-assign]
        await engine.say("hello")
        log = opened(data)
        await eventually(
            lambda: [d.state for d in log.deliveries_of(engine.session_id())] == ["failed"]
        )
        (failed,) = log.deliveries_of(engine.session_id())
        assert failed.error.startswith("the person has left \ufffd!!")
        assert len(failed.error) == 500
        log.close()
        del engine.wired.webchat.send
        assert await engine.ask("again") == "again"
        assert engine.host.state().dead_letters == 0
    assert dispositions(data) == ["answered", "answered"]  # final: a send that fails is no matter
    folds(data)


async def test_an_adapter_that_breaks_its_contract_fails_its_reply_and_nothing_else(
    data: Path,
) -> None:
    async with Engine(data) as engine:

        async def broken(delivery: Delivery) -> Receipt:
            raise KeyError("a bug")

        engine.wired.webchat.send = broken  # type: ignore[method-assign]
        marks: list[CrashPoint] = []
        engine.host.at = lambda point, n: marks.append(point)
        await engine.say("hello")
        await eventually(lambda: CrashPoint.CALL_RECEIPT in marks)
        del engine.wired.webchat.send
        assert await engine.ask("again") == "again"
    folds(data)


async def test_stop_ends_the_reply_where_it_is_and_feedback_changes_nothing(data: Path) -> None:
    model = ScriptedModel([Rule(pattern="long", frames=("so far",), latency_ms=None), Rule()])
    async with Engine(data, model=model) as engine:
        session = await engine.say("a long story")

        async def streaming() -> str:
            view = await engine.host.view(session)
            return view.frames[0].reply_id if view and view.frames else ""

        reply = await eventually(streaming)
        await engine.gateway.stop(session, reply_id=reply, request_id="stop-1")
        line = await engine.answer()
        assert (line.text, line.how, line.id) == ("so far", "stopped", reply)
        await engine.gateway.stop(session, reply_id=reply, request_id="stop-1")
        for verdict in ("down", "up", "up"):
            await engine.gateway.feedback(session, reply_id=reply, verdict=verdict, text="")
        for number, verdict in enumerate(("up", "down", "up", "up")):
            await engine.gateway.feedback(
                session, reply_id=reply, verdict=verdict, text="", request_id=f"r{min(number, 2)}"
            )
        with pytest.raises(Refused, match="`up` or `down`"):
            await engine.gateway.feedback(session, reply_id=reply, verdict="so-so", text="")
        assert await engine.ask("hello") == "hello"
        assert engine.host._performers.in_flight == 0
    assert dispositions(data) == ["answered", "answered"]
    # Without ids two verdicts count once each; with ids the way back to the first one counts, too.
    assert [record.note for record in steps_of(data, session)].count("ignored") == 2 + 3
    folds(data)


async def test_what_a_person_may_stop_is_named_before_anything_of_it_is_shown(data: Path) -> None:
    async with Engine(data, model=ScriptedModel(WAITS)) as engine:
        session_id = await engine.say("wait 400 ms")
        view = await engine.host.view(session_id)
        assert view is not None
        (reply,) = view.replies
        assert view.frames == ()
        await engine.gateway.stop(session_id, reply_id=reply, request_id="request-1")
        view = await engine.host.view(session_id)
        assert view is not None
        assert (view.replies, view.busy) == ((), False)
    assert dispositions(data) == ["answered"]
