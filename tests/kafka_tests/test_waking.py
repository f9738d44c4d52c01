"""The clock role on a real broker: who is due is woken, in turn, across moves and outages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Row
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.events import ClockReached
from streams import wire
from streams.cluster import waking
from streams.cluster.metrics import Metrics
from streams.cluster.waking import Waking
from streams.machine_clock import wall_ms
from streams.topics import T
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import appending, everything, installed, written

PARTITIONS = 4


@asynccontextmanager
async def clock_role(settings: KafkaSettings, instance: str) -> AsyncIterator[Waking]:
    """A started clock role with an appender of its own."""
    async with appending(settings, instance=instance) as appender:
        metrics = Metrics(CollectorRegistry())
        role = Waking(settings, instance=instance, appender=appender, metrics=metrics)
        await role.start()
        try:
            yield role
        finally:
            await role.stop(drain_s=5)


def session(n: int, due_ms: int | None, *, value: bytes = b"{}") -> Row:
    kept = wire.Kept(value, due_ms=due_ms)
    return wire.session_row(f"webchat:web:k1:s{n}", kept, partition=n % PARTITIONS)


async def woken(
    settings: KafkaSettings, want: int, *, within_s: float = 30
) -> list[tuple[str, int, int]]:
    """Who was woken, for which deadline, when; once there are that many."""
    async with asyncio.timeout(within_s):
        while True:
            found = []
            for record in await everything(settings, T.EVENTS):
                event = codec.decode_event(record.value or b"")
                assert isinstance(event.body, ClockReached)
                found.append((event.session_id, event.body.due_ms, event.at_ms))
            if len(found) >= want:
                return found
            await asyncio.sleep(0.1)


async def until(true, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


async def test_the_newest_row_says_when_and_nobody_is_woken_early_or_twice(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    now_ms = wall_ms()
    past, soon, far = now_ms - 5_000, now_ms + 3_000, now_ms + 3_600_000
    old = [session(n, past) for n in range(8)]  # long over: their newer rows say so
    new = [session(n, soon if n == 1 else None) for n in range(7)]
    gone = Row(T.SESSIONS, session(7, None).key, None, partition=3)
    mark = wire.watermark_row(5, partition=0)
    await written(settings, [*old, *new, gone, mark, session(8, far), session(9, past)])
    async with clock_role(settings, "a") as role:
        await until(lambda: not role.ready and role.waiting)
        await written(settings, [session(10, soon)])
        found = await woken(settings, 3)
        await asyncio.sleep(1)
        found = await woken(settings, 3)
        assert role.waiting == 1
    assert sorted((s[-2:], due) for s, due, _ in found) == sorted(
        [("s1", soon), ("s9", past), ("10", soon)]
    )
    assert all(at_ms >= due_ms for _, due_ms, at_ms in found)
    on_time = [at_ms - due_ms for _, due_ms, at_ms in found if due_ms == soon]
    assert max(on_time) < 2_000


async def test_a_row_that_cannot_be_read_is_as_if_it_were_not_there(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    past = wall_ms() - 5_000
    mine = session(1, past)
    alien = [
        mine._replace(key=b"\xff\xfe"),
        mine._replace(key=b"nobody"),
        mine._replace(headers=(("due", b"soon"),)),
        mine._replace(headers=(("due", None),)),  # type: ignore[arg-type]
    ]
    await written(settings, [mine, *alien])
    async with clock_role(settings, "a") as role:
        ((who, due_ms, _),) = await woken(settings, 1)
        await until(lambda: not role.ready)
    assert (who.encode(), due_ms) == (mine.key, past)


async def test_after_an_outage_sessions_are_woken_in_turn_and_all_of_them(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    many = 3 * waking.WOKEN_MAX
    past = wall_ms() - 60_000
    await written(settings, [session(n, past) for n in range(many)])
    async with clock_role(settings, "a"):
        found = await woken(settings, many)
    assert len({s for s, _, _ in found}) == many == len(found)
    by_second: dict[int, int] = {}
    for _, _, at_ms in found:
        by_second[at_ms // 1_000] = by_second.get(at_ms // 1_000, 0) + 1
    assert max(by_second.values()) <= waking.WOKEN_PER_S + waking.WOKEN_MAX


async def test_a_partition_that_moves_keeps_its_deadlines(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    due = wall_ms() + 9_000
    await written(settings, [session(n, due) for n in range(40)])
    async with clock_role(settings, "a") as a:
        await until(lambda: a.waiting == 40)
        async with clock_role(settings, "b") as b:
            await until(lambda: a.waiting == 20 and b.waiting == 20)
            await until(lambda: all(o.is_read for o in b._owned.values()))
            found = await woken(settings, 40)
    assert {s for s, _, _ in found} == {f"webchat:web:k1:s{n}" for n in range(40)}
    assert len(found) == 40


async def test_who_is_due_while_the_broker_is_away_is_woken_after(prefix: str) -> None:
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        async with clock_role(settings, "a") as role:
            await until(lambda: not role.ready)
            due = wall_ms() + 5_000
            await written(settings, [session(n, due) for n in range(20)])
            await until(lambda: role.waiting == 20)
            cluster.brokers[0].kill()
            await until(lambda: wall_ms() > due + 500)
            cluster.brokers[0].start()
            await asyncio.to_thread(cluster.brokers[0].wait_ready)
            found = await woken(settings, 20, within_s=60)
    assert {s for s, _, _ in found} == {f"webchat:web:k1:s{n}" for n in range(20)}
