"""The memory log passes every suite of the log's ports."""

import pytest

from adapters.logs.memory import MemoryLog
from testkit.conformance import DeliveriesSuite, LogSuite, SessionStoreSuite, Storage


@pytest.fixture
def log() -> Storage:
    return MemoryLog()


class TestLog(LogSuite):
    pass


class TestSessionStore(SessionStoreSuite):
    pass


class TestDeliveries(DeliveriesSuite):
    pass


def test_partitions_have_offsets_watermarks_and_owners_of_their_own() -> None:
    log = MemoryLog(partitions=2)
    first, second = log.claim(0), log.claim(1)
    log.claim(0)
    with log.transaction(second) as batch:
        batch.put_watermark(4)
    assert (log.watermark(0), log.watermark(1)) == (0, 4)
    assert first.token == second.token
