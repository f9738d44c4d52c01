"""An installation of its own on a shared broker: all topics under a test's prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.reading import read_partition
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions
from streams.machine_clock import MachineClock, wall_ms
from streams.partition import Partition
from streams.partition_worker import GROUP, PartitionWorker
from streams.topics import TOPICS, T
from tests.hop_tests.test_partition import build
from tests.hop_tests.test_partition_worker import MemoryLedger, Told

PARTITIONS = 4


async def installed(
    bootstrap: str, prefix: str, *, partitions: int = PARTITIONS, session_timeout_ms: int = 6_000
) -> KafkaSettings:
    """Make the topics; how to reach them."""
    settings = KafkaSettings(
        brokers=bootstrap, prefix=f"{prefix}.", session_timeout_ms=session_timeout_ms
    )
    await made(settings, partitions=partitions)
    return settings


async def made(settings: KafkaSettings, *, partitions: int, copies: int = 1) -> None:
    """Make all topics."""
    topics = [
        Wanted(t.name, partitions if t.width == "sessions" else 1, copies, t.config) for t in TOPICS
    ]
    await create_topics(settings, topics)


@asynccontextmanager
async def appending(settings: KafkaSettings, *, instance: str = "test") -> AsyncIterator[Appender]:
    """A started appender."""
    appender = Appender(settings, clock=MachineClock(), instance=instance)
    try:
        await appender.start()
        yield appender
    finally:
        await appender.stop()


async def written(settings: KafkaSettings, rows: list[Row], *, owner: str = "a-test") -> None:
    """Write rows in one transaction."""
    transactions = Transactions(settings, owner)
    try:
        await transactions.begin()
        await transactions.write(rows)
    finally:
        await transactions.stop()


async def everything(
    settings: KafkaSettings, topic: str, *, partitions: int = PARTITIONS
) -> list[Fetched]:
    """All committed records of a topic, partition by partition."""
    return [
        record
        for partition in range(partitions)
        async for batch in read_partition(settings, topic, partition=partition)
        for record in batch
    ]


def an_owner_of(settings: KafkaSettings) -> tuple[PartitionWorker, Told]:
    """The worker of partition 0, not yet started, and what it tells."""
    told = Told(MemoryLedger())
    worker = PartitionWorker(
        Partition(0, build=build, outbox=frozenset({"webchat"})),
        ledger=Ledger(settings, role=GROUP, partition=0, log=T.EVENTS, state=T.SESSIONS),
        reader=told,
        watched=told,
        now_ms=wall_ms,
    )
    return worker, told
