"""Whether partitions get on: what counts, and what does not."""

from collections.abc import Callable

import pytest

from adapters.kafka.records import Row
from console.working import STUCK_MS, Worker
from engine.errors import Unavailable
from streams.cluster import progress
from streams.cluster.assemble import Assembled
from streams.topics import T
from tests.hop_tests.test_partition_worker import MemoryLedger

ROW = Row(T.SESSIONS, b"k", b"v")


class Away(MemoryLedger):
    async def claim(self) -> None:
        raise Unavailable("the coordinator is away")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Lets time go by; what it is then."""
    now = [1_000_000]
    monkeypatch.setattr(progress, "awake_ms", lambda: now[0])

    def later(ms: int) -> int:
        now[0] += ms
        return now[0]

    return later


async def test_a_partition_with_something_in_hand_stands_until_its_ledger_answers(
    later: Callable[[int], int],
) -> None:
    found = progress.Progress()
    ledger = found.heard(0, MemoryLedger([ROW]))
    began_ms = later(0)
    assert found.look({0: True, 1: False}) == began_ms
    later(90_000)
    assert found.look({0: True, 1: False}) == began_ms
    await ledger.claim()
    assert found.look({0: True, 1: False}) == later(0)
    claimed_ms = later(0)
    later(1)
    read = [len(records) async for records in ledger.rows()]
    assert sum(read) == 1
    assert found.look({0: True}) == claimed_ms + 1
    later(1)
    await ledger.commit([ROW])
    assert found.look({0: True}) == later(0)


async def test_a_partition_that_has_nothing_to_do_does_not_stand(
    later: Callable[[int], int],
) -> None:
    found = progress.Progress()
    assert found.look({}) == later(0)
    found.look({0: False})
    later(90_000)
    assert found.look({0: False}) == later(0)
    arrived_ms = later(0)
    assert found.look({0: True}) == arrived_ms
    later(5)
    assert found.look({0: True}) == arrived_ms
    later(5)
    assert found.look({}) == later(0)  # it went to another process


async def test_brokers_that_are_away_begin_the_time_of_all_partitions_anew(
    later: Callable[[int], int],
) -> None:
    found = progress.Progress()
    away = found.heard(0, Away())
    found.look({0: True, 1: True})
    later(90_000)
    with pytest.raises(Unavailable):
        await away.claim()
    assert found.look({0: True, 1: True}) == later(0)


class Fake:
    name = "sessions"
    progressed_ms = 0
    taken_for_s = 0.0


def test_a_process_is_stuck_only_where_the_brokers_were_there_all_the_time() -> None:
    role = Fake()
    worker = Worker(Assembled(roles=[role], appender=role, registry=None, gateway=None))  # type: ignore[arg-type, list-item]
    assert worker.alive() == ""
    role.taken_for_s = STUCK_MS / 1_000 + 1
    assert worker.alive() == "sessions"
    role.progressed_ms = progress.awake_ms()
    assert worker.alive() == ""
