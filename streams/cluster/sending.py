"""The role egress: each account's replies go to its platform by one owner, once and in order.

Between `im.egress` and the channels. The group gives a partition, and with it whole accounts, to
one process; the partition's `streams.cluster.lane` does the rest. Frames of the same accounts come
from `im.frames`, in the same partition, and go to the channels as they are: the newest of each
reply, and none of a reply that has its receipt.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched
from adapters.kafka.tail import Tail
from adapters.kafka.work import WorkQueue
from engine.crash_points import CrashPoint
from engine.errors import InvalidRecord, Unavailable, trace_of
from engine.ports import Channel
from streams import wire
from streams.cluster.lane import Accounts, Lane, Outside
from streams.cluster.last_shown import BACK_MS
from streams.cluster.metrics import Metrics
from streams.cluster.newest_frames import newest_frames
from streams.cluster.role import RETRY_S, Role
from streams.topics import T

log = logging.getLogger(__name__)

IN_HAND_MAX = 4_096
"""Orders read and not durable yet."""
HELD_UP_MAX = 512
"""Of these, so many of a lane that waits for brokers; then no more of its partition are read."""
FETCH_MS = 500
FRAMES_MS = 100
SWEEP_EVERY_S = 6 * 3_600.0
LEAVE_WITHIN_S = 10.0
"""Before a partition goes to others, calls that are made may end; platforms answer in seconds."""


class Sending(Role):
    """Egress of the partitions that this process gets.

    `accounts`: each account's limits, for an owner that begins now (log time): it cannot know what
    the one before has just sent. `appender` is the process's; so are the channels' starts and ends.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        instance: str,
        appender: Appender,
        channels: Sequence[Channel],
        accounts: Callable[[int], Accounts],
        metrics: Metrics,
    ) -> None:
        super().__init__("egress")
        self._appender = appender
        self._metrics = metrics
        self._kinds = frozenset(channel.kind for channel in channels)
        self._outside = Outside(settings, appender, channels, accounts, metrics, self._at)
        self._queue = WorkQueue(settings, T.EGRESS, group="egress", instance=instance)
        self._queue.moved = self._moved
        self._queue.leaving = self._leave
        self._frames = Tail(settings, T.FRAMES, committed=False)
        self._lanes: dict[int, tuple[Lane, asyncio.Task[None]]] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._shower: asyncio.Task[None] | None = None
        self._swept_s = time.monotonic()
        self._sweeper: asyncio.Task[None] | None = None

    def _at(self, point: CrashPoint, things: int) -> None:
        self.at(point, things)

    # ---- life ---------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._until_there(self._frames.start)
        self._shower = asyncio.create_task(self._show(), name="egress-frames")
        await self._until_there(self._queue.start)

    async def _turn(self) -> None:
        wanted = self._wanted()
        for record in await self._queue.fetch(wanted=wanted, within_ms=FETCH_MS):
            self._lanes[record.partition][0].put(record)
        self._metrics.in_hand.labels(self.name).set(self._queue.in_hand)
        self._metrics.lag.labels(self.name).set(await self._queue.lag())
        if not wanted:
            await asyncio.sleep(FETCH_MS / 1_000)
        if time.monotonic() - self._swept_s > SWEEP_EVERY_S and self._sweeper is None:
            self._swept_s = time.monotonic()
            self._sweeper = asyncio.create_task(self._sweep(), name="egress-sweep")

    def _wanted(self) -> int:
        """For how many orders there is room. One lane that waits for brokers takes none of it from
        the others."""
        held_up = {partition: lane.held_up for partition, (lane, _) in self._lanes.items()}
        full = {partition for partition, orders in held_up.items() if orders >= HELD_UP_MAX}
        self._queue.pause(full)
        self._queue.resume(held_up.keys() - full)
        return max(0, IN_HAND_MAX - self._queue.in_hand + sum(held_up.values()))

    async def _sweep(self) -> None:
        for lane, _ in list(self._lanes.values()):
            try:
                await lane.sweep()
            except Unavailable as error:
                log.warning("receipts of partition %d stay: %s", lane.partition, error)
        self._sweeper = None

    def _not_yet(self) -> str:
        waiting = sorted(p for p, (lane, _) in self._lanes.items() if not lane.recovered)
        return f"recovering the deliveries of partitions {waiting}" if waiting else ""

    async def _drained(self) -> None:
        await self._leave()

    async def _let_go(self) -> None:
        for partition in list(self._lanes):
            self._close(partition)
        if self._closings:
            await asyncio.wait(self._closings)
        for task in (self._shower, self._sweeper):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._queue.stop()
        await self._frames.stop()

    # ---- partitions ---------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Partitions may go to others: what was called for is receipted first."""
        lanes = [lane.settle(within_s=LEAVE_WITHIN_S) for lane, _ in self._lanes.values()]
        await asyncio.gather(*lanes)

    def _moved(self, new: frozenset[int], gone: frozenset[int]) -> None:
        for partition in gone:
            self._close(partition)
        for lane, _ in self._lanes.values():
            lane.stay()
        for partition in new:
            self._open(partition)

    def _open(self, partition: int) -> None:
        def done(offset: int) -> None:
            self._queue.done(partition, offset)

        lane = Lane(partition, self._outside, done=done)
        task = asyncio.create_task(lane.live(), name=f"egress-{partition}")
        task.add_done_callback(self._lane_ended)
        self._lanes[partition] = lane, task

    def _close(self, partition: int) -> None:
        lane, task = self._lanes.pop(partition)

        async def close() -> None:
            task.cancel()
            await asyncio.wait([task])
            await lane.close()

        closing = asyncio.create_task(close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        """What ends it is another owner, or what nobody foresaw: a new start decides."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    # ---- frames -------------------------------------------------------------------------------

    async def _show(self) -> None:
        while True:
            try:
                lanes = {p: lane for p, (lane, _) in self._lanes.items() if lane.recovered}
                since_ms = self._appender.now_ms() - BACK_MS
                await self._frames.follow(dict.fromkeys(lanes, since_ms))
                self._show_newest(lanes, await self._frames.fetch(within_ms=FRAMES_MS))
            except Unavailable as error:
                log.warning("no frames just now: %s", error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # they are not worth the process
                log.error("no frames just now: %s", trace_of(error))
                await asyncio.sleep(RETRY_S)

    def _show_newest(self, lanes: dict[int, Lane], records: list[Fetched]) -> None:
        # Frames of the channels that keep their lines in im.outbox stand here, too.
        newest = newest_frames(records, ours=lambda r: r.partition(":")[0] in self._kinds)
        self._metrics.unreadable.labels(self.name).inc(newest.unreadable)
        for record in newest.of.values():
            try:
                lanes[record.partition].show(wire.frame_of(record.value))
            except InvalidRecord as error:
                log.error("%s:%d:%d: %s", record.topic, record.partition, record.offset, error)
