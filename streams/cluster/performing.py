"""The roles model, skill and intent: requests in, one durable outcome each out.

Between `effects.*`, which the sessions role writes in its transactions, and `conversation.events`.
A request is done, for its group, when its outcome is in the log: what a dead process had in hand is
performed anew by whoever gets its partition. Many calls run at once, and none holds a partition:
when partitions move, calls that run here go on and report, and the session takes the first outcome.
The hop is `streams.runners`, its loop `streams.performers`, as on the embedded host.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import NamedTuple

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.newest import NewestSender
from adapters.kafka.records import Fetched
from adapters.kafka.tail import Tail
from adapters.kafka.work import WorkQueue
from engine.crash_points import CrashPoint
from engine.effects import RunnerRequest
from engine.errors import InvalidRecord, Unavailable
from engine.ids import outcome_event_id
from engine.ports import Append, Frame
from streams import wire
from streams.cluster.metrics import Metrics
from streams.cluster.role import RETRY_S, Role
from streams.ingress import Taken
from streams.performers import Performers
from streams.topics import T

log = logging.getLogger(__name__)

KNOWN_MAX = 10_000
"""Requests remembered as finished or cancelled: a second copy of one is not performed."""
FETCH_MS = 500
OVERDUE_MS = 30_000
"""Past its deadline its session has gone on without it, and its cancel was not heard here."""


class Place(NamedTuple):
    """Where a request stands in its topic."""

    partition: int
    offset: int


class Asked:
    """A request in hand, wherever in the topic it was read."""

    __slots__ = ("expires_ms", "places")

    def __init__(self, request: RunnerRequest) -> None:
        self.expires_ms = request.expires_ms
        self.places: list[Place] = []


class Links(NamedTuple):
    """What performing needs of Kafka. The appender is the process's, started by its host."""

    settings: KafkaSettings
    instance: str
    appender: Appender


