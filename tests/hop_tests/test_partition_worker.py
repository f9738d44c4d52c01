"""A partition's worker over a ledger in memory: what is acknowledged, and when the process ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from adapters.kafka.records import Fetched, Row
from engine.errors import Conflict, Refused, Unavailable
from engine.events import FlowActivated
from engine.flow import Flow
from streams import wire
from streams.partition import Decided, Partition
from streams.partition_worker import FULL, PartitionWorker
from streams.topics import T
from tests.hop_tests.test_partition import Log, as_fetched, build, lines, of

pytestmark = pytest.mark.asyncio


class MemoryLedger:
    """Rows of all transactions; `broken` fails the next ones, `open` holds them back.

    `away`: for which transactions no broker answers. `written`: yet they are durable.
    """

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.before = list(rows)
        self.transactions: list[list[Row]] = []
        self.claimed = 0
        self.looks = 0
        self.broken: Exception | None = None
        self.away: Callable[[Sequence[Row]], bool] = lambda rows: False
        self.written = False
        self.failed = 0
        self.log = (0, 1_000)  # its bounds
        self.open = asyncio.Event()
        self.open.set()

    @property
    def all(self) -> list[Row]:
        return self.before + [row for rows in self.transactions for row in rows]

    async def claim(self) -> None:
        self.claimed += 1

    async def rows(self) -> AsyncIterator[Sequence[Fetched]]:
        for record in as_fetched(of(self.all, T.SESSIONS)):
            yield [record]

    async def bounds(self) -> tuple[int, int]:
        self.looks += 1
        return self.log

    async def commit(self, rows: Sequence[Row]) -> None:
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        if self.away(rows):
            self.failed += 1
            if self.written:
                self.transactions.append(list(rows))
            raise Unavailable("a partition has no leader")
        self.transactions.append(list(rows))

    async def close(self) -> None:
        pass


class Told:
    """The reader and the watcher of a worker, which keep what they are told."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self.marks: list[tuple[object, int]] = []
        self.held: list[bool] = []
        self.died: list[BaseException] = []
        self.stepped: list[int] = []
        self.recoveries = 0

    def acknowledge(self, mark: object) -> None:
        self.marks.append((mark, len(self._ledger.transactions)))

    def hold(self, partition: int, *, full: bool) -> None:
        self.held.append(full)

    def fatal(self, error: BaseException) -> None:
        self.died.append(error)

    def recovered(self, partition: Partition, *, took_s: float) -> None:
        self.recoveries += 1

    def stepping(self, partition: int, offset: int | None) -> None:
        if offset is not None:
            self.stepped.append(offset)

    def committed(self, decided: Decided, *, took_s: float) -> None:
        pass


def started(
    ledger: MemoryLedger,
    *,
    batch_max: int = 256,
    build: Callable[[FlowActivated], Flow] = build,
) -> tuple[PartitionWorker, Told]:
    told = Told(ledger)
    worker = PartitionWorker(
        Partition(0, build=build, outbox=frozenset({"webchat"})),
        ledger=ledger,
        reader=told,
        watched=told,
        now_ms=lambda: 1,
        batch_max=batch_max,
    )
    worker.start()
    return worker, told


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, told = started(ledger)
    log.say("hi")
    ledger.open.clear()
    worker.put(log.events, "first")
    await until(lambda: worker.ready)
    await asyncio.sleep(0.01)
    assert told.marks == []
    ledger.open.set()
    await until(lambda: told.marks != [])
    assert [mark for mark, _ in told.marks] == ["first"]
    assert ("user", "hi") in [line[1:] for line in lines(ledger.all)]
    assert worker.waiting == 0
    await worker.stop()


async def test_what_arrives_while_a_transaction_commits_is_the_next_batch() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, told = started(ledger)
    worker.put(log.events[:1], 0)
    await until(lambda: len(told.marks) == 1)
    ledger.open.clear()
    for turn in range(20):
        log.say("hi", who=f"person {turn}")
        worker.put(log.events[-1:], turn + 1)
        await asyncio.sleep(0)
    ledger.open.set()
    await until(lambda: len(told.marks) == 21)
    assert [mark for mark, _ in told.marks] == list(range(21))
    assert len(ledger.transactions) <= 4
    await worker.stop()


def attempts(rows: Sequence[Row]) -> list[tuple[int, int, int]]:
    found = [wire.attempt_of(row.value or b"") for row in rows if row.key == wire.ATTEMPT]
    return [(attempt.offset, attempt.last, attempt.begun) for attempt in found]


