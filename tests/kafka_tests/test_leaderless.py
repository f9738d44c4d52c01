"""A partition that has no leader just now, while the brokers serve all others."""

import asyncio
import time

import pytest

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions
from deploy.kafka.broker import Broker
from deploy.kafka.cluster import Cluster
from engine.errors import Unavailable
from streams import wire
from streams.topics import TOPICS, T
from tests.hop_tests.test_partition import Log
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import an_owner_of, everything
from tests.kafka_tests.records import leader

pytestmark = pytest.mark.asyncio

WITHIN_S = 60


async def installed(cluster: Cluster) -> tuple[KafkaSettings, Broker]:
    """Everything has three copies but effects.model, and the broker that has its only one."""
    settings = KafkaSettings(brokers=cluster.bootstrap, transaction_timeout_ms=4_000)
    copies = {T.MODEL: 1}
    topics = [Wanted(t.name, 1, copies.get(t.name, 3), t.config) for t in TOPICS]
    await create_topics(settings, topics)
    return settings, cluster.brokers[await leader(cluster.bootstrap, T.MODEL) - 1]


async def shown(settings: KafkaSettings) -> list[bytes]:
    """What a reader of committed records gets of effects.skill."""
    return [record.key for record in await everything(settings, T.SKILL, partitions=1)]


async def test_a_request_without_a_leader_is_waited_for_by_the_partition_that_made_it() -> None:
    with started(brokers=3) as cluster:
        settings, only = await installed(cluster)
        log = Log()
        log.say("hi")
        worker, told = an_owner_of(settings)
        only.kill()
        worker.start()
        worker.put(log.events, "all")
        async with asyncio.timeout(WITHIN_S):
            while told.recoveries < 3:
                await asyncio.sleep(0.1)
        assert (told.died, told.marks, worker.waiting) == ([], [], 2)

        other = Transactions(settings, "another")
        await other.begin()
        await other.write([Row(T.SKILL, b"others go on", b"{}", partition=0)])
        async with asyncio.timeout(WITHIN_S):
            while await shown(settings) != [b"others go on"]:  # the brokers mark its end in time
                await asyncio.sleep(0.1)
        assert told.marks == []
        await other.stop()

        only.start()
        only.wait_ready(brokers=3)
        async with asyncio.timeout(WITHIN_S):
            while not told.marks:
                await asyncio.sleep(0.1)
        await worker.stop()
        assert told.died == []
        assert await everything(settings, T.DEAD, partitions=1) == []
        (step,) = await everything(settings, T.STEPS, partitions=1)
        (request,) = await everything(settings, T.MODEL, partitions=1)
        assert step.key == request.key
        rows = await everything(settings, T.SESSIONS, partitions=1)
        assert counted(rows) == {1}


def counted(rows: list[Fetched]) -> set[int]:
    return {wire.attempt_of(row.value or b"").begun for row in rows if row.key == wire.ATTEMPT}


async def test_a_transaction_ends_before_the_brokers_would_end_it_and_call_that_fencing() -> None:
    with started(brokers=3) as cluster:
        settings, only = await installed(cluster)
        owner = Transactions(settings, "owner")
        await owner.begin()
        rows = [Row(topic, b"key", b"{}", partition=0) for topic in (T.SKILL, T.MODEL)]
        await owner.write(rows)
        only.kill()
        began_s = time.monotonic()
        with pytest.raises(Unavailable):
            await owner.write(rows)
        assert time.monotonic() - began_s < 5
        await owner.stop()
        await owner.begin()  # what it left open goes
        assert await shown(settings) == [b"key"]
        with pytest.raises(Unavailable):
            await owner.write(rows)
        await owner.stop()
