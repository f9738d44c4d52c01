"""Commits: many events in one, none acknowledged before it, none of one that failed."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import codec
from engine.crash_points import CrashPoint
from engine.errors import Unavailable
from engine.ports import Delivery, Frame, Receipt
from models.scripted import Rule, ScriptedModel
from streams.egress import Account, Egress
from streams.embedded import LOG_FILE
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds, opened


@contextmanager
def full_disk(data: Path, *, room: int = 0) -> Iterator[None]:
    """The kernel refuses to let the log's write-ahead file grow by more than `room` bytes.

    A limit on the size of this process's files: what it needs no rights and no file system for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = Path(f"{data / LOG_FILE}-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_messages_that_come_together_are_made_durable_together(data: Path) -> None:
    async with Engine(data) as engine:
        commits: list[int] = []
        engine.host.at = lambda point, n: (
            commits.append(n) if point is CrashPoint.BEFORE_APPEND and n else None
        )
        said = (engine.say("hi", id=f"message-{n:04}", to=f"conversation-{n}") for n in range(200))
        await asyncio.gather(*said)
        assert sum(commits) == 200
        assert len(commits) < 20
    assert dispositions(data) == ["answered"] * 200
    folds(data)


async def test_a_message_is_acknowledged_only_when_it_is_in_the_log(data: Path) -> None:
    async with Engine(data) as engine:
        for n in range(20):
            await engine.say("hi", id=f"message-{n:04}")
            log = opened(data)
            appended = b"".join(record.value for record in log.history(engine.session_id()))
            log.close()
            assert f"message-{n:04}".encode() in appended


async def test_the_same_message_at_the_same_time_and_later_is_taken_once(data: Path) -> None:
    async with Engine(data) as engine:
        await asyncio.gather(*(engine.say("hi", id="message-0001") for _ in range(20)))
        await engine.answer()
        await engine.say("hi", id="message-0001")
        assert await engine.texts() == ["hi", "hi"]
    async with Engine(data) as engine:
        await engine.say("hi", id="message-0001")
        assert await engine.ask("and on") == "and on"
        assert await engine.texts() == ["hi", "hi", "and on", "and on"]
    assert dispositions(data) == ["answered", "answered"]
    folds(data)


async def test_on_a_full_disk_nothing_is_taken_and_with_space_it_goes_on(data: Path) -> None:
    async with Engine(data) as engine:
        assert await engine.ask("before") == "before"
        with full_disk(data):
            with pytest.raises(Unavailable, match="not able to write its log just now"):
                await engine.say("meanwhile", id="message-full")
            assert "not able to write its log" in engine.host.state().reason
        await eventually(lambda: not engine.host.fault)
        assert await engine.ask("meanwhile", id="message-full") == "meanwhile"
        assert await engine.texts() == ["before", "before", "meanwhile", "meanwhile"]
    assert dispositions(data) == ["answered", "answered"]
    folds(data)


async def test_what_a_runner_did_while_the_disk_was_full_is_kept_and_not_done_again(
    data: Path,
) -> None:
    model = Counting()
    async with Engine(data, model=model) as engine:
        await engine.say("hello")
        await eventually(lambda: model.asked)
        with full_disk(data):
            model.go.set()
            await eventually(lambda: engine.host.fault)
            await asyncio.sleep(1.2)  # two more attempts to write
            assert await engine.texts() == ["hello"]
        assert (await engine.answer()).text == "hello"
    assert model.asked == 1
    assert dispositions(data) == ["answered"]
    folds(data)


async def test_a_receipt_that_could_not_be_written_does_not_double_its_line(data: Path) -> None:
    async with Engine(data) as engine:
        await engine.ask("first")

        def fill(point: CrashPoint, things: int) -> None:
            if point is CrashPoint.CALL_RECEIPT:
                stack.__enter__()
                engine.host.at = lambda point, things: None

        stack = full_disk(data)
        engine.host.at = fill
        await engine.say("second")
        await eventually(lambda: engine.host.fault)
        stack.__exit__(None, None, None)
        assert (await engine.answer(2)).text == "second"
        assert await engine.texts() == ["first", "first", "second", "second"]
    assert dispositions(data) == ["answered", "answered"]
    folds(data)