async def test_a_new_owners_first_batch_is_announced_before_it_is_stepped() -> None:
    log, ledger = Log(), MemoryLedger()
    for turn in range(20):
        log.say("hi", who=f"person {turn}")
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    first, second = ledger.transactions
    assert attempts(first) == [(0, 20, 1)]
    assert attempts(second) == []
    assert len(of(second, T.STEPS)) == 20

    log.say("hi")
    worker.put(log.events[-1:], "one more")
    await until(lambda: len(told.marks) == 2)
    assert attempts(ledger.transactions[2]) == []
    await worker.stop()


async def test_what_the_last_owner_did_not_end_is_stepped_one_by_one_and_no_more() -> None:
    log = Log()
    for turn in range(5):
        log.say("hi", who=f"person {turn}")
    one = MemoryLedger()
    worker, told = started(one)
    worker.put(log.events, "all")
    await until(lambda: len(one.transactions) == 2)
    await worker.stop()

    ledger = MemoryLedger(one.transactions[0])  # its first batch was begun, and never ended
    for turn in range(5):
        log.say("hi", who=f"later {turn}")
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    assert [attempts(rows) for rows in ledger.transactions] == [
        *[[(offset, offset, 1)] for offset in range(6)],
        [],
        [],
    ]
    assert len(of(ledger.transactions[-1], T.STEPS)) == 5
    await worker.stop()


def deadly_at(worker: PartitionWorker, offset: int) -> None:
    """The process dies in the step of this offset."""
    decide = worker.partition.decide

    def dies(records: Sequence[Fetched], *, now_ms: int, deadly: bool = False) -> Decided | None:
        if not deadly and any(record.offset == offset for record in records):
            raise SystemExit("killed in its step")
        return decide(records, now_ms=now_ms, deadly=deadly)

    worker.partition.decide = dies  # type: ignore[method-assign]


async def test_an_event_at_which_the_process_died_three_times_is_set_aside() -> None:
    log = Log()
    log.say("poison")
    log.say("hi", who="bob")
    rows: list[Row] = []
    begun: list[list[tuple[int, int, int]]] = []
    while True:
        ledger = MemoryLedger(rows)
        worker, told = started(ledger)
        deadly_at(worker, 1)
        worker.put(log.events, "all")
        await until(lambda told=told: told.died != [] or told.marks != [])  # type: ignore[misc]
        await worker.stop()
        begun.append(attempts([row for rows in ledger.transactions for row in rows]))
        rows = ledger.all
        if told.marks:
            break
    # Once in a batch, of which nobody knows yet which record it was; then three times alone.
    assert begun == [
        [(0, 2, 1)],
        [(0, 0, 1), (1, 1, 1)],
        [(1, 1, 2)],
        [(1, 1, 3)],
        [],
    ]
    letters = wire.letters_of(as_fetched(of(rows, T.DEAD)))
    assert [letter.offset for letter in letters] == [1]
    assert ("user", "hi") in [line[1:] for line in lines(rows)]


async def test_a_commit_that_fails_ends_the_process_and_acknowledges_nothing() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, told = started(ledger)
    ledger.broken = Conflict("another owner has taken over")
    log.say("hi")
    worker.put(log.events, "all")
    await until(lambda: told.died != [])
    assert told.died == [ledger.broken]
    assert told.marks == []
    await worker.stop()


async def test_a_partition_that_falls_behind_is_held_back_until_it_has_caught_up() -> None:
    log, ledger = Log(), MemoryLedger()
    batch_max = 8
    worker, told = started(ledger, batch_max=batch_max)
    ledger.open.clear()
    worker.put(log.events[:1], "control")
    for turn in range(FULL * batch_max + 1):
        log.say("hi", who=f"person {turn}")
    worker.put(log.events[1:], "many")
    worker.put([], "after a rebalance, of which the reader knows nothing held back any more")
    assert told.held == [True, True]
    ledger.open.set()
    await until(lambda: len(told.marks) == 3)
    assert told.held == [True, True, False]
    # Nothing of a hand-over is acknowledged before all of it is applied.
    assert told.marks[1] == ("many", len(ledger.transactions))
    assert all(len(of(rows, T.STEPS)) <= batch_max for rows in ledger.transactions)
    await worker.stop()


