"""The SQLite log passes every suite of the log's ports."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.logs.sqlite import SqliteLog
from tests.conformance.suites import DeliveriesSuite, LogSuite, SessionStoreSuite, Storage


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Storage]:
    log = SqliteLog(tmp_path / "log.db")
    yield log
    log.close()


class TestLog(LogSuite):
    pass


class TestSessionStore(SessionStoreSuite):
    pass


class TestDeliveries(DeliveriesSuite):
    pass
