"""An event at which the engine dies: counted, set aside after three deaths, taken again later."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from console.client import Client
from engine import codec
from engine.errors import Refused, Unavailable
from engine.events import ClockReached, Event, Redriven
from engine.ports import Append, DeadLetter
from streams.clock import AGAIN_MS
from streams.embedded.data_dir import GUARD_FILE
from streams.embedded.guard import Guard, GuardReader
from streams.settings import Secret
from tests.channel_tests.memory_host import TOKEN
from tests.host_tests.engines import Engine, eventually, serving
from tests.host_tests.folding import dispositions, folds, opened

pytestmark = pytest.mark.usefixtures("rogues")
APOLOGY = "Sorry, I could not answer that just now. Please try again."


def rogue(data: Path, *, broken: bool = True, settle_s: int = 0) -> Engine:
    return Engine(data, flow="rogue", config={"broken": broken, "settle_s": settle_s})


async def die_at(data: Path, text: str = "die", *, times: int = 1) -> None:
    """Send it, as a client does that gets no acknowledgement, to engine after engine."""
    for _ in range(times):
        engine = await rogue(data).start()
        with pytest.raises(Unavailable):
            await engine.say(text, id="deadly-message")
        assert "broken" in engine.host.fault
        await engine.die()


async def test_the_guard_says_where_a_process_died_and_nothing_while_it_lives(data: Path) -> None:
    data.mkdir()
    guard = Guard(data / GUARD_FILE)
    reader = GuardReader(data / GUARD_FILE)
    assert reader.read() == (0, "")
    guard.stepping("webchat:web:k1:x/1")
    assert reader.read() == (1, "webchat:web:k1:x/1")
    guard.close()
    after = Guard(data / GUARD_FILE)
    assert after.standing() == "webchat:web:k1:x/1"
    after.stepping("")
    assert reader.read() == (2, "")
    after.stepping("x" * 10_000)
    assert len(reader.read()[1]) < 512


async def test_after_three_deaths_an_event_is_a_dead_letter_and_everything_goes_on(
    data: Path,
) -> None:
    await die_at(data, times=3)
    async with rogue(data) as engine:
        await engine.say("die", id="deadly-message")  # acknowledged at last
        excuse = await engine.answer()
        assert (excuse.text, excuse.author) == (APOLOGY, "bot")
        assert await engine.ask("hello") == "hello"
        assert engine.host.state().dead_letters == 1
        (letter,) = engine.host._store.dead_letters()
        assert "died each time" in letter.error
    assert dispositions(data) == ["answered"]
    assert folds(data) > 0


async def test_two_deaths_are_not_enough(data: Path) -> None:
    await die_at(data, times=2)
    async with rogue(data, broken=False) as engine:
        assert await engine.ask("die", id="deadly-message") == "die"
        assert engine.host.state().dead_letters == 0
    assert dispositions(data) == ["answered"]


async def test_only_deaths_with_the_id_standing_count(data: Path) -> None:
    for _ in range(4):
        engine = await rogue(data).start()
        await engine.say("hello", id="innocent-message")
        await engine.die()
    async with rogue(data) as engine:
        assert (await engine.answer()).text == "hello"
        assert engine.host._store.deaths() == []


async def test_a_dead_letter_is_taken_again_by_a_corrected_flow(data: Path) -> None:
    await die_at(data, times=3)
    async with rogue(data) as engine:
        await engine.say("die", id="deadly-message")
        await engine.answer()
    async with rogue(data, broken=False) as engine:
        (letter,) = engine.host._store.dead_letters()
        await engine.host.redrive(f"0:{letter.offset}", operator="ann")
        assert (await engine.answer(2)).text == "die"
        (letter,) = engine.host._store.dead_letters()
        assert letter.redriven_ms is not None
        with pytest.raises(Refused, match="taken again before"):
            await engine.host.redrive(str(letter.offset), operator="ann")
    assert dispositions(data) == ["answered"]
    log = opened(data)
    events = [codec.decode_event(r.value) for r in log.history(engine.session_id())]
    log.close()
    (again,) = [event.body for event in events if isinstance(event.body, Redriven)]
    assert (again.operator, again.message.text) == ("ann", "die")
    folds(data)


async def test_an_operator_redrives_over_http_as_the_command_line_does(data: Path) -> None:
    await die_at(data, times=3)
    async with rogue(data) as engine:
        await engine.say("die", id="deadly-message")
        await engine.answer()
    async with rogue(data, broken=False) as engine, serving(engine) as server:
        state = engine.host.state()
        assert (state.dead_letters, state.sessions, state.events) == (1, 1, 3)  # two activations
        with Client(server.url, Secret(TOKEN)) as operator:
            (letter,) = engine.host._store.dead_letters()
            number = f"{letter.partition}:{letter.offset}"
            await asyncio.to_thread(operator.redrive, number, operator="ann")
            assert (await engine.answer(2)).text == "die"
            with pytest.raises(Refused, match="taken again before"):
                await asyncio.to_thread(operator.redrive, number, operator="ann")


async def die_at_a_wake_up(data: Path, *, times: int) -> None:
    """The message is taken; at the end of its second of settling the engine dies, each time."""
    for n in range(times):
        engine = await rogue(data, settle_s=1).start()
        if n == 0:
            await engine.say("die")
        await eventually(lambda host=engine.host: "broken" in host.fault)
        await engine.die()


async def test_a_wake_up_that_kills_is_set_aside_and_its_session_is_woken_again_later(
    data: Path,
) -> None:
    await die_at_a_wake_up(data, times=3)
    for _ in range(2):  # a restart makes no other letter, and wakes at the same time
        async with rogue(data, settle_s=1) as engine:
            store, deadlines = engine.host._store, engine.host._pipeline.deadlines
            (letter,) = await eventually(store.dead_letters)
            assert isinstance(codec.decode_event(letter.value).body, ClockReached)
            assert deadlines.wakes_ms(engine.session_id()) == letter.at_ms + AGAIN_MS
            assert await engine.ask("hello", to="another") == "hello"  # and all others go on
            assert len(store.dead_letters()) == 1
    async with rogue(data, broken=False, settle_s=1) as engine:
        await engine.host.redrive(str(letter.offset), operator="ann")
        assert (await engine.answer()).text == "die"
        (letter,) = engine.host._store.dead_letters()
        assert letter.redriven_ms is not None
    assert set(dispositions(data)) == {"answered"}
    folds(data)


async def test_a_letter_that_kills_again_is_not_marked_as_taken(data: Path) -> None:
    await die_at(data, times=3)
    async with rogue(data) as engine:
        await engine.say("die", id="deadly-message")
        await engine.answer()
    engine = await rogue(data).start()
    (letter,) = engine.host._store.dead_letters()
    with pytest.raises(Unavailable):
        await engine.host.redrive(str(letter.offset), operator="ann")
    await engine.die()
    async with rogue(data, broken=False) as engine:
        (letter,) = engine.host._store.dead_letters()
        assert letter.redriven_ms is None
        await engine.host.redrive(str(letter.offset), operator="ann")
        assert (await engine.answer(2)).text == "die"


async def test_what_is_no_message_or_cannot_be_read_is_not_taken_again(data: Path) -> None:
    async with rogue(data) as engine:
        await engine.ask("hello")
        host, store = engine.host, engine.host._store
        (first, *_) = [r for r in store.read(0, after=0, limit=10) if r.session_id]
        event = codec.decode_event(first.value)
        stop = msgspec.structs.replace(event, body=Redriven(of=event.id, message=event.body))
        letters = {
            "cannot be read": b"{rubbish",
            "only a message": _with(event, '{"type":"StopRequested"}'),
        }
        assert isinstance(stop, Event)
        for said, value in letters.items():
            _set_aside(engine, value)
            offset = store.dead_letters()[-1].offset
            with pytest.raises(Refused, match=said):
                await host.redrive(f"0:{offset}", operator="ann")
        with pytest.raises(Refused, match="there is no dead letter '0:999'"):
            await host.redrive("0:999", operator="ann")
        assert await engine.ask("still here") == "still here"


async def test_rubbish_in_the_log_is_a_dead_letter_and_what_follows_is_stepped(data: Path) -> None:
    async with rogue(data) as engine:
        await engine.ask("hello")
        _append(engine, b'{"id":"x/1","session_id":"x"}')
        await engine.die()
    async with rogue(data) as engine:
        (letter,) = engine.host._store.dead_letters()
        assert "missing required field" in letter.error
        assert await engine.ask("and on") == "and on"
    folds(data)


def _with(event: Event, body: str) -> bytes:
    plain = msgspec.json.decode(codec.encode(event))
    return msgspec.json.encode({**plain, "body": msgspec.json.decode(body)})


def _set_aside(engine: Engine, value: bytes) -> None:
    store = engine.host._store
    offset = 1_000 + len(store.dead_letters())
    with store.transaction(engine.host._pipeline._owner) as batch:
        batch.put_dead_letters(
            [
                DeadLetter(
                    partition=0, offset=offset, session_id="x", error="?", value=value, at_ms=1
                )
            ]
        )


def _append(engine: Engine, value: bytes) -> None:
    """A record beyond the watermark, as a restored log may have."""
    with engine.host._store.transaction(engine.host._pipeline._owner) as batch:
        batch.append([Append("x", "x/1", value)], at_ms=1)
