"""Logs that were cut or made anew under those who read them: nothing is passed over in silence."""

import asyncio

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.clients import KafkaSettings, admin_of
from adapters.kafka.records import Row
from adapters.kafka.work import WorkQueue
from deploy.kafka.cluster import Cluster
from engine.errors import Refused
from streams import wire
from streams.topics import BY_NAME, T
from tests.hop_tests.test_partition_worker import Told
from tests.kafka_tests.installation import an_owner_of, installed, written
from tests.kafka_tests.platform import Platform, say
from tests.kafka_tests.test_adapters import take
from tests.kafka_tests.test_sending import ordered, receipted, sending

pytestmark = pytest.mark.asyncio

RECORDS = 4


async def made_anew(settings: KafkaSettings, topic: T) -> None:
    """Deleted, and made again under its name."""
    admin = admin_of(settings)
    await admin.start()
    try:
        await admin.delete_topics([settings.named(topic)])
    finally:
        await admin.close()
    async with asyncio.timeout(30):
        while not await create_topics(settings, [Wanted(topic, 1, 1, BY_NAME[topic].config)]):
            await asyncio.sleep(0.2)


async def without_beginning(settings: KafkaSettings, topic: T, *, before: int) -> None:
    admin = admin_of(settings)
    await admin.start()
    try:
        at = TopicPartition(settings.named(topic), 0)
        await admin.delete_records({at: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def an_owner(settings: KafkaSettings) -> Told:
    """A partition's worker, until it is ready or refuses."""
    worker, told = an_owner_of(settings)
    worker.start()
    async with asyncio.timeout(30):
        while not (worker.ready or told.died):
            await asyncio.sleep(0.05)
    await worker.stop()
    return told


async def test_sessions_refuse_a_log_that_was_cut(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    await written(settings, [Row(T.EVENTS, b"k", b"%d" % n, partition=0) for n in range(RECORDS)])
    await written(settings, [wire.watermark_row(1, partition=0)])
    assert (await an_owner(settings)).died == []

    await without_beginning(settings, T.EVENTS, before=2)
    assert (await an_owner(settings)).died == []  # all of that was applied
    await without_beginning(settings, T.EVENTS, before=3)
    (error,) = (await an_owner(settings)).died
    assert isinstance(error, Refused)
    assert "conversation.events:0 begins at offset 3" in str(error)

    await made_anew(settings, T.EVENTS)
    (error,) = (await an_owner(settings)).died
    assert isinstance(error, Refused)
    assert "conversation.events:0 ends at offset 0" in str(error)


async def test_egress_refuses_orders_of_a_topic_that_was_made_anew(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    platform = Platform()
    await ordered(settings, [say(1), say(2)])
    async with sending(settings, platform):
        await receipted(settings, 2, partitions=1)
    await made_anew(settings, T.EGRESS)
    async with sending(settings, platform, instance="two") as role:
        with pytest.raises(Refused, match=r"im\.egress:0 ends at offset 0"):
            await asyncio.wait_for(role.failed(), 30)


async def test_a_member_takes_the_work_of_a_topic_that_was_made_anew_under_it(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    await written(settings, [Row(T.MODEL, b"k", b"%d" % n, partition=0) for n in range(RECORDS)])
    queue = WorkQueue(settings, T.MODEL, group="g", instance="a")
    try:
        await queue.start()
        for record in await take(queue, RECORDS):
            queue.done(0, record.offset)
        await queue.commit()
        await made_anew(settings, T.MODEL)
        await written(settings, [Row(T.MODEL, b"k", b"new", partition=0)])
        # While it is being removed the old one may still be there, and be given out again.
        while [record.value for record in await take(queue, 1)] != [b"new"]:
            pass
    finally:
        await queue.stop()
