"""How long a new owner takes from claiming its partitions to being ready: 200 000 sessions of 1 KB.

The sessions are real ones, as a partition encodes them, written to `conversation.sessions` in
transactions; who recovers them is a worker of the role sessions, which counts the time itself.
"""

import asyncio
import time

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions
from bench.kafka.contestants import PARTITIONS, environment, install, our_message, worker
from bench.kafka.processes import running
from bench.load import pss_bytes
from engine import codec
from statemachines import registry
from streams import wire
from streams.outbox import OUTBOX_CHANNELS
from streams.partition import Partition
from streams.sessions import activated
from streams.topics import T
from streams.wire import Kept

SESSIONS = 200_000
BYTES = 1_000
CHUNK = 2_000
METRIC = "assistant_partition_recovery_seconds"


async def measured(brokers: str) -> dict[str, float]:
    """Seconds from the claim to readiness, and the worker's memory.

    `recovery_s`: as the worker counts it, the mean of its partitions, which it reads side by side.
    `start_s`: from the start of its process to readiness, the group's own wait included.
    """
    prefix = f"recovery-{time.time_ns()}."
    env = environment(brokers, prefix)
    await asyncio.to_thread(install, env)
    await _written(KafkaSettings(brokers=brokers, prefix=prefix))
    begun_s = time.perf_counter()
    with running("kafka-recovery", worker("sessions"), env=env) as process:
        await asyncio.to_thread(process.wait_ready)
        start_s = time.perf_counter() - begun_s
        found = process.metrics()
        memory_mb = pss_bytes(process.pid) / 1e6
    assert found["assistant_sessions"] == SESSIONS, found["assistant_sessions"]
    mean_s = found[f"{METRIC}_sum"] / found[f"{METRIC}_count"]
    return {
        "recovery_s": round(mean_s, 2),
        "start_s": round(start_s, 2),
        "memory_mb": round(memory_mb, 1),
    }


async def _written(kafka: KafkaSettings) -> None:
    """The state of all partitions, as their owners would have left it."""
    template, template_id = _session()
    rows: list[list[Row]] = [[] for _ in range(PARTITIONS)]
    for n in range(SESSIONS):
        session_id = _id(n)
        partition = partition_of(session_id.encode(), PARTITIONS)
        value = template.replace(template_id.encode(), session_id.encode())
        rows[partition].append(wire.session_row(session_id, Kept(value), partition=partition))
    control = codec.encode(activated(registry.build("assistant"), b"{}", at_ms=1))
    for partition, some in enumerate(rows):
        owner = Transactions(kafka, f"sessions-{partition}")
        await owner.begin()
        for first in range(0, len(some), CHUNK):
            await owner.write(some[first : first + CHUNK])
        flow = wire.flow_row(control, partition=partition)
        applied = Row(T.EVENTS, b"", control, partition=partition)
        await owner.write([applied, flow, wire.watermark_row(0, partition=partition)])
        await owner.stop()


def _id(n: int) -> str:
    return f"webchat:bench:p{n:07}"


def _session() -> tuple[bytes, str]:
    """A session that is 1 KB long, and its id."""
    partition = Partition(
        0,
        build=lambda body: registry.build(body.flow, bytes(body.config)),
        outbox=OUTBOX_CHANNELS,
    )
    control = activated(registry.build("assistant"), b"{}", at_ms=1)
    events, offset = [(b"", codec.encode(control))], 0
    while True:
        records = [Fetched(T.EVENTS, 0, offset, 1, key, value) for key, value in events]
        decided = partition.decide(records, now_ms=1)
        assert decided is not None
        partition.confirm(decided)
        for kept in decided.kept.values():
            if len(kept.value) >= BYTES:
                return kept.value, _id(0)
        offset += 1
        events = [our_message("p0000000", offset, now_ms=1)]