async def test_what_is_handed_over_again_is_acknowledged_and_not_applied_again() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, told = started(ledger)
    log.say("hi")
    worker.put(log.events, "first")
    await until(lambda: len(told.marks) == 1)
    done = len(ledger.transactions)
    worker.put(log.events, "again")
    await until(lambda: len(told.marks) == 2)
    assert len(ledger.transactions) == done
    await worker.stop()


async def test_what_is_handed_over_again_while_the_first_still_waits_is_applied_once() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, _ = started(ledger)
    for turn in range(4):
        log.say(f"message {turn}", who="ann")
    worker.put(log.events[:], "first")
    worker.put(log.events[2:4], "again")
    log.say("the last one", who="ann")
    worker.put(log.events[-1:], "more")
    worker.put(log.events[:2], "again, and less of it")
    await until(lambda: worker.waiting == 0)
    assert len(of(ledger.all, T.STEPS)) == 5
    marks = [row.value or b"" for row in ledger.all if row.key == wire.WATERMARK]
    assert [wire.watermark_of(mark).offset for mark in marks][-1] == log.events[-1].offset
    await worker.stop()


async def test_a_partition_that_waits_for_brokers_gives_back_what_it_has_in_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.partition_worker.RETRY_S", 0)
    log, ledger = Log(), MemoryLedger()
    log.say("hi")
    worker, told = started(ledger)
    worker.group_says_s = 0.05
    await until(lambda: worker.ready)
    assert worker.give_back() == []
    ledger.away = lambda rows: True
    worker.put(log.events[:1], "first")
    await until(lambda: ledger.failed == 1)
    worker.put(log.events[1:], "second")
    assert (worker.give_back(), worker.waiting) == (["first", "second"], 0)
    ledger.away = lambda rows: False
    await until(lambda: worker.ready)
    worker.put(log.events, "all of it again")
    await until(lambda: told.marks != [])
    assert [mark for mark, _ in told.marks] == ["all of it again"]
    assert len(of(ledger.all, T.STEPS)) == 1
    await worker.stop()


async def test_a_log_that_is_read_once_more_is_looked_at_once() -> None:
    log, ledger = Log(), MemoryLedger()
    worker, told = started(ledger, batch_max=1)
    for turn in range(6):
        log.say("hi", who=f"person {turn}")
    worker.put(log.events, "first")
    await until(lambda: told.marks != [])
    looks = ledger.looks
    worker.put(log.events, "the group has forgotten its offsets")
    await until(lambda: len(told.marks) == 2)
    assert ledger.looks == looks + 1
    await worker.stop()


