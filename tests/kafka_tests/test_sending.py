"""The egress role on a real broker: marked, called, receipted, by one owner, across moves."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.newest import NewestSender
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.effects import SendMessage
from engine.errors import Conflict, NoReceipt, Refused, Unavailable
from engine.events import ReplyUndelivered
from engine.limits import EVENT_BYTES_MAX
from engine.ports import DeadLetter, Delivery, Frame
from streams import wire
from streams.cluster.found import ORDER
from streams.cluster.lane import Accounts, Lane, Outside
from streams.cluster.metrics import Metrics
from streams.cluster.sending import Sending
from streams.crash_marks import nowhere
from streams.egress import TOO_OLD, Account
from streams.limiter import Limiter
from streams.machine_clock import wall_ms
from streams.sessions import Order
from streams.topics import ORDERS_KEPT_MS, T
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import appending, everything, installed, written
from tests.kafka_tests.platform import Platform, PlatformChannel, end, reply, say, session, withdraw

ACCOUNTS = tuple("abcdef")


def unlimited(platform: Platform) -> Callable[[int], Accounts]:
    account = Account(idempotent=platform.idempotent)
    return lambda now_ms: {("im", name): account for name in ACCOUNTS}


def egress_role(
    settings: KafkaSettings,
    platform: Platform,
    appender: Appender,
    *,
    instance: str = "one",
    accounts: Callable[[int], Accounts] | None = None,
) -> Sending:
    return Sending(
        settings,
        instance=instance,
        appender=appender,
        channels=[platform.channel(name) for name in ACCOUNTS],
        accounts=accounts or unlimited(platform),
        metrics=Metrics(CollectorRegistry()),
    )


@asynccontextmanager
async def sending(
    settings: KafkaSettings,
    platform: Platform,
    *,
    instance: str = "one",
    accounts: Callable[[int], Accounts] | None = None,
) -> AsyncIterator[Sending]:
    """A started egress role with an appender of its own."""
    async with appending(settings, instance=instance) as appender:
        role = egress_role(settings, platform, appender, instance=instance, accounts=accounts)
        await role.start()
        try:
            yield role
        finally:
            await role.stop(drain_s=10)


def living(
    settings: KafkaSettings, appender: Appender, platform: Platform, *, partition: int
) -> tuple[Lane, asyncio.Task[None]]:
    """A partition's lane without its role, begun."""
    channels: list[PlatformChannel] = [platform.channel("a")]
    metrics = Metrics(CollectorRegistry())
    outside = Outside(settings, appender, channels, unlimited(platform), metrics, nowhere)
    lane = Lane(partition, outside, done=lambda offset: None)
    return lane, asyncio.create_task(lane.live())


async def die(role: Sending) -> None:
    """As killed: nothing settled, nothing committed, whatever is in hand."""
    for lane, task in role._lanes.values():
        task.cancel()
        lane._closed = True
        lane._calls.cancel()
        lane.recovered = False
    role._queue._hands.clear()
    await role.stop(drain_s=0)


