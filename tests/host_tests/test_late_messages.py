"""Messages that a page kept for a day and longer, and then sent once more."""

from pathlib import Path

import pytest

from engine.errors import Refused
from tests.host_tests.engines import Engine
from tests.host_tests.folding import dispositions, folds, opened

HOUR_MS = 3_600_000


def wait(engine: Engine, hours: int) -> None:
    """So much later, by the log's time."""
    engine.host._clock._start_ms += hours * HOUR_MS


@pytest.mark.parametrize("stamped", [True, False])
async def test_a_message_sent_again_is_taken_once_however_long_after(
    data: Path, stamped: bool
) -> None:
    async with Engine(data) as engine:
        sent_ms = engine.gateway.now_ms() if stamped else None
        await engine.say("pay 100", id="message-1", sent_ms=sent_ms)
        await engine.answer(1)
    async with Engine(data) as engine:
        wait(engine, 26)
        assert await engine.ask("next", id="message-2") == "next"
        events = engine.host.state().events
        await engine.say("pay 100", id="message-1", sent_ms=sent_ms)
        assert engine.host.state().events == events
        assert await engine.ask("and on") == "and on"
        assert await engine.texts() == ["pay 100"] * 2 + ["next"] * 2 + ["and on"] * 2
    assert dispositions(data) == ["answered"] * 3
    folds(data)


async def test_a_message_that_comes_a_day_late_is_shown_as_such_and_not_answered(
    data: Path,
) -> None:
    async with Engine(data) as engine:
        now_ms = engine.gateway.now_ms()
        await engine.ask("hello", id="message-1")
        await engine.say("pay 100", id="message-2", sent_ms=now_ms - 25 * HOUR_MS)
        await engine.say("pay 200", id="message-3", sent_ms=now_ms - 23 * HOUR_MS)
        assert (await engine.answer(2)).text == "pay 200"
        how = {line.text: line.how for line in await engine.lines() if line.author == "user"}
        assert how == {"hello": "", "pay 100": "expired", "pay 200": ""}
    assert dispositions(data) == ["answered", "expired", "answered"]
    folds(data)


async def test_a_page_whose_clock_is_ahead_does_not_write_in_the_future(data: Path) -> None:
    async with Engine(data) as engine:
        sent_ms = engine.gateway.now_ms() + 48 * HOUR_MS
        await engine.say("hello", id="message-1", sent_ms=sent_ms)
        await engine.answer(1)
        (line, _) = await engine.lines()
        wait(engine, 25)
        await engine.say("again", id="message-2", sent_ms=line.at_ms)
        assert (await engine.lines())[-1].how == "expired"
    folds(data)


async def test_where_nobody_wrote_nothing_is_stored_for_a_stop_or_a_thumb(data: Path) -> None:
    async with Engine(data) as engine:
        nobody = engine.session_id("conversation-of-nobody")
        with pytest.raises(Refused, match="nobody has written"):
            await engine.gateway.stop(nobody, reply_id="", request_id="request-1")
        with pytest.raises(Refused, match="nobody has written"):
            await engine.gateway.feedback(nobody, reply_id="r", verdict="up", text="")
        assert await engine.ask("hello") == "hello"
        await engine.gateway.stop(engine.session_id(), reply_id="", request_id="request-1")
    log = opened(data)
    assert [name for name, _ in log.sessions(limit=9) if name] == [engine.session_id()]
    log.close()