async def test_a_partition_waits_while_another_steps_one_by_one() -> None:
    alone = asyncio.Lock()
    log = Log()
    log.say("hi")
    begun = wire.attempt_row(wire.Attempt(offset=0, last=1, begun=1), partition=0)
    ledger = MemoryLedger([begun])
    worker, told = started(ledger)
    worker.alone = alone
    async with alone:
        worker.put(log.events, "all")
        await until(lambda: worker.ready)
        await asyncio.sleep(0.01)
        assert ledger.transactions == []  # no attempt of it stands
    await until(lambda: told.marks != [])
    await worker.stop()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that are away are asked again without a pause."""
    monkeypatch.setattr("streams.partition_worker.RETRY_S", 0)
    monkeypatch.setattr("streams.partition_worker.GROUP_SAYS_S", 0.0)


def asks_the_model(rows: Sequence[Row]) -> bool:
    return of(rows, T.MODEL) != []


def letters(rows: Sequence[Row]) -> list[int]:
    return [letter.offset for letter in wire.letters_of(as_fetched(of(rows, T.DEAD)))]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("written", [False, True], ids=["not written", "written and not told"])
@pytest.mark.parametrize("doubtful", [False, True], ids=["a batch", "one by one"])
async def test_brokers_that_are_away_are_waited_for_and_no_death_is_counted(
    written: bool, doubtful: bool
) -> None:
    log = Log()
    for turn in range(4):
        log.say("hi", who=f"person {turn}")
    begun = wire.attempt_row(wire.Attempt(offset=0, last=4, begun=1), partition=0)
    ledger = MemoryLedger([begun] if doubtful else [])
    ledger.away, ledger.written = asks_the_model, written
    worker, told = started(ledger)
    worker.put(log.events[:3], "some")
    worker.put(log.events[3:], "the rest")
    least = 1 if written else 10
    await until(lambda: ledger.failed >= least)
    ledger.away = lambda rows: False
    await until(lambda: len(told.marks) == 2)
    assert told.died == []
    assert [mark for mark, _ in told.marks] == ["some", "the rest"]
    assert letters(ledger.all) == []
    assert {n for _, _, n in attempts(ledger.all)} <= {1}
    assert len({row.value for row in of(ledger.all, T.STEPS)}) == 4
    assert len(of(ledger.all, T.STEPS)) == 4
    assert ledger.claimed == told.recoveries == 1 + ledger.failed
    assert worker.waiting == 0
    await worker.stop()


@pytest.mark.usefixtures("at_once")
async def test_deaths_are_still_counted_over_a_time_without_brokers() -> None:
    log = Log()
    log.say("hi")
    begun = wire.attempt_row(wire.Attempt(offset=1, last=1, begun=2), partition=0)
    flow = (
        wire.watermark_row(0, partition=0),
        wire.flow_row(log.events[0].value or b"", partition=0),
    )
    ledger = MemoryLedger([*flow, begun])
    ledger.away = asks_the_model
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: ledger.failed >= 5)
    await worker.stop()
    assert {n for _, _, n in attempts(ledger.transactions[-1])} == {3}

    ledger = MemoryLedger(ledger.all)  # and there it died
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    assert letters(ledger.all) == [1]
    await worker.stop()


@pytest.mark.usefixtures("at_once")
async def test_a_partition_is_claimed_again_until_the_brokers_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, ledger = Log(), MemoryLedger()
    claim = ledger.claim

    async def away() -> None:
        await claim()
        if ledger.claimed < 5:
            raise Unavailable("no broker answers")

    monkeypatch.setattr(ledger, "claim", away)
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    assert (told.died, told.recoveries) == ([], 1)
    await worker.stop()


async def test_what_this_version_lacks_is_no_death_of_the_event_that_asks_for_it() -> None:
    log, rows = Log(), list[Row]()

    def lacks(body: FlowActivated) -> Flow:
        raise Refused(f"this version has no {body.flow}")

    for _ in range(6):
        ledger = MemoryLedger(rows)
        worker, told = started(ledger, build=lacks)
        worker.put(log.events, "all")
        await until(lambda told=told: told.died != [])  # type: ignore[misc]
        assert isinstance(told.died[0], Refused)
        await worker.stop()
        rows = ledger.all
    assert letters(rows) == []
    worker, told = started(MemoryLedger(rows))
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    assert worker.partition.flow is not None
    await worker.stop()


@pytest.mark.parametrize(
    ("log_is", "why"),
    [((0, 3), "ends at offset 3, and all up to offset 5"), ((7, 9), "what stood from offset 6 on")],
    ids=["its end is lost", "its next records are deleted"],
)
async def test_a_log_that_does_not_go_on_where_it_was_applied_is_refused(
    log_is: tuple[int, int], why: str
) -> None:
    ledger = MemoryLedger([wire.watermark_row(5, partition=0)])
    ledger.log = log_is
    worker, told = started(ledger)
    await until(lambda: told.died != [])
    assert isinstance(told.died[0], Refused)
    assert f"conversation.events:0 {'begins' if log_is[0] else why}" in str(told.died[0])
    assert why in str(told.died[0])
    assert not worker.ready
    await worker.stop()


async def test_a_log_that_is_cut_under_its_owner_swallows_nothing() -> None:
    log, ledger = Log(), MemoryLedger()
    log.say("hi")
    worker, told = started(ledger)
    worker.put(log.events, "all")
    await until(lambda: told.marks != [])
    ledger.log = (0, 1)
    worker.put(log.events[:1], "cut")
    await until(lambda: told.died != [])
    assert "ends at offset 1, and all up to offset 1 was applied" in str(told.died[0])
    assert len(told.marks) == 1
    await worker.stop()


async def test_who_was_away_hears_first_whether_the_partition_is_still_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.partition_worker.RETRY_S", 0)
    log, ledger = Log(), MemoryLedger()
    worker, _ = started(ledger)
    ledger.away = lambda rows: True
    worker.put(log.events, "all")
    await until(lambda: ledger.failed == 1)
    ledger.away = lambda rows: False
    await asyncio.sleep(0.05)
    assert not worker.ready
    await worker.stop()  # the group has given it to another
    assert ledger.claimed == 1
