"""Following partitions without a group: what comes from now on, or from a time."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, begun, closed, consumer_of, fetched, told
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
                await closed(consumer)
                raise
        self._consumer = consumer

    async def stop(self) -> None:
        """Let go."""
        if self._consumer is not None:
            await closed(self._consumer)

    async def follow(self, since_ms: Mapping[int, int | None]) -> None:
        """These partitions and no others: each since then (None: from now on).

        One that is followed already goes on where it was. Raises Unavailable; nothing is changed
        then.
        """
        consumer = self._started
        wanted = {TopicPartition(self._name, p): ms for p, ms in since_ms.items()}
        if wanted.keys() == consumer.assignment():
            return
        if not wanted:
            consumer.unsubscribe()
            return
        with told(f"follow {self._topic}"):
            places = {at: await consumer.position(at) for at in consumer.assignment()}
            new = [at for at in wanted if at not in places]
            asked = {at: ms for at in new if (ms := wanted[at]) is not None}
            found = await consumer.offsets_for_times(asked) if asked else {}
            ends = await consumer.end_offsets(new) if new else {}
            places |= ends | {at: place.offset for at, place in found.items() if place is not None}
            consumer.assign(list(wanted))
            for at in wanted:
                consumer.seek(at, places[at])

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