async def until(true: Callable[[], object], *, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


async def ordered(settings: KafkaSettings, orders: Sequence[Order]) -> None:
    await written(settings, [wire.order_row(order) for order in orders])


async def deliveries(settings: KafkaSettings, *, partitions: int = 4) -> dict[str, Delivery]:
    """Each delivery as it was last written."""
    found: dict[str, Delivery] = {}
    for record in await everything(settings, T.DELIVERIES, partitions=partitions):
        if record.key != wire.WATERMARK and record.value is not None:
            found[record.key.decode()] = wire.delivery_of(record.value)
    return found


async def receipted(
    settings: KafkaSettings, want: int, *, within_s: float = 60, partitions: int = 4
) -> dict[str, Delivery]:
    """All deliveries, once so many have their receipt."""
    async with asyncio.timeout(within_s):
        while True:
            found = await deliveries(settings, partitions=partitions)
            if sum(d.receipted_ms is not None for d in found.values()) >= want:
                return found
            await asyncio.sleep(0.1)


async def receipted_alone(settings: KafkaSettings, reply_id: str) -> None:
    """Once this reply has its receipt, whatever else stands there."""
    async with asyncio.timeout(60):
        while True:
            rows = await everything(settings, T.DELIVERIES, partitions=1)
            mine = [wire.delivery_of(r.value) for r in rows if r.key == reply_id.encode()]
            if mine and mine[-1].receipted_ms is not None:
                return
            await asyncio.sleep(0.1)


async def letters(settings: KafkaSettings, want: int) -> list[DeadLetter]:
    """The dead letters, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            found = await everything(settings, T.DEAD, partitions=1)
            if len(found) >= want:
                return wire.letters_of(found)
            await asyncio.sleep(0.1)


def waiting(n: int) -> Delivery:
    """The n-th session's n-th reply, queued."""
    order = say(n, of=n)
    body = order.effect.body
    assert isinstance(body, SendMessage)
    assert order.address is not None
    return Delivery(
        reply_id=body.reply_id,
        session_id=session(n),
        cause="c",
        kind="message",
        address=order.address,
        state="queued",
        text=body.text,
    )


async def undelivered(settings: KafkaSettings) -> list[tuple[str, str]]:
    """What sessions were told of their replies."""
    told = []
    for record in await everything(settings, T.EVENTS):
        body = codec.decode_event(record.value or b"").body
        assert isinstance(body, ReplyUndelivered)
        told.append((body.reply_id, body.state))
    return sorted(told)


async def test_replies_arrive_once_in_order_and_not_again_after_a_restart(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()
    orders = [
        say(n, of=of, account=account) for n in range(5) for of in range(4) for account in ACCOUNTS
    ]
    async with sending(settings, platform):
        await ordered(settings, orders)
        found = await receipted(settings, len(orders))
    assert {d.state for d in found.values()} == {"sent"}
    assert all(d.platform_ids == (f"p-{d.reply_id}",) for d in found.values())
    assert all((d.sending_ms or 0) <= (d.receipted_ms or 0) for d in found.values())
    assert set(platform.replies().values()) == {1}
    by_session: dict[str, list[str]] = {}
    for reply_id, text, _ in platform.arrived:
        by_session.setdefault(reply_id.rpartition("/")[0], []).append(text)
    assert len(by_session) == 24
    assert set(map(tuple, by_session.values())) == {tuple(f"text {n}" for n in range(5))}
    async with sending(settings, platform) as role:
        await until(lambda: not role.ready)
        await ordered(settings, [say(9)])
        await receipted(settings, len(orders) + 1)
    assert set(platform.replies().values()) == {1}
    assert await undelivered(settings) == []


async def test_what_did_not_arrive_is_told_to_its_session(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()

    def answer(delivery: Delivery) -> None:
        if delivery.text == "refused":
            raise Refused("no such person")
        if delivery.text == "unheard":
            raise NoReceipt("no answer")

    platform.answer = answer
    async with sending(settings, platform):
        await ordered(settings, [say(1, "refused"), say(2, "unheard"), say(3), end(4, None)])
        found = await receipted(settings, 4)
    states = [found[reply(n)].state for n in (1, 2, 3, 4)]
    assert states == ["failed", "unknown", "sent", "closed"]
    expected = [(reply(1), "failed"), (reply(2), "unknown")]
    assert await undelivered(settings) == sorted(expected)


async def test_a_withdrawn_reply_is_never_sent_and_a_limit_holds_across_owners(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()

    def limited(now_ms: int) -> Accounts:
        limiter = Limiter.of_new_owner(2, period_ms=1_000, now_ms=now_ms)
        return {("im", "a"): Account(idempotent=False, limiter=limiter)}

    async with sending(settings, platform, accounts=limited) as role:
        await ordered(settings, [say(n, of=n) for n in range(6)])
        await until(lambda: role._queue.in_hand == 0 and len(platform.arrived) >= 2)
        await ordered(settings, [withdraw(5, of=5)])
        await until(lambda: len(platform.arrived) >= 3)
    async with sending(settings, platform, accounts=limited):
        found = await receipted(settings, 6)
    assert found[reply(5, of=5)].state == "withdrawn"
    assert platform.replies() == Counter(reply(n, of=n) for n in range(5))
    times = [at_ms for _, _, at_ms in platform.arrived]
    assert all(later - first >= 1_000 for first, later in zip(times, times[2:], strict=False))


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_death_between_call_and_receipt(
    broker: Cluster, prefix: str, idempotent: bool
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform(idempotent=idempotent, delay_s=60)
    async with appending(settings) as appender:
        role = egress_role(settings, platform, appender)
        await role.start()
        await ordered(settings, [say(1), say(2)])
        await until(lambda: len(platform.arrived) == 1)
        await die(role)
    platform.delay_s = 0
    async with sending(settings, platform):
        found = await receipted(settings, 2)
    assert found[reply(2)].state == "sent"
    if idempotent:
        assert found[reply(1)].state == "sent"
        assert platform.replies() == Counter([reply(1), reply(1), reply(2)])
        assert await undelivered(settings) == []
    else:
        assert found[reply(1)].state == "unknown"
        assert platform.replies() == Counter([reply(1), reply(2)])
        assert await undelivered(settings) == [(reply(1), "unknown")]


async def test_orders_that_are_durable_and_not_committed_are_not_taken_twice(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()
    async with appending(settings) as appender:
        role = egress_role(settings, platform, appender)
        role._queue.commit = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
        await role.start()
        # Taken a second time, this withdrawal would take back nothing: it is long sent.
        await ordered(settings, [say(1), withdraw(1), say(2, of=1)])
        await receipted(settings, 2)
        await die(role)
    async with sending(settings, platform) as role:
        await until(lambda: not role.ready and role._queue.in_hand == 0)
        await ordered(settings, [say(3)])
        await receipted(settings, 3)
    assert set(platform.replies().values()) == {1}


async def test_old_receipts_are_deleted_and_what_was_on_its_way_goes_in_order(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    platform = Platform()
    (first, second), day_ms = (say(1), say(2)), 24 * 3_600_000
    old = replace(waiting(7), state="sent", receipted_ms=wall_ms() - 3 * day_ms)
    new = replace(waiting(8), state="sent", receipted_ms=wall_ms() - day_ms)
    await written(settings, [wire.delivery_row(d, partition=0) for d in (old, new)])
    platform.delay_s = 60
    async with appending(settings) as appender:
        role = egress_role(settings, platform, appender)
        await role.start()
        await ordered(settings, [first, second, say(3)])
        await until(lambda: platform.arrived and role._queue.in_hand == 0)
        await die(role)
    platform.delay_s = 0
    async with sending(settings, platform) as role:
        await receipted(settings, 4, partitions=1)
        rows = await everything(settings, T.DELIVERIES, partitions=1)
        await role._sweep()
    texts = [text for _, text, _ in platform.arrived]
    assert texts == ["text 1", "text 2", "text 3"]
    assert [r.key.decode() for r in rows if r.value is None] == [old.reply_id]


async def test_what_cannot_be_read_holds_up_nobody_and_an_order_becomes_a_dead_letter(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    platform = Platform()
    order = wire.order_row(say(1))
    nobodys = wire.order_row(say(2))._replace(value=(order.value or b"").replace(b"im:a:", b""))
    queued = wire.delivery_row(waiting(7), partition=0)
    alien = [
        Row(T.DELIVERIES, b"rubbish", b"rubbish"),
        Row(T.DELIVERIES, b"\xff", b"rubbish"),
        Row(T.DELIVERIES, b"\xff", None),
        queued._replace(key=b"of another reply"),
        queued._replace(headers=((ORDER, b"soon"),)),
    ]
    long = b"x" * 700_000  # in a letter of its whole value it would fit no batch
    # A good one, but for its size: the delivery that is made of it fits no batch.
    huge = wire.order_row(say(3, "x" * 999_000))
    await written(settings, [*alien, order._replace(value=long), nobodys, order, huge])
    async with sending(settings, platform) as role:
        found = await letters(settings, 3)
        await receipted_alone(settings, reply(1))
        await until(lambda: not role.ready)
    assert platform.replies() == Counter([reply(1)])
    assert [one.number for one in found] == [f"im.egress:0:{n}" for n in (0, 1, 3)]
    assert found[0].value == long[:EVENT_BYTES_MAX]
    assert all(one.error.startswith("order ") for one in found)
    async with sending(settings, platform) as role:  # and each of them once
        await until(lambda: not role.ready and role._queue.in_hand == 0)
    assert len(await everything(settings, T.DEAD, partitions=1)) == 3


async def test_a_watermark_that_cannot_be_read_is_refused_with_its_place(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    await written(settings, [Row(T.DELIVERIES, wire.WATERMARK, b"rubbish")])
    async with sending(settings, Platform()) as role:
        with pytest.raises(Refused, match=r"im\.deliveries:0:0: .*write the row anew"):
            async with asyncio.timeout(30):
                await role.failed()


async def test_what_was_ordered_long_ago_is_not_sent_and_says_so(
    broker: Cluster, prefix: str
) -> None:
    """As when a log is stepped again of which nothing else was saved."""
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()
    now_ms = wall_ms()
    old = [order._replace(at_ms=now_ms - ORDERS_KEPT_MS - 1_000) for order in (say(1), end(2, "x"))]
    new = [order._replace(at_ms=now_ms - ORDERS_KEPT_MS + 60_000) for order in (say(3), end(4, ""))]
    async with sending(settings, platform):
        await ordered(settings, [*old, *new])
        found = await receipted(settings, 4)
    assert platform.replies() == Counter([reply(3), reply(4)])
    assert {found[reply(n)].state for n in (1, 2)} == {"failed"}
    assert {found[reply(n)].error for n in (1, 2)} == {TOO_OLD}
    assert await undelivered(settings) == []


async def test_an_owner_that_was_replaced_marks_nothing_and_calls_nobody(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    old, new = Platform(), Platform()
    async with appending(settings, instance="zombie") as appender:
        zombie = egress_role(settings, old, appender)
        await zombie.start()
        await ordered(settings, [say(1)])
        await receipted(settings, 1)
        (partition,) = {r.partition for r in await everything(settings, T.EGRESS)}
        lane, task = living(settings, appender, new, partition=partition)
        await until(lambda: lane.recovered)
        await ordered(settings, [say(2)])  # the zombie's consumer gets it
        with pytest.raises(Conflict):
            await zombie.failed()
        assert len(old.arrived) == 1
        for record in await everything(settings, T.EGRESS):
            lane.put(record)
        found = await receipted(settings, 2)
        task.cancel()
        await asyncio.wait([task])
        await lane.close()
        await zombie.stop(drain_s=1)
    assert {d.state for d in found.values()} == {"sent"}
    assert new.replies() == Counter([reply(2)])


@pytest.mark.parametrize("is_durable", [False, True])
async def test_a_lane_whose_transactions_fail_begins_again_with_the_calls_in_its_hand(
    broker: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch, is_durable: bool
) -> None:
    """Its platform recognises no repetition: what a new start finds marked would be unknown."""
    monkeypatch.setattr("streams.cluster.lane.GROUP_SAYS_S", 0.1)
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    platform = Platform(delay_s=2)
    async with sending(settings, platform) as role:
        await ordered(settings, [say(1)])
        await until(lambda: platform.arrived)
        lane = role._lanes[0][0]
        commit, failures = lane._ledger.commit, iter(range(3))

        async def failing(rows: Sequence[Row]) -> None:
            fails = next(failures, None) is not None
            if is_durable or not fails:
                await commit(rows)
            if fails:
                raise Unavailable("nobody knows what became of it")

        monkeypatch.setattr(lane._ledger, "commit", failing)
        await ordered(settings, [say(2, of=2), say(3), say(4, of=2)])
        found = await receipted(settings, 4, partitions=1)
        assert next(failures, None) is None
        assert role._queue.in_hand == 0
        assert role._ends is not None
        assert not role._ends.done()
    assert {d.state for d in found.values()} == {"sent"}
    assert set(platform.replies().values()) == {1}
    assert await everything(settings, T.EVENTS, partitions=1) == []


async def test_a_lane_that_comes_back_takes_no_others_mark_for_its_own(
    broker: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away for so long that the group gave its partition to another, and takes it again."""
    monkeypatch.setattr("streams.cluster.lane.GROUP_SAYS_S", 0.0)
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    old, new = Platform(), Platform(delay_s=60)
    async with appending(settings, instance="lanes") as appender:
        first, task = living(settings, appender, old, partition=0)
        await until(lambda: first.recovered)
        claim, has_called, claimed = first._ledger.claim, asyncio.Event(), asyncio.Event()

        async def fails(rows: Sequence[Row]) -> None:
            raise Unavailable("away")

        async def claims() -> None:
            claimed.set()
            await has_called.wait()
            monkeypatch.undo()
            await claim()

        monkeypatch.setattr(first._ledger, "commit", fails)
        monkeypatch.setattr(first._ledger, "claim", claims)
        await ordered(settings, [say(1)])
        (order,) = await everything(settings, T.EGRESS, partitions=1)
        first.put(order)
        await claimed.wait()
        second, other = living(settings, appender, new, partition=0)
        second.put(order)
        await until(lambda: new.arrived)
        has_called.set()
        found = await receipted(settings, 1, partitions=1)
        for lane, life in ((first, task), (second, other)):
            life.cancel()
            await asyncio.wait([life])
            await lane.close()
    assert found[reply(1)].state == "unknown"
    assert (len(old.arrived), len(new.arrived)) == (0, 1)


async def test_a_lane_that_waits_holds_up_no_other(
    broker: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.cluster.lane.GROUP_SAYS_S", 0.1)
    monkeypatch.setattr("streams.cluster.sending.IN_HAND_MAX", 8)
    monkeypatch.setattr("streams.cluster.sending.HELD_UP_MAX", 4)
    settings = await installed(broker.bootstrap, prefix, partitions=2)
    platform = Platform()
    places = {a: partition_of(wire.account_key(session(0, account=a)), 2) for a in ACCOUNTS}
    here, other = (next(a for a in ACCOUNTS if places[a] == partition) for partition in (0, 1))
    async with sending(settings, platform) as role:
        await until(lambda: len(role._lanes) == 2 and not role.ready)
        is_away = True
        ledger = role._lanes[0][0]._ledger
        claim, commit = ledger.claim, ledger.commit

        async def waits(rows: Sequence[Row]) -> None:
            if is_away:
                raise Unavailable("no leader")
            await commit(rows)

        async def claims() -> None:
            if is_away:
                raise Unavailable("no leader")
            await claim()

        monkeypatch.setattr(ledger, "commit", waits)
        monkeypatch.setattr(ledger, "claim", claims)
        await ordered(settings, [say(n, of=n, account=here) for n in range(30)])
        await until(lambda: role._lanes[0][0].held_up >= 4)
        await ordered(settings, [say(n, of=n, account=other) for n in range(30)])
        await until(lambda: len(platform.arrived) == 30)
        assert role._lanes[0][0].held_up <= 4 + 8
        is_away = False
        await receipted(settings, 60, partitions=2)
    assert set(platform.replies().values()) == {1}


async def test_partitions_move_while_calls_are_made_and_each_arrives_once(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform(delay_s=0.3)
    orders = [
        say(n, of=of, account=account) for n in range(4) for of in range(5) for account in ACCOUNTS
    ]
    async with sending(settings, platform, instance="one") as one:
        await ordered(settings, orders)
        await until(lambda: platform.arrived)
        async with sending(settings, platform, instance="two") as two:
            await until(lambda: len(two._lanes) == 2)
            found = await receipted(settings, len(orders))
            assert not one.ready
        assert one._ends is not None
        assert not one._ends.done()
    assert {d.state for d in found.values()} == {"sent"}
    assert set(platform.replies().values()) == {1}


async def test_frames_go_to_the_channel_newest_first_and_none_after_the_receipt(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    platform = Platform()
    sender = NewestSender(settings)

    def streams(n: int, frame: int, text: str) -> None:
        shown = Frame(reply_id=reply(n), session_id=session(0), attempt=7, n=frame, text=text)
        sender.put(f"{n}.{frame}", wire.frame_row(shown, outbox=frozenset({"webchat"})))

    try:
        await sender.start()
        async with sending(settings, platform) as role:
            await until(lambda: not role.ready)
            channel = role._outside.channels[0]
            assert isinstance(channel, PlatformChannel)
            for frame in (1, 2, 3):
                streams(1, frame, f"so far {frame}")
            await until(lambda: channel.shown)
            streams(2, 1, "what stays")
            await until(lambda: len(channel.shown) >= 2)
            await ordered(settings, [end(1, "whole"), end(2, None)])
            found = await receipted(settings, 2)
            before = len(channel.shown)
            streams(1, 4, "late")
            streams(3, 1, "another")
            await until(lambda: len(channel.shown) > before)
    finally:
        await sender.stop()
    texts = [frame.text for frame in channel.shown]
    assert texts[-1] == "another"
    assert "late" not in texts
    assert "so far 3" in texts
    assert [found[reply(n)].text for n in (1, 2)] == ["whole", "what stays"]


async def test_a_broker_that_dies_under_it_loses_and_doubles_nothing(prefix: str) -> None:
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        platform = Platform(delay_s=0.05)
        orders = [say(n, of=of) for n in range(30) for of in range(10)]
        async with sending(settings, platform) as role:
            await ordered(settings, orders)
            await until(lambda: len(platform.arrived) > 20)
            cluster.brokers[0].kill()
            await asyncio.sleep(1)
            cluster.brokers[0].start()
            await asyncio.to_thread(cluster.brokers[0].wait_ready)
            found = await receipted(settings, len(orders), within_s=90)
            assert role._ends is not None
            assert not role._ends.done()
    assert {d.state for d in found.values()} == {"sent"}
    assert set(platform.replies().values()) == {1}
