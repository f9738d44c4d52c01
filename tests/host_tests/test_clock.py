"""The host's clock never goes back, whatever the machine's does; timers go by it."""

import asyncio
from pathlib import Path

import pytest

from streams import machine_clock
from streams.embedded.clock import HostClock
from streams.machine_clock import wall_ms
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import folds, opened

HOUR_MS = 3_600_000


def test_the_clock_begins_at_the_later_of_machine_and_log() -> None:
    assert abs(HostClock(0).now_ms() - wall_ms()) < 1_000
    ahead_ms = wall_ms() + HOUR_MS
    assert 0 <= HostClock(ahead_ms).now_ms() - ahead_ms < 1_000


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
def test_a_jump_of_the_machines_clock_changes_nothing_but_the_skew(
    monkeypatch: pytest.MonkeyPatch, by_ms: int
) -> None:
    host = HostClock(0)
    before_ms, really = host.now_ms(), wall_ms
    monkeypatch.setattr(machine_clock, "wall_ms", lambda: really() + by_ms)
    assert 0 <= host.now_ms() - before_ms < 1_000
    assert abs(host.skew_ms() - by_ms) < 1_000


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
async def test_a_timer_takes_its_time_though_the_clock_jumps(
    data: Path, monkeypatch: pytest.MonkeyPatch, by_ms: int
) -> None:
    async with Engine(data, config={"person_timeout_s": 1}) as engine:
        await engine.ask("human")
        really = wall_ms
        monkeypatch.setattr(machine_clock, "wall_ms", lambda: really() + by_ms)
        await asyncio.sleep(0.3)
        assert len(await engine.host.operator_sessions()) == 1
        assert (await engine.answer(2)).text.startswith("Nobody is free")
    folds(data)


async def test_over_starts_with_clocks_that_disagree_the_logs_time_never_goes_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = wall_ms()
    for hours in (0, 1, -1, 2, 0):
        monkeypatch.setattr(machine_clock, "wall_ms", lambda at=really + hours * HOUR_MS: at)
        async with Engine(data) as engine:
            assert await engine.ask(f"hour {hours}") == f"hour {hours}"
    log = opened(data)
    times = [record.appended_ms for record in log.read(0, after=0, limit=1_000)]
    log.close()
    assert times == sorted(times)
    assert times[-1] - times[0] >= 2 * HOUR_MS
    folds(data)


async def test_many_timers_that_are_due_together_all_fire(data: Path) -> None:
    async with Engine(data, config={"person_timeout_s": 1}) as engine:
        await asyncio.gather(*(engine.say("human", to=f"conversation-{n}") for n in range(600)))
        await eventually(lambda: len(engine.host._handed_over.all()) == 600)
        await eventually(lambda: not engine.host._handed_over.all())
    folds(data)
