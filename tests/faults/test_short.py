"""A minute of the fault lab, as part of all tests; `make faults` is the long run.

On a real broker: kills of three roles, one of them inside its transaction, a message that kills
whoever steps it, a worker that stands still until its work is others', and the broker's own death.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.limits import DEATHS_MAX
from tests.faults.catalogue import SHORT
from tests.faults.trial import Report, run

MESSAGES = 300
SEED = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def report(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Report]:
    """One run, which all tests here look at."""
    folder: Path = tmp_path_factory.mktemp("faults") / "lab"
    yield await run(SHORT, folder, messages=MESSAGES, rounds=SHORT.rounds, seed=SEED)


@pytest.mark.slow
class TestOneMinute:
    """What the people saw and what is in the topics."""

    def test_nothing_that_was_acknowledged_is_lost(self, report: Report) -> None:
        assert report.verdict.lost == []

    def test_nothing_came_or_happened_twice(self, report: Report) -> None:
        assert report.verdict.doubled == []

    def test_of_no_reply_it_is_unknown_whether_it_was_sent(self, report: Report) -> None:
        assert report.verdict.unknown == []

    def test_both_hosts_fold_every_history_to_the_stored_bytes(self, report: Report) -> None:
        assert report.verdict.wrong == []

    def test_everybody_was_answered_again_and_no_process_ended_unasked(
        self, report: Report
    ) -> None:
        assert report.broken == []

    def test_the_message_that_kills_was_set_aside_after_three_deaths_or_four(
        self, report: Report
    ) -> None:
        deaths = report.notes["deaths at a poison event"]
        assert DEATHS_MAX <= deaths <= DEATHS_MAX + 2

    def test_there_was_something_to_lose(self, report: Report) -> None:
        assert report.verdict.counted["messages acknowledged"] > MESSAGES / 2
        assert report.verdict.counted["messages answered"] > MESSAGES / 4
