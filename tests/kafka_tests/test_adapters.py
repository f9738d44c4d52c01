"""adapters.kafka on a real broker: appends, transactions, work shared in a group."""

import asyncio
import time

import pytest
from aiokafka.producer import sender
from prometheus_client import CollectorRegistry

from adapters.kafka import appender as appender_module
from adapters.kafka import clients
from adapters.kafka import ledger as ledger_module
from adapters.kafka.admin import Wanted, create_topics, describe_topics
from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.newest import NewestSender
from adapters.kafka.reading import read_partition
from adapters.kafka.records import Fetched, Row
from adapters.kafka.tail import Tail
from adapters.kafka.transactions import Transactions
from adapters.kafka.work import WorkQueue
from deploy.kafka.cluster import Cluster
from engine.errors import Conflict, InvalidRecord, Refused, Unavailable
from engine.limits import CLOCK_SKEW_MAX_MS
from engine.ports import Append
from streams.cluster.metrics import open_transactions
from streams.machine_clock import MachineClock
from streams.topics import BY_NAME, TOPICS, T
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import appending, everything, installed, written
from tests.kafka_tests.records import leader


class SetClock(MachineClock):
    """A machine whose wall clock somebody has set wrong."""

    off_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms


def event(n: int) -> Append:
    return Append(f"webchat:web:s{n}", f"webchat:web:s{n}/e", b'{"n": %d}' % n)


