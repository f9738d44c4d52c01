"""The SQLite log passes every suite of the log's ports."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from adapters.logs.sqlite import SqliteLog
from testkit.conformance import (
    DeliveriesSuite,
    DurableLogSuite,
    LogSuite,
    SessionStoreSuite,
    Storage,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Storage]:
    log = SqliteLog(tmp_path / "log.db")
    yield log
    log.close()


@pytest.fixture
def opener(tmp_path: Path) -> Callable[[], Storage]:
    return partial(SqliteLog, tmp_path / "log.db")


class TestLog(LogSuite):
    pass


class TestDurableLog(DurableLogSuite):
    pass


class TestSessionStore(SessionStoreSuite):
    pass


class TestDeliveries(DeliveriesSuite):
    pass
