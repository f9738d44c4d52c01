"""A log as a real embedded engine leaves it, with everything in it that can be left undone."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from adapters.logs.sqlite import SqliteLog
from engine.errors import Unavailable
from engine.ports import Append, Delivery, Incoming, Receipt
from models.scripted import Rule, ScriptedModel
from streams.egress import Account, Egress
from streams.embedded import LOG_FILE, data_dir
from streams.embedded.data_dir import Keys
from streams.embedded.pipeline import Pipeline
from streams.embedded.store import last_at_ms
from streams.ingress import Ingress, Taken
from streams.outbox import OUTBOX_CHANNELS
from streams.parts import flow_of
from tests.host_tests.engines import PERSON, Engine, eventually

NEVER = Rule(pattern="^never", latency_ms=None)
GREETING = {"greeting": "Good day."}


def routes(keys: Keys, *, channel: str = "webchat", account: str = "web") -> Ingress:
    """Whose sessions are those of the log."""
    return Ingress(channel, account, keys=keys.pseudonyms, known=lambda session_id: False)


def incoming(text: str, *, who: str, id: str, account: str = "web") -> Incoming:
    return Incoming(account=account, conversation=who, sender=PERSON, message_id=id, text=text)


async def make(directory: Path, *, people: int = 40) -> None:
    """Two engines after each other, of two configurations, and messages of a second channel."""
    model = ScriptedModel([NEVER, Rule()])
    async with Engine(directory, model=model) as engine:
        await _talk(engine, people, first=0, rounds=2)
        await _set_aside(engine)
    engine = await Engine(directory, model=model, config=GREETING).start()
    # Two thirds have met the second flow; the others stay where the first one left them.
    await _talk(engine, people, first=people // 3, rounds=1)
    for n in range(3):
        assert await engine.ask("human", to=f"handed {n}")
        await engine.say("is anybody there?", to=f"handed {n}")
    await _leave_undone(engine)
    await engine.die()
    _other_channel(directory)


async def _talk(engine: Engine, people: int, *, first: int, rounds: int) -> None:
    async def one(who: int) -> None:
        for n in range(rounds):
            await engine.ask(f"{n}: hello from {who}", to=f"person {who}")

    await asyncio.gather(*(one(who) for who in range(first, people)))


async def _set_aside(engine: Engine) -> None:
    """One that cannot be read, and one at which the engine died: its person is told."""
    session_id = engine.session_id("person 0")
    unreadable = Append(session_id, f"{session_id}/unreadable", b'{"not": "an event"}')
    await engine.host.submit(Taken(append=unreadable))
    deadly = routes(data_dir.keys(engine.directory)).message(
        incoming("deadly", who="person 1", id="deadly"), now_ms=engine.host.now_ms()
    )
    engine.host._pipeline.deadly[deadly.append.event_id] = 3
    before = len(await engine.lines("person 1"))
    await engine.host.submit(deadly)
    await eventually(lambda: _has_lines(engine, "person 1", more_than=before + 1))


async def _has_lines(engine: Engine, who: str, *, more_than: int) -> bool:
    return len(await engine.lines(who)) >= more_than


async def _leave_undone(engine: Engine) -> None:
    """Requests that nobody has answered, and replies that are not lines yet."""
    send = engine.wired.webchat.send
    unlucky = {engine.session_id(f"undelivered {n}") for n in range(3)}

    async def away(delivery: Delivery) -> Receipt:
        if delivery.session_id in unlucky:
            raise Unavailable("nobody takes it", retry_after_ms=60_000)
        return await send(delivery)

    engine.wired.webchat.send = away  # type: ignore[method-assign]
    for n in range(3):
        await engine.say(f"hello {n}", to=f"undelivered {n}")
    await eventually(lambda: engine.host.state().undelivered == 6)  # greetings and answers
    for n in range(5):
        await engine.say(f"never {n}", to=f"waiting {n}")
    await engine.say("and this comes behind it", to="waiting 0")
    await eventually(lambda: engine.host.state().undelivered == 6)


def _other_channel(directory: Path) -> None:
    """What a platform's sends leave: one that may have arrived, and those behind it."""
    log = SqliteLog(directory / LOG_FILE)
    accounts = {("im", "a"): Account(idempotent=False)}
    egress = Egress(accounts, jitter=lambda: 0.5, delivery=log.delivery)
    pipeline = Pipeline(
        log,
        egress=egress,
        build=flow_of,
        outbox=OUTBOX_CHANNELS,
        stepping=lambda event_id: None,
    )
    now_ms = last_at_ms(log) + 1
    control = log.last_control(up_to=log.head(0))
    assert control is not None
    ways = routes(data_dir.keys(directory), channel="im", account="a")
    pipeline._activate_last()
    pipeline._offset = log.head(0)
    for n in range(6):
        text = f"never {n}" if n else "human"
        message = incoming(text, who=f"im {n}", id=f"im-{n}", account="a")
        decided = pipeline.decide([ways.message(message, now_ms=now_ms)], [], now_ms=now_ms)
        if n > 2:  # marked and never called, or not even marked
            for delivery in decided.marked:
                queued = replace(delivery, state="queued", attempt=0, sending_ms=None)
                decided.deliveries[delivery.reply_id] = queued
        pipeline.commit(decided)
        pipeline.confirm(decided)
    log.close()