async def until(true, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


async def test_topics_are_made_once_and_described(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    assert await create_topics(settings, []) == []
    wanted = BY_NAME[T.EVENTS].config
    found = await describe_topics(settings, {T.EVENTS: list(wanted), "not.there": []})
    assert list(found) == [T.EVENTS]
    assert (found[T.EVENTS].partitions, found[T.EVENTS].replication) == (4, 1)
    assert found[T.EVENTS].config == wanted


async def test_what_is_appended_is_in_the_log_of_its_session(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    async with appending(settings) as appender:
        assert not appender.fault
        places = await appender.append_many([event(n) for n in range(20)])
        again = await appender.append(event(3))
    assert again.partition == places[3].partition
    found = {(r.partition, r.offset): r.value for r in await everything(settings, T.EVENTS)}
    assert len(found) == 21
    assert [found[place] for place in places] == [event(n).value for n in range(20)]


async def test_what_is_too_large_is_told_by_whose_bound_it_is(broker: Cluster, prefix: str) -> None:
    settings = KafkaSettings(brokers=broker.bootstrap, prefix=f"{prefix}.")
    small = {"max.message.bytes": "10000"}
    await create_topics(settings, [Wanted(T.STEPS, 1, 1, small), Wanted(T.MODEL, 1, 1, {})])
    with pytest.raises(Refused, match=r"compares max\.message\.bytes"):
        await written(settings, [Row(T.STEPS, b"k", b"v" * 1_000)] * 20)
    await written(settings, [Row(T.MODEL, b"k", b"v" * 1_000)] * 2_000)
    with pytest.raises(InvalidRecord, match="larger than"):
        await written(settings, [Row(T.MODEL, b"k", b"v" * 1_000_000)])
    for topic in TOPICS:
        assert int(topic.config["max.message.bytes"]) > clients.REQUEST_BYTES_MAX


async def test_a_clock_that_is_off_stops_appends_until_it_agrees(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    clock = SetClock()
    clock.off_ms = -60_000
    appender = Appender(settings, clock=clock, instance="test")
    try:
        await appender.start()
        assert "behind the brokers'" in appender.fault
        assert abs(appender.skew_ms) > CLOCK_SKEW_MAX_MS
        with pytest.raises(Unavailable, match="clock is 60"):
            await appender.append(event(1))
        clock.off_ms = 0
        await until(lambda: not appender.fault)
        await appender.append(event(1))
        before_ms = appender.now_ms()
        clock.off_ms = -60_000  # a jump while it runs: log time does not follow it
        assert appender.now_ms() >= before_ms
        await appender.append(event(2))
    finally:
        await appender.stop()
    assert len(await everything(settings, T.EVENTS)) == 2


async def test_a_clock_that_was_hours_ahead_at_the_start_is_right_once_it_is_set_right(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    clock = SetClock()
    clock.off_ms = 7_200_000
    appender = Appender(settings, clock=clock, instance="test")
    try:
        await appender.start()
        assert "ahead of the brokers'" in appender.fault
        clock.off_ms = 0
        await until(lambda: not appender.fault)
        await appender.append(event(1))
        clock.off_ms = -7_200_000  # from now on it is relied on, and goes back no more
        appender._clock.set_again()
        before_ms = appender.now_ms()
        assert appender.now_ms() >= before_ms > super(SetClock, clock).now_ms() - 1_000
    finally:
        await appender.stop()


async def test_an_owner_writes_on_while_its_machines_clock_jumps(
    broker: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    owner, right_ns = Transactions(settings, "p0"), time.time_ns
    try:
        await owner.begin()
        for off_s in (7_200, -7_200):
            monkeypatch.setattr(time, "time_ns", lambda off_s=off_s: right_ns() + off_s * 10**9)
            await owner.write([Row(T.SESSIONS, b"k", b"v")])
    finally:
        await owner.stop()
    times = [record.timestamp_ms for record in await everything(settings, T.SESSIONS, partitions=1)]
    assert len(times) == 2
    assert all(abs(at_ms - right_ns() / 1e6) < 60_000 for at_ms in times)


async def test_a_newer_owner_fences_the_older_one(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    older, newer = Transactions(settings, "p0"), Transactions(settings, "p0")
    row = Row(T.DELIVERIES, b"key", b"older", (("h", b"1"),), 0)
    try:
        await older.begin()
        await older.write([row])
        await newer.begin()
        with pytest.raises(Conflict):
            await older.write([row])
        await newer.write([row._replace(value=b"newer")])
    finally:
        await older.stop()
        await newer.stop()
    found = [
        r async for batch in read_partition(settings, T.DELIVERIES, partition=0) for r in batch
    ]
    assert [(r.value, r.headers) for r in found] == [
        (b"older", (("h", b"1"),)),
        (b"newer", (("h", b"1"),)),
    ]


async def test_a_ledger_answers_or_says_that_the_brokers_do_not(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would wait for as long as it takes, and nobody would hear of it."""
    monkeypatch.setattr(ledger_module, "ANSWERS_WITHIN_S", 2.0)
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        ledger = Ledger(settings, role="r", partition=0, log=T.EVENTS, state=T.SESSIONS)
        cluster.brokers[0].pause()
        with pytest.raises(Unavailable, match="does not know us as its owner"):
            await ledger.claim()
        with pytest.raises(Unavailable, match="gives no rows"):
            await anext(ledger.rows())
        monkeypatch.setattr(ledger_module, "ANSWERS_WITHIN_S", 30.0)
        cluster.brokers[0].resume()
        await ledger.claim()
        assert [records async for records in ledger.rows()] == []
        await ledger.close()


async def test_open_transactions_are_told_with_the_age_of_the_oldest() -> None:
    registry = CollectorRegistry()
    open_now = open_transactions(registry)

    def told() -> tuple[float | None, float | None]:
        oldest = registry.get_sample_value("assistant_transaction_oldest_seconds")
        return registry.get_sample_value("assistant_transactions_open"), oldest

    assert told() == (0, 0)
    first, second = open_now.one(), open_now.one()
    with first:
        await asyncio.sleep(0.05)
        second.__enter__()
        count, oldest_s = told()
        assert count == 2
        assert oldest_s is not None
        assert oldest_s >= 0.05
    # They end in no order: one that aborts yet may be the older of two owners of one partition.
    assert told()[0] == 1
    second.__exit__(None, None, None)
    assert told() == (0, 0)


async def take(queue: WorkQueue, want: int, *, within_s: float = 20) -> list[Fetched]:
    found: list[Fetched] = []
    async with asyncio.timeout(within_s):
        while len(found) < want:
            found += await queue.fetch(wanted=want - len(found), within_ms=200)
    return found


def test_the_pause_between_transactions_is_the_one_that_was_set() -> None:
    """It is a name inside aiokafka: under another one it would be 20 ms again, and nobody told."""
    names = sender.AddPartitionsToTxnHandler.handle_response.__code__.co_names
    assert "BACKOFF_OVERRIDE" in names
    assert sender.BACKOFF_OVERRIDE < 0.01


async def test_only_what_is_done_without_a_gap_is_not_given_out_again(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    await written(settings, [Row(T.MODEL, b"k", b"%d" % n) for n in range(6)])
    queue = WorkQueue(settings, T.MODEL, group="g", instance="a")
    try:
        await queue.start()
        first = await take(queue, 4)
        assert await queue.fetch(wanted=0, within_ms=100) == []
        for n in (0, 1, 3):
            queue.done(0, first[n].offset)
        assert queue.in_hand == 1
    finally:
        await queue.stop()
    queue = WorkQueue(settings, T.MODEL, group="g", instance="a")
    try:
        await queue.start()
        again = await take(queue, 4)
    finally:
        await queue.stop()
    assert [r.value for r in again] == [b"2", b"3", b"4", b"5"]


async def test_what_only_ends_a_transaction_is_no_lag(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    queue = WorkQueue(settings, T.MODEL, group="g", instance="a")
    try:
        await queue.start()
        await written(settings, [Row(T.MODEL, b"k", b"%d" % n) for n in range(6)])
        await take(queue, 2)
        assert await queue.lag() >= 4
        await take(queue, 4)
        async with asyncio.timeout(20):
            while await queue.lag():
                assert await queue.fetch(wanted=1, within_ms=100) == []
    finally:
        await queue.stop()


async def test_a_second_member_gets_some_and_the_first_keeps_its_place(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    rows = [Row(T.MODEL, b"k", b"%d" % n, partition=n % 4) for n in range(40)]
    await written(settings, rows)
    a = WorkQueue(settings, T.MODEL, group="g", instance="a")
    b = WorkQueue(settings, T.MODEL, group="g", instance="b")
    moves: list[tuple[frozenset[int], frozenset[int]]] = []
    a.moved = lambda new, gone: moves.append((new, gone))
    try:
        await a.start()
        held = await take(a, 40)  # none of it is done
        joining = asyncio.create_task(b.start())
        await until(lambda: len(a.partitions) == 2)
        await joining
        got = await take(b, 20)
        assert {r.partition for r in got} == set(range(4)) - a.partitions
        assert await a.fetch(wanted=40, within_ms=500) == []  # it has them in hand already
        assert a.in_hand == 20
        assert moves == [(frozenset(range(4)), frozenset()), (frozenset(), b.partitions)]
        assert {(r.partition, r.offset) for r in got} < {(r.partition, r.offset) for r in held}
    finally:
        await a.stop()
        await b.stop()


async def test_a_tail_follows_from_now_or_from_a_time(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    everything_new = Tail(settings, T.FRAMES, committed=False, everything=True)
    some = Tail(settings, T.FRAMES, committed=False)
    sender = NewestSender(settings)
    try:
        await sender.start()
        sender.put("old", Row(T.FRAMES, b"", b"old", partition=1))
        async with asyncio.timeout(20):
            while not [r async for b in read_partition(settings, T.FRAMES, partition=1) for r in b]:
                await asyncio.sleep(0.1)
        await everything_new.start()
        await some.start()
        await some.follow({0: None, 1: MachineClock().now_ms() - 60_000})
        sender.put("a", Row(T.FRAMES, b"", b"dropped", partition=2))
        sender.put("a", Row(T.FRAMES, b"", b"new", partition=2))
        assert [r.value for r in await everything_new.fetch(within_ms=5_000)] == [b"new"]
        assert [r.value for r in await some.fetch(within_ms=5_000)] == [b"old"]
        await some.follow({1: None, 2: None})
        sender.put("a", Row(T.FRAMES, b"", b"newer", partition=2))
        assert [r.value for r in await some.fetch(within_ms=5_000)] == [b"newer"]
    finally:
        await everything_new.stop()
        await some.stop()
        await sender.stop()


async def test_an_appender_says_that_the_brokers_are_away_and_goes_on_after(prefix: str) -> None:
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        broker = cluster.brokers[0]
        async with appending(settings) as appender:
            await appender.append(event(1))
            broker.kill()
            with pytest.raises(Unavailable, match="brokers"):
                await appender.append(event(2), within_s=1)
            with pytest.raises(Unavailable, match="brokers"):  # at once: nothing piles up
                await appender.append(event(3), within_s=60)
            broker.start()
            await until(lambda: not appender.fault, within_s=60)
            await appender.append(event(2))
        found = await everything(settings, T.EVENTS)
    assert {r.value for r in found} == {event(1).value, event(2).value}


async def test_a_heartbeat_that_found_no_leader_for_too_long_costs_no_restart(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its producer has used a number up that no broker saw: it gets nothing in any more."""
    monkeypatch.setattr(clients, "REQUEST_TIMEOUT_MS", 2_000)
    monkeypatch.setattr(appender_module, "AWAY_S", 1.0)
    with started(brokers=3) as cluster:
        settings = KafkaSettings(brokers=cluster.bootstrap, prefix=f"{prefix}.")
        alone = {"min.insync.replicas": "1"}
        await create_topics(settings, [Wanted(t, 1, 1, alone) for t in (T.EVENTS, T.WORKERS)])
        async with appending(settings) as appender:
            number = await leader(cluster.bootstrap, settings.named(T.WORKERS))
            broker = cluster.brokers[number - 1]
            broker.kill()
            await until(lambda: bool(appender.fault))
            await asyncio.sleep(6)
            broker.start()
            await until(lambda: not appender.fault, within_s=30)
            await appender.append(event(1))
        assert len(await everything(settings, T.EVENTS, partitions=1)) == 1


async def test_brokers_that_nobody_runs_are_unavailable() -> None:
    settings = KafkaSettings(brokers="127.0.0.1:9", password="secret")
    assert "secret" not in repr(settings)
    appender = Appender(settings, clock=MachineClock(), instance="test")
    with pytest.raises(Unavailable):
        await appender.start()
    await appender.stop()
