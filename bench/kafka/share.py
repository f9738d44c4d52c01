"""What Faust itself takes of an event: the same records, and partition workers that do nothing.

They go through `streams.faust_app` as deployed, in a process of its own; each worker acknowledges
what it is given. So the figure is all of group, fetching, decoding, hand-over and acknowledgement.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.clients import KafkaSettings, producer_of
from bench.kafka.contestants import PARTITIONS, our_message
from bench.kafka.processes import ROOT
from streams.topics import BY_NAME, T

RECORDS = 200_000
STEADY_RATE = 2_320
"""Events a second of the sustained load: a message and an outcome a turn."""
STEADY_S = 15


class Acknowledges:
    """In a partition worker's place."""

    def __init__(self, number: int, members: Any, *, counted: list[int]) -> None:
        self.number = number
        self.ready = True
        self.waiting = 0
        self.partition = SimpleNamespace(watermark=-1)
        self._members = members
        self._counted = counted

    def start(self) -> None:
        """Nothing to recover."""

    async def stop(self) -> None:
        """Nothing to let go."""

    def put(self, records: Sequence[Any], mark: object) -> None:
        """Take, and have done."""
        self._counted[0] += len(records)
        self._members.acknowledge(mark)


async def measured(brokers: str) -> dict[str, float]:
    """CPU microseconds an event, with a backlog and at the sustained load's rate."""
    prefix = f"share-{time.time_ns()}."
    kafka = KafkaSettings(brokers=brokers, prefix=prefix)
    topic = Wanted(T.EVENTS, PARTITIONS, 1, BY_NAME[T.EVENTS].config)
    await create_topics(kafka, [topic])
    producer = producer_of(kafka)
    await producer.start()
    values = [our_message(f"p{n:04}", 0, now_ms=1_790_000_000_000) for n in range(5_000)]
    for n in range(RECORDS):
        key, value = values[n % len(values)]
        await producer.send(kafka.named(T.EVENTS), value, key)
    await producer.flush()
    command = [sys.executable, "-P", "-m", "bench.kafka.share", brokers, prefix]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    backlog = json.loads(await process.stdout.readline())
    begun_s = time.perf_counter()
    for n in range(STEADY_RATE * STEADY_S):
        key, value = values[n % len(values)]
        await producer.send(kafka.named(T.EVENTS), value, key)
        if n % 20 == 0:
            await asyncio.sleep(max(0.0, begun_s + n / STEADY_RATE - time.perf_counter()))
    steady = json.loads(await process.stdout.readline())
    await process.wait()
    await producer.stop()
    return {"faust_us_event": backlog["us"], "faust_us_event_sustained": steady["us"]}


async def acknowledge(brokers: str, prefix: str) -> None:
    """Read the backlog, say what it took; then as much again as comes."""
    from streams.faust_app import sessions_app

    counted = [0]
    kafka = KafkaSettings(brokers=brokers, prefix=prefix)
    heard = SimpleNamespace(rebalanced=lambda s: None, offsets_committed=lambda s: None)
    make: Any = lambda number, members: Acknowledges(number, members, counted=counted)  # noqa: E731
    app, _ = sessions_app(kafka, instance="", make=make, heard=heard)
    await app.start()
    while not counted[0]:
        await asyncio.sleep(0.005)
    for count in (RECORDS, STEADY_RATE * STEADY_S):
        first, begun_s = counted[0], time.process_time()
        before = first if count == RECORDS else RECORDS
        while counted[0] < before + count - (first if count == RECORDS else 0):
            await asyncio.sleep(0.02)
        us = (time.process_time() - begun_s) / max(1, counted[0] - first) * 1e6
        print(json.dumps({"us": round(us, 2)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(acknowledge(sys.argv[1], sys.argv[2]))