class Performing(Role):
    """Performs the requests of one topic, at most `calls_max` of them at once.

    As many again wait here, so that a call that ends is followed by the next at once. `performers`
    has the runners, and is started and closed with this. `outbox`: channels whose lines are kept in
    `im.outbox`.
    """

    def __init__(
        self,
        topic: T,
        performers: Performers,
        *,
        links: Links,
        calls_max: int,
        metrics: Metrics,
        outbox: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(topic.rpartition(".")[2])
        self._performers = performers
        self._appender = links.appender
        self._hold_max = 2 * calls_max
        self._outbox = outbox
        self._metrics = metrics
        self._queue = WorkQueue(links.settings, topic, group=self.name, instance=links.instance)
        self._queue.moved = self._moved
        self._cancels = Tail(links.settings, T.CANCEL, everything=True)
        self._frames = NewestSender(links.settings)
        self._asked: dict[str, Asked] = {}
        self._effects: dict[str, str] = {}  # by the id of the event that ends them
        self._over: OrderedDict[str, None] = OrderedDict()  # finished or cancelled
        self._reports: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    @property
    def in_hand(self) -> int:
        """Requests that are performed, wait for it, or whose outcome is being appended."""
        return len(self._asked)

    # ---- life ---------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._performers.start(self._outcome, self._show)
        await self._frames.start()
        # Before the requests: a cancel follows its request, so none of a new one's is missed.
        await self._until_there(self._cancels.start)
        self._listener = asyncio.create_task(self._listen(), name=f"{self.name}-cancels")
        await self._until_there(self._queue.start)

    async def _drained(self) -> None:
        while self._reports or self._performers.in_flight:
            await asyncio.sleep(0.02)

    async def _let_go(self) -> None:
        await self._performers.close()
        for task in [*self._reports, *([self._listener] if self._listener else [])]:
            task.cancel()
            await asyncio.wait([task])
        await self._queue.stop()
        await self._cancels.stop()
        await self._frames.stop()

    # ---- requests -----------------------------------------------------------------------------

    async def _turn(self) -> None:
        wanted = self._hold_max - self.in_hand
        if wanted <= 0:
            await self._wait_for_room()
            wanted = self._hold_max - self.in_hand
        # 0 takes nothing, but is how the group and we see that we live.
        records = await self._queue.fetch(wanted=max(0, wanted), within_ms=FETCH_MS)
        requests = [request for record in records if (request := self._taken(record))]
        if requests:
            self._performers.put(requests, now_ms=self._appender.now_ms())
        self._drop_overdue()
        self._metrics.in_hand.labels(self.name).set(self.in_hand)
        self._metrics.lag.labels(self.name).set(await self._queue.lag())

    async def _wait_for_room(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(FETCH_MS / 1_000):
                await self._room.wait()
        except TimeoutError:
            pass

    def _taken(self, record: Fetched) -> RunnerRequest | None:
        """The request, where it is to be performed now."""
        try:
            request = wire.request_of(record)
        except InvalidRecord as error:
            # Its session has a deadline for it; a newer version has written what we cannot read.
            log.error("%s:%d:%d: %s", record.topic, record.partition, record.offset, error)
            self._metrics.unreadable.labels(self.name).inc()
            self._queue.done(record.partition, record.offset)
            return None
        effect_id = request.effect_id
        if effect_id in self._over:
            self._queue.done(record.partition, record.offset)
            return None
        asked = self._asked.get(effect_id)
        is_new = asked is None
        if asked is None:
            asked = self._asked[effect_id] = Asked(request)
            self._effects[outcome_event_id(effect_id)] = effect_id
        asked.places.append(Place(record.partition, record.offset))
        return request if is_new else None

    def _moved(self, new: frozenset[int], gone: frozenset[int]) -> None:
        """Calls of partitions that are gone go on; those of new ones may run elsewhere still."""
        if new:
            self._performers.begin_anew(self._appender.now_ms())

    def _drop_overdue(self) -> None:
        latest_ms = self._appender.now_ms() - OVERDUE_MS
        for effect_id, asked in list(self._asked.items()):
            if asked.expires_ms and asked.expires_ms < latest_ms:
                log.warning("%s: a call ran %d s past its deadline", self.name, OVERDUE_MS // 1_000)
                self._cancel(effect_id)

    # ---- outcomes -----------------------------------------------------------------------------

    def _outcome(self, taken: Taken) -> None:
        """A runner is done: from here on its outcome is appended until it is in the log."""
        effect_id = self._effects.pop(taken.append.event_id)
        self.at(CrashPoint.OUTCOME_APPEND, 1)
        report = asyncio.create_task(self._report(effect_id, taken.append))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _report(self, effect_id: str, append: Append) -> None:
        while True:
            try:
                await self._appender.append(append)
                break
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            except InvalidRecord as error:
                # It would not be taken tomorrow either; the session's own deadline ends it.
                log.error("the outcome of a request of %s cannot be told: %s", self.name, error)
                break
        self._metrics.outcomes.labels(self.name).inc()
        self._ended(effect_id)

    def _ended(self, effect_id: str) -> None:
        self._over[effect_id] = None
        if len(self._over) > KNOWN_MAX:
            self._over.popitem(last=False)
        asked = self._asked.pop(effect_id, None)
        for place in asked.places if asked is not None else ():
            self._queue.done(place.partition, place.offset)
        self._room.set()

    def _show(self, frame: Frame) -> None:
        self._frames.put(frame.reply_id, wire.frame_row(frame, outbox=self._outbox))

    # ---- cancels ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Cancels, whoever performs the request: each process reads all of them."""
        while True:
            try:
                for record in await self._cancels.fetch(within_ms=FETCH_MS):
                    # What is no text is no request's id either: it ends nothing.
                    self._cancel((record.value or b"").decode(errors="replace"))
            except Unavailable as error:
                log.warning("%s hears no cancels: %s", self.name, error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:
                self._fail(error)
                return

    def _cancel(self, effect_id: str) -> None:
        """Nobody awaits it: neither here, nor where it may only be read later."""
        if effect_id in self._asked:
            if outcome_event_id(effect_id) not in self._effects:
                return  # it is being reported
            self._performers.cancel(effect_id)
            self._effects.pop(outcome_event_id(effect_id))
            self._metrics.cancelled.labels(self.name).inc()
        self._ended(effect_id)
