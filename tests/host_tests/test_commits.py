"""Commits: many events in one, none acknowledged before it, none of one that failed."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.crash_points import CrashPoint
from engine.errors import Unavailable
from models.scripted import Rule, ScriptedModel
from streams.embedded import LOG_FILE
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds, opened


@contextmanager
def full_disk(data: Path, *, room: int = 0) -> Iterator[None]:
    """No file of this process may grow: the kernel refuses each write beyond what there is.

    `room`: bytes that the log's write-ahead file may still take.
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
            assert f"message-{n:04}" in str(log.history(engine.session_id())[-1].value) or any(
                f"message-{n:04}".encode() in record.value
                for record in log.history(engine.session_id())
            )
            log.close()


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
            with pytest.raises(Unavailable, match="is the disk full"):
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


def test_a_file_size_limit_is_what_these_tests_take_for_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / f"{LOG_FILE}-wal").write_bytes(b"x" * 4096)
    with full_disk(tmp_path), open(tmp_path / "other", "wb") as file:
        with pytest.raises(OSError, match="File too large"):
            os.write(file.fileno(), b"x" * 4097) and os.write(file.fileno(), b"x")
