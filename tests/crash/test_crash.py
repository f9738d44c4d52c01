"""Thirty deaths of the engine, as part of all tests; `make crash` is the long run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crash.killer import WINDOWS, Killer, Report

KILLS = 30
SEED = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def report(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Report]:
    """One run, which all tests here look at."""
    data: Path = tmp_path_factory.mktemp("crash") / "data"
    yield await Killer(data, kills=KILLS, seed=SEED, people=20).run()


@pytest.mark.slow
class TestThirtyKills:
    """What the people saw and what is in the log."""

    def test_nothing_that_was_acknowledged_is_lost(self, report: Report) -> None:
        assert report.verdict.lost == []

    def test_nothing_came_or_happened_twice(self, report: Report) -> None:
        assert report.verdict.doubled == []

    def test_of_no_reply_it_is_unknown_whether_it_was_sent(self, report: Report) -> None:
        assert report.verdict.unknown == []

    def test_every_history_folds_to_the_stored_bytes(self, report: Report) -> None:
        assert report.verdict.wrong == []

    def test_the_engine_came_back_each_time_and_stopped_in_order(self, report: Report) -> None:
        assert report.broken == []

    def test_kills_landed_in_every_window(self, report: Report) -> None:
        assert len(report.kills) >= KILLS
        assert {
            window: report.windows[window] for window in WINDOWS if not report.windows[window]
        } == {}

    def test_there_was_something_to_lose(self, report: Report) -> None:
        assert report.verdict.counted["messages acknowledged"] > 100
        assert report.verdict.counted["messages answered"] > 100
