"""Following partitions without a group: what comes from now on, or from a time."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, begun, consumer_of, fetched, told
from adapters.kafka.records import Fetched


class Tail:
    """Follows partitions of one topic, without a group; nothing is ever committed.

    Either all of them from its start on (`everything`), or those that `follow` names.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        *,
        committed: bool = True,
        everything: bool = False,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._name = settings.named(topic)
        self._committed = committed
        self._everything = everything
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect. Raises Unavailable; then it may be tried again."""
        consumer = consumer_of(self._settings, committed=self._committed, from_start=False)
        with told(f"follow {self._topic}"):
            try:
                if self._everything:
                    consumer.subscribe([self._name])
                await begun(consumer, self._settings, what=f"follow {self._topic}")
                if self._everything:  # from now on, not from the first fetch on
                    await consumer.seek_to_end()
            except BaseException:
                await consumer.stop()
                raise
        self._consumer = consumer

    async def stop(self) -> None:
        """Let go."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def follow(self, since_ms: Mapping[int, int | None]) -> None:
        """These partitions and no others: each since then (None: from now on).

        One that is followed already goes on where it was.
        """
        consumer = self._started
        with told(f"follow {self._topic}"):
            old = {at.partition: await consumer.position(at) for at in consumer.assignment()}
            wanted = {p: TopicPartition(self._name, p) for p in since_ms}
            if not wanted:
                consumer.unsubscribe()
                return
            consumer.assign(list(wanted.values()))
            new = {p: at for p, at in wanted.items() if p not in old}
            asked = {at: ms for p, at in new.items() if (ms := since_ms[p]) is not None}
            found = await consumer.offsets_for_times(asked) if asked else {}
            ends = await consumer.end_offsets(list(new.values())) if new else {}
            for p, at in wanted.items():
                place = found.get(at)
                if p in old:
                    consumer.seek(at, old[p])
                else:
                    consumer.seek(at, ends[at] if place is None else place.offset)

    async def fetch(self, *, within_ms: int) -> list[Fetched]:
        """What has come, at once if anything has."""
        consumer = self._started
        if not consumer.assignment():
            await asyncio.sleep(within_ms / 1_000)
            return []
        with told(f"follow {self._topic}"):
            found = await consumer.getmany(timeout_ms=within_ms)
        return [r for records in found.values() for r in fetched(self._settings, records)]

    @property
    def _started(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "start it first"
        return self._consumer
