"""Work of a topic, shared out by partition among the members of a group.

A member holds what it was given until it says `done`; what is committed is the first record that
is not done, so nothing is forgotten, and what a dead member had in hand is given out again. Whoever
uses it bounds what is in hand: it reads nothing while `wanted` is 0.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, begun, closed, consumer_of, fetched, told
from adapters.kafka.records import Fetched

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.5
COMMIT_WITHIN_S = 5.0
NOWHERE = TopicPartition("nowhere", 0)
"""To look for errors, and be seen alive, without taking anything."""


class InHand:
    """The records of one partition that were given out, and from where on none was."""

    __slots__ = ("committed", "next", "open")

    def __init__(self) -> None:
        self.open: dict[int, None] = {}  # in order
        self.next = 0
        self.committed = 0

    def take(self, offset: int) -> bool:
        """Whether it is new here: after a change in the group records come a second time."""
        if offset < self.next:
            return False
        self.open[offset] = None
        self.next = offset + 1
        return True

    def done(self, offset: int) -> None:
        """It need not be given out again."""
        self.open.pop(offset, None)

    @property
    def low(self) -> int:
        """Everything before it is done."""
        return next(iter(self.open), self.next)


class WorkQueue(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a group. Its user calls `fetch` in a loop, at least once a second.

    `from_start`: the topic is a table, read from its beginning by each new owner; no offset counts.
    `moved`: told which partitions are new here and which are gone, before a record of the new ones
    comes. `leaving`: awaited before partitions may go to others: finish what should not be begun
    there a second time.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, *, group: str, instance: str, table: bool = False
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._instance = instance
        self._table = table
        self._consumer: AIOKafkaConsumer | None = None
        self._broken: Exception | None = None
        self._hands: dict[int, InHand] = {}
        self._committer: asyncio.Task[None] | None = None
        self.moved: Callable[[frozenset[int], frozenset[int]], None] = lambda new, gone: None
        self.leaving: Callable[[], object] = lambda: None

    async def start(self) -> None:
        """Join. Raises Unavailable; then it may be tried again."""
        consumer = consumer_of(self._settings, group=self._group, instance=self._instance)
        consumer.subscribe([self._settings.named(self._topic)], listener=self)
        self._consumer = consumer  # it may be given partitions before it is begun
        try:
            await begun(consumer, self._settings, what=f"join {self._group}")
        except BaseException:
            self._consumer = None
            raise
        if not self._table:
            self._committer = asyncio.create_task(self._keep_committing(), name="commits")

    async def stop(self) -> None:
        """Commit what is done, and leave; a member with a name of its own is expected back."""
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.wait([self._committer])
        if self._consumer is None:
            return
        await self.commit()
        await closed(self._consumer)

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are ours."""
        return frozenset(self._hands)

    @property
    def in_hand(self) -> int:
        """Records given out and not done."""
        return sum(len(hand.open) for hand in self._hands.values())

    async def fetch(self, *, wanted: int, within_ms: int) -> list[Fetched]:
        """At most `wanted` new records, at once if there are any.

        Raises Unavailable, Refused, or what `moved` or `leaving` raised. That another process uses
        the name of this one is told by nobody: the client does not know that answer of a broker.
        """
        if self._broken is not None:  # the client would only log it
            raise self._broken
        consumer = self._joined
        with told(f"work of {self._group}"):
            try:
                # While partitions change hands it would wait as long as that takes.
                async with asyncio.timeout(within_ms / 1_000 + 1):
                    if wanted <= 0:
                        await consumer.getmany(NOWHERE, timeout_ms=0)
                        return []
                    found = await consumer.getmany(timeout_ms=within_ms, max_records=wanted)
            except TimeoutError:
                return []
        records = (r for rs in found.values() for r in fetched(self._settings, rs))
        return [r for r in records if self._is_new(r)]

    def _is_new(self, record: Fetched) -> bool:
        hand = self._hands.get(record.partition)
        if hand is None:
            return False
        if self._table:
            hand.next = record.offset + 1
            return True
        if record.offset < hand.committed:  # which the group never gives out again
            log.warning("%s:%d begins anew: it was cut", record.topic, record.partition)
            hand = self._hands[record.partition] = InHand()
        return hand.take(record.offset)

    def done(self, partition: int, offset: int) -> None:
        """This record is done; nothing happens where the partition is another's by now."""
        hand = self._hands.get(partition)
        if hand is not None:
            hand.done(offset)

    def pause(self, partitions: Iterable[int]) -> None:
        """Give nothing out of these."""
        self._joined.pause(*self._ours(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """Give out again."""
        self._joined.resume(*self._ours(partitions))

    async def ends(self) -> dict[int, int]:
        """Where the partitions that are ours end now: everything committed stands before."""
        with told(f"ends of {self._topic}"):
            found = await self._joined.end_offsets(self._ours(self._hands))
        return {at.partition: offset for at, offset in found.items()}

    async def positions(self) -> dict[int, int]:
        """How far the partitions that are ours have been read."""
        with told(f"positions in {self._topic}"):
            return {at.partition: await self._joined.position(at) for at in self._ours(self._hands)}

    async def lag(self) -> int:
        """Committed records that nobody has read yet, as far as is known."""
        consumer = self._joined
        lag = 0
        for at in self._ours(self._hands):
            if not self._hands[at.partition].next:
                continue
            end = consumer.last_stable_offset(at) or consumer.highwater(at) or 0
            with suppress(IllegalStateError):  # it moves away just now
                # Which passes over the mark of a transaction's end; no record says so.
                lag += max(0, end - await consumer.position(at))
        return lag

    # ---- offsets ------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit what is done without a gap. What fails is committed later, or done again."""
        offsets = {
            TopicPartition(self._settings.named(self._topic), partition): hand.low
            for partition, hand in self._hands.items()
            if hand.low > hand.committed and not self._table
        }
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await self._joined.commit(offsets)
        except (TimeoutError, CommitFailedError, IllegalStateError) as error:
            log.info("offsets of %s are not committed: %s", self._group, type(error).__name__)
            return
        except KafkaError as error:
            log.warning("offsets of %s are not committed: %s", self._group, type(error).__name__)
            return
        for at, offset in offsets.items():
            if (hand := self._hands.get(at.partition)) is not None:
                hand.committed = max(hand.committed, offset)

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self.commit()

    # ---- the group ----------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """All partitions are given back before they are given out anew."""
        began_s = time.monotonic()
        try:
            leaving = self.leaving()
            if asyncio.iscoroutine(leaving):
                await leaving
        except Exception as error:
            self._broken = error
        await self.commit()
        if revoked:
            log.info("%s: gave back in %.1f s", self._group, time.monotonic() - began_s)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """What is ours now; what we had before goes on where it was."""
        ours = frozenset(at.partition for at in assigned)
        new, gone = ours - self._hands.keys(), frozenset(self._hands) - ours
        for partition in gone:
            del self._hands[partition]
        for at in assigned:
            hand = self._hands.setdefault(at.partition, InHand())
            if self._table:  # 0: where its beginning is later, the client goes there by itself
                self._joined.seek(at, hand.next)
        log.info("%s: partitions %s are ours", self._group, sorted(ours))
        try:
            self.moved(new, gone)
        except Exception as error:
            self._broken = error

    def _ours(self, partitions: Iterable[int]) -> list[TopicPartition]:
        name = self._settings.named(self._topic)
        ours: set[TopicPartition] = self._joined.assignment()
        return [at for p in partitions if (at := TopicPartition(name, p)) in ours]

    @property
    def _joined(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "start it first"
        return self._consumer