async def test_a_stop_on_a_full_disk_ends_and_the_next_start_goes_on(data: Path) -> None:
    model = Counting()
    engine = await Engine(data, model=model).start()
    await engine.say("hello")
    await eventually(lambda: model.asked)
    with full_disk(data):
        model.go.set()
        await eventually(lambda: engine.host.fault)
        await asyncio.wait_for(engine.stop(drain_s=0.2), 5)
    async with Engine(data) as engine:
        assert (await engine.answer()).text == "hello"
    folds(data)


class Counting(ScriptedModel):
    """Counts how often it is asked, and answers when told to go."""

    def __init__(self) -> None:
        super().__init__([Rule()])
        self.asked = 0
        self.go = asyncio.Event()

    async def run(self, request, show):  # type: ignore[no-untyped-def]
        self.asked += 1
        await self.go.wait()
        return await super().run(request, show)


async def test_a_call_that_was_made_is_not_unknown_because_its_receipt_found_no_space(
    data: Path,
) -> None:
    """Where a platform cannot recognise a repetition: it is neither sent twice nor given up."""
    engine = Engine(data)
    channel = engine.wired.webchat
    channel.idempotent = False
    key = (channel.kind, channel.account)
    engine.host._pipeline.egress = Egress(
        {key: Account(idempotent=False)}, delivery=engine.host._store.delivery, jitter=lambda: 0.0
    )
    sent: list[str] = []
    receipts = asyncio.Event()

    async def send(delivery: Delivery) -> Receipt:
        sent.append(delivery.reply_id)
        await receipts.wait()
        return Receipt()

    channel.send = send  # type: ignore[method-assign]
    async with engine:
        await engine.say("hello")
        await eventually(lambda: sent)
        with full_disk(data):
            with pytest.raises(Unavailable):
                await engine.say("no space", id="no-space")
            receipts.set()
            await asyncio.sleep(0.7)
        assert (await engine.answer()).text == "hello"
        assert await engine.ask("and on") == "and on"
    assert len(sent) == len(set(sent)) == 2
    log = opened(data)
    assert {d.state for d in log.deliveries_of(engine.session_id())} == {"sent"}
    log.close()
    folds(data)


async def test_after_a_death_a_mark_without_receipt_is_unknown_where_nobody_can_tell(
    data: Path,
) -> None:
    dying = await Engine(data).start()

    async def never(delivery: Delivery) -> Receipt:
        await asyncio.Event().wait()
        return Receipt()

    dying.wired.webchat.send = never  # type: ignore[method-assign]
    await dying.say("hello")
    await eventually(lambda: dying.host._channels._calls)
    await dying.die()
    engine = Engine(data)
    key = (engine.wired.webchat.kind, engine.wired.webchat.account)
    engine.host._pipeline.egress = Egress(
        {key: Account(idempotent=False)}, delivery=engine.host._store.delivery, jitter=lambda: 0.0
    )
    async with engine:
        assert await engine.texts() == ["hello"]
        assert await engine.ask("again") == "again"
    log = opened(data)
    states = [d.state for d in log.deliveries_of(engine.session_id())]
    events = [codec.decode_event(r.value).type for r in log.history(engine.session_id())]
    log.close()
    assert states == ["unknown", "sent"]
    assert "ReplyUndelivered" in events
    assert dispositions(data) == ["answered", "answered"]
    folds(data)


async def test_a_failed_commit_takes_nothing_back_of_a_reply_that_people_see_growing(
    data: Path,
) -> None:
    model = ScriptedModel([Rule(latency_ms=None, frames=("half of the answer",))])
    async with Engine(data, model=model) as engine:
        await engine.say("hello")
        before = await eventually(lambda: _frames(engine))
        with full_disk(data), pytest.raises(Unavailable):
            await engine.say("no space", id="no-space", to="conversation-2")
        await eventually(lambda: not engine.host.fault)
        assert _frames(engine) == before
        await engine.gateway.stop(engine.session_id(), reply_id="", request_id="stop-1")
        assert (await engine.answer()).text == "half of the answer"
    folds(data)


def _frames(engine: Engine) -> tuple[Frame, ...]:
    return engine.host._pipeline.egress.open_replies.frames(engine.session_id())
