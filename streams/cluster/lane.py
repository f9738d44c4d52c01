"""Egress of one partition of `im.egress`, by its one owner.

Between orders, which the sessions role writes, and the channels. Each batch of decisions is one
transaction in `im.deliveries`: what was ordered, the marks, the receipts, and how far the orders
are taken; an order that cannot be read is a dead letter in it. So a mark is durable before its
call, and an owner that another has replaced cannot mark: it is told Conflict, and calls nobody.

Brokers that are away, or a partition of theirs without a leader, are waited for by the lane that
needs them: nobody knows then what became of its transaction, so it begins again with what is
durable, and with the calls in its hand.

An order is done for the group once it is durable here as `queued`: waiting for the platform's
answer would hold back the offsets of all other accounts, and the watermark keeps an order from
being taken twice. The hop is `streams.egress`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.records import Fetched, Row
from engine.crash_points import CrashPoint
from engine.errors import Conflict, InvalidRecord, Unavailable
from engine.limits import EVENT_BYTES_MAX
from engine.ports import Append, Channel, DeadLetter, Delivery, Frame
from streams import wire
from streams.calls import Calls, Pump
from streams.cluster.found import ORDER, Found
from streams.cluster.metrics import Metrics
from streams.cluster.role import RETRY_S
from streams.cut_logs import require_whole
from streams.egress import Account, Called, Egress
from streams.partition_worker import GROUP_SAYS_S
from streams.topics import ORDERS_KEPT_MS, T

log = logging.getLogger(__name__)

ORDERS_MAX = 512
MARKS_MAX = 256
DELETED_MAX = 1_024
SLEEP_MAX_S = 5.0

Accounts = Mapping[tuple[str, str], Account]


class Outside(NamedTuple):
    """What a lane reaches: the log, the channels, and each account's limits for a new owner.

    `jitter` gives numbers in [0, 1): so much of a pause is kept.
    """

    settings: KafkaSettings
    appender: Appender
    channels: Sequence[Channel]
    accounts: Callable[[int], Accounts]
    metrics: Metrics
    at: Callable[[CrashPoint, int], None]
    jitter: Callable[[], float] = random.random


class Batch:
    """What is to become durable, and what is to be done after that."""

    __slots__ = ("deliveries", "events", "letters", "marked", "orders")

    def __init__(self, orders: list[Fetched]) -> None:
        self.orders = orders
        self.deliveries: dict[str, Delivery] = {}
        self.events: list[Append] = []
        self.letters: list[DeadLetter] = []
        self.marked: list[Delivery] = []


class Lane:
    """The deliveries of one partition. `done`: told the offset of each order that is durable."""

    def __init__(self, partition: int, outside: Outside, *, done: Callable[[int], None]) -> None:
        self.partition = partition
        self.recovered = False
        self.leaving = False
        self._outside = outside
        self._appender = outside.appender
        self._done = done
        self._ledger = Ledger(
            outside.settings,
            role="egress",
            partition=partition,
            log=T.EGRESS,
            state=T.DELIVERIES,
            open_now=outside.metrics.open_now,
        )
        self._calls = Calls(outside.channels)
        self._calls.pump = Pump(self._may_call, self._call_ended, outside.at)
        self._egress = self._new_egress({})
        self._orders: list[Fetched] = []
        self._called: list[Called] = []
        self._places: dict[str, int] = {}  # the order's offset, of what is on its way
        self._marks: dict[str, set[int]] = {}  # when we marked it, of what is on its way
        self._expired: list[str] = []  # receipts to be deleted
        self._watermark = -1
        self._working = False
        self._waits_for = ""
        self._closed = False
        self._wake = asyncio.Event()

    @property
    def held_up(self) -> int:
        """Orders that wait until it has recovered."""
        return 0 if self.recovered else len(self._orders)

    # ---- in -----------------------------------------------------------------------------------

    def put(self, record: Fetched) -> None:
        """The next order."""
        self._orders.append(record)
        self._wake.set()

    def show(self, frame: Frame) -> None:
        """Show it, unless its reply has ended or a newer one was shown."""
        if self.recovered and self._egress.open_replies.show(frame):
            channel = self._calls.of(frame.session_id)
            if channel is not None:
                channel.show(frame)

    async def settle(self, *, within_s: float) -> None:
        """Mark nothing more; wait for the calls that are made and for their receipts."""
        self.leaving = True
        self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                while self._working or self._called or self._calls.in_hand:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning(
                "partition %d goes with calls in hand: they count as unknown", self.partition
            )

    def stay(self) -> None:
        """It is ours still."""
        self.leaving = False
        self._wake.set()

    async def close(self) -> None:
        """Call nobody and write nothing more."""
        self._closed = True
        self._calls.cancel()
        await self._ledger.close()

    # ---- life ---------------------------------------------------------------------------------

    async def live(self) -> None:
        """Recover and work, until it is cancelled. Raises Conflict where another owner has taken
        over."""
        try:
            while True:
                try:
                    await self._live()
                except Unavailable as error:
                    await self._wait_out(error)
        except Conflict:
            # While partitions change hands the next owner may be there before we are told.
            while self.leaving:
                await asyncio.sleep(0.05)
            raise

    async def _live(self) -> None:
        await self._recover()
        while True:
            await self._wait()
            self._working = True
            try:
                await self._work()
            finally:
                self._working = False

    async def _wait_out(self, error: Unavailable) -> None:
        """Only this lane waits; what it has called for goes on."""
        if str(error) != self._waits_for:
            log.warning("partition %d waits: %s", self.partition, error)
        self._waits_for = str(error)
        self.recovered = False
        await self._ledger.close()
        await asyncio.sleep(RETRY_S)

    async def _recover(self) -> None:
        """Begin with what is durable; nobody else can change it from here on."""
        if self._waits_for:
            # If it was we who were away, another may own it: to claim it would end that one.
            await self._ledger.bounds()
            await asyncio.sleep(GROUP_SAYS_S)
        began_s = time.monotonic()
        await self._ledger.claim()
        now_ms = self._appender.now_ms()
        found = await self._found(now_ms)
        self._watermark = found.watermark
        await self._require_whole()
        await self._make_durable(self._begun(found, now_ms))
        self._expired = list(found.expired)
        self.recovered = True
        seconds = time.monotonic() - began_s
        self._outside.metrics.recovery_s.labels("egress").set(seconds)
        log.info("partition %d is ours after %.1f s", self.partition, seconds)

    def _begun(self, found: Found, now_ms: int) -> Batch:
        """Egress as it was found. What people were shown and who is being called, we know."""
        shown = self._egress.open_replies
        self._egress = self._new_egress(self._outside.accounts(now_ms))
        self._egress.open_replies = shown
        places = sorted(found.on_their_way.values(), key=lambda item: item[:2])
        deliveries = [delivery for _, _, delivery in places]
        self._places = {delivery.reply_id: order for order, _, delivery in places}
        batch = Batch([])
        changed, batch.events = self._egress.recover(
            deliveries, now_ms=now_ms, in_hand=self._in_hand(deliveries)
        )
        batch.deliveries = {delivery.reply_id: delivery for delivery in changed}
        for delivery in found.closed.values():
            shown.close(delivery.session_id, delivery.reply_id)
        shown.confirm()
        return batch

    def _in_hand(self, deliveries: Sequence[Delivery]) -> frozenset[str]:
        """The replies whose marks are ours: each is being called for, or was, or was not, since
        its mark was not known to be durable. Another owner's marks say nothing of our calls."""
        marks, self._marks = self._marks, {}
        for delivery in deliveries:
            ours = marks.get(delivery.reply_id, set())
            if delivery.state == "sending" and delivery.sending_ms in ours:
                self._marks[delivery.reply_id] = ours
        known = self._calls.in_hand | {call.reply_id for call in self._called}
        self._called += [Called(reply_id, None) for reply_id in self._marks.keys() - known]
        return frozenset(self._marks)

    def _new_egress(self, accounts: Accounts) -> Egress:
        return Egress(
            accounts, delivery=_not_asked, jitter=self._outside.jitter, kept_ms=ORDERS_KEPT_MS
        )

    async def _found(self, now_ms: int) -> Found:
        found = Found()
        async for records in self._ledger.rows():
            for record in records:
                try:
                    found.read(record, now_ms)
                except InvalidRecord as error:
                    self._unreadable(record, error)
        return found

    async def _require_whole(self) -> None:
        """Raises Refused where orders would stand at offsets that count as taken."""
        _, end = await self._ledger.bounds()
        # What was not taken in a week is gone by rule, so its beginning says nothing.
        require_whole(T.EGRESS, self.partition, applied=self._watermark, begin=0, end=end)

    def _unreadable(self, record: Fetched, error: InvalidRecord) -> None:
        log.error("%s:%d:%d: %s", record.topic, record.partition, record.offset, error)
        self._outside.metrics.unreadable.labels("egress").inc()

    async def sweep(self) -> None:
        """Find receipts that are old enough to be deleted; the next batches delete them."""
        found = await self._found(self._appender.now_ms())
        self._expired = list(found.expired)
        self._wake.set()

    # ---- one batch ----------------------------------------------------------------------------

    async def _wait(self) -> None:
        """For something to come in, or for the next that may be sent."""
        if self._orders or self._called or self._expired:
            return
        now_ms = self._appender.now_ms()
        next_ms = None if self.leaving else self._egress.next_ms(now_ms)
        wait_s = SLEEP_MAX_S if next_ms is None else (next_ms - now_ms) / 1_000
        if wait_s <= 0:
            return
        try:
            async with asyncio.timeout(min(wait_s, SLEEP_MAX_S)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _work(self) -> None:
        self._wake.clear()
        if self._orders and self._orders[0].offset <= self._watermark:
            await self._require_whole()  # again after a move or a death, or of a topic made anew
        orders, called = self._orders[:ORDERS_MAX], list(self._called)
        now_ms = self._appender.now_ms()
        batch = Batch(orders)
        for record in orders:
            self._take(batch, record, now_ms)
        for call in called:
            ended = self._egress.came(call, now_ms=now_ms)
            if ended is not None:
                delivery, event = ended
                batch.deliveries[delivery.reply_id] = delivery
                batch.events += [event] if event is not None else []
        if not self.leaving:
            batch.marked = self._egress.mark(now_ms, limit=MARKS_MAX)
            for delivery in batch.marked:
                batch.deliveries[delivery.reply_id] = delivery
                self._marks.setdefault(delivery.reply_id, set()).add(now_ms)
        await self._make_durable(batch)
        self._egress.confirm()
        del self._orders[: len(orders)], self._called[: len(called)]
        for record in orders:
            self._done(record.offset)
        if batch.marked:
            self._calls.call(batch.marked)

    def _take(self, batch: Batch, record: Fetched, now_ms: int) -> None:
        if record.offset <= self._watermark:  # durable since an earlier time, if not committed
            return
        try:
            order = wire.order_of(record)
        except InvalidRecord as error:
            self._unreadable(record, error)
            batch.letters.append(_letter(record, error, now_ms=now_ms))
            return
        for delivery in self._egress.order(order, now_ms=now_ms):
            batch.deliveries[delivery.reply_id] = delivery
            self._places.setdefault(delivery.reply_id, record.offset)

    async def _make_durable(self, batch: Batch) -> None:
        """The events first: a receipt that is durable is never looked at again.

        Who has lost the partition learns it before it tells anything: what it believes of a call
        need not be what the new owner found.
        """
        if batch.events:
            await self._ledger.commit([self._mark()])  # the last one: nothing new is taken
        rows = [self._row(delivery) for delivery in batch.deliveries.values()]
        rows += [wire.letter_row(letter) for letter in batch.letters]
        expired, self._expired = self._expired[:DELETED_MAX], self._expired[DELETED_MAX:]
        rows += [
            Row(T.DELIVERIES, reply_id.encode(), None, partition=self.partition)
            for reply_id in expired
        ]
        if batch.orders and batch.orders[-1].offset > self._watermark:
            self._watermark = batch.orders[-1].offset
            rows.append(self._mark())
        if not rows:
            return
        await self._tell(batch.events)
        await self._ledger.commit(rows)
        for delivery in batch.deliveries.values():
            self._outside.metrics.deliveries.labels(delivery.state).inc()
            if delivery.state not in ("queued", "sending"):
                self._places.pop(delivery.reply_id, None)
                self._marks.pop(delivery.reply_id, None)

    def _mark(self) -> Row:
        mark = wire.watermark_row(self._watermark, partition=self.partition)
        return mark._replace(topic=T.DELIVERIES)

    def _row(self, delivery: Delivery) -> Row:
        row = wire.delivery_row(delivery, partition=self.partition)
        place = self._places.get(delivery.reply_id, 0)
        return row._replace(headers=((ORDER, b"%d" % place),))

    async def _tell(self, events: list[Append]) -> None:
        """What sessions have to know of their replies, until it is in the log."""
        while events:
            try:
                await self._appender.append_many(events)
                return
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    # ---- calls --------------------------------------------------------------------------------

    def _may_call(self, reply_id: str) -> bool:
        return not self._closed and self._egress.called(reply_id, self._appender.now_ms())

    def _call_ended(self, called: Called) -> None:
        self._called.append(called)
        self._wake.set()


def _letter(record: Fetched, error: InvalidRecord, *, now_ms: int) -> DeadLetter:
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        session_id="",
        error=str(error),
        # The letter has to fit a record, and nobody has a use for more of it.
        value=(record.value or b"")[:EVENT_BYTES_MAX],
        at_ms=now_ms,
    )


def _not_asked(reply_id: str) -> None:
    """What ended of late was closed in `recover`; older replies' frames are not read any more."""
