"""What happens to brokers, to their disk and to the network: rounds of the catalogue."""

import asyncio
import time

from aiokafka.structs import TopicPartition

from adapters.kafka.clients import admin_of, consumer_of
from deploy.kafka.broker import Broker
from streams.partition_worker import GROUP
from streams.topics import T
from tests.faults.lab import PARTITIONS, Lab

DIES_WITHIN_S = 15.0
COPIED_WITHIN_S = 60.0
AWAY_S = 35.0


async def broker_dies(lab: Lab, number: int) -> None:
    """The only broker: kill -9, and back after a while. Everybody waits, and goes on."""
    lab.may_end()
    (broker,) = lab.cluster.brokers
    lab.blow("kill broker")
    await asyncio.to_thread(broker.kill)
    await lab.wait(0, 3)
    await _start(lab, broker)
    await lab.crew.ready()


async def broker_stays_away(lab: Lab, number: int) -> None:
    """The only broker is gone for longer than any client keeps what it could not deliver."""
    lab.may_end()
    (broker,) = lab.cluster.brokers
    lab.blow("kill broker, for long")
    await asyncio.to_thread(broker.kill)
    await lab.wait(AWAY_S, AWAY_S + 15)
    lab.blow("start broker")
    await _start(lab, broker)
    await lab.crew.ready()


async def one_of_three_dies(lab: Lab, number: int) -> None:
    """The group's coordinator and the leader of a partition, in turn."""
    lab.may_end()
    leads = number % 2 == 1
    node = await (_leader(lab) if leads else _coordinator(lab))
    broker = lab.cluster.brokers[node - 1]
    lab.blow("kill leader" if leads else "kill coordinator")
    await asyncio.to_thread(broker.kill)
    await lab.wait(5, 10)
    lab.blow("start broker")
    await _start(lab, broker)
    await _all_copied(lab)
    await lab.crew.ready()


async def disk_fills(lab: Lab, number: int) -> None:
    """Not a byte is left on the broker's disk; then there is room again, and it is restarted."""
    assert lab.disk is not None
    lab.may_end()
    (broker,) = lab.cluster.brokers
    lab.blow("fill disk")
    await asyncio.to_thread(lab.disk.fill)
    until_s = time.monotonic() + DIES_WITHIN_S
    while broker.running and time.monotonic() < until_s:
        await asyncio.sleep(0.1)
    lab.notes["brokers that ended on a full disk"] += not broker.running
    lab.blow("free disk")
    lab.disk.free()
    if not broker.running:
        await _start(lab, broker)
    await lab.crew.ready()


async def network_cut(lab: Lab, number: int) -> None:
    """Silence between the second worker of each role and the broker; each other time for longer
    than a session lasts, so that its partitions are others' when it is heard again."""
    assert lab.network is not None
    lab.may_end()
    lab.blow("cut network")
    lab.network.cut()
    timeout_s = lab.shape.session_timeout_s
    await lab.wait(*((1, timeout_s / 2) if number % 2 else (timeout_s + 1, timeout_s + 6)))
    lab.blow("mend network")
    lab.network.mend()
    await lab.crew.ready()


async def _start(lab: Lab, broker: Broker) -> None:
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(broker.wait_ready, brokers=lab.shape.brokers)


async def _coordinator(lab: Lab) -> int:
    admin = admin_of(lab.kafka)
    await admin.start()
    try:
        return int(await admin.find_coordinator(lab.kafka.named(GROUP)))
    finally:
        await admin.close()


async def _leader(lab: Lab) -> int:
    admin = admin_of(lab.kafka)
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([lab.kafka.named(T.EVENTS)])
        partition = lab.chance.choice(topic["partitions"])
        return int(partition["leader"])
    finally:
        await admin.close()


async def _all_copied(lab: Lab) -> None:
    """Each partition of the log has all its copies again: the next death may take any."""
    async with asyncio.timeout(COPIED_WITHIN_S):
        while True:
            consumer = consumer_of(lab.kafka)
            await consumer.start()
            try:
                name = lab.kafka.named(T.EVENTS)
                ats = [TopicPartition(name, number) for number in range(PARTITIONS)]
                consumer.assign(ats)
                cluster = consumer._client.cluster
                await consumer._client.force_metadata_update()
                known = [cluster._partitions[name][at.partition] for at in ats]
            finally:
                await consumer.stop()
            if all(len(one.isr) == lab.shape.brokers for one in known):
                return
            await asyncio.sleep(0.5)
