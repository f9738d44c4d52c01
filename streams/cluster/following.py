"""Keeps a gateway's read model up with im.outbox: one loop, one transaction for each fetch.

Between the topic (`adapters.kafka.continued`) and the gateway, which is told what was new once it
is in the model. It commits nothing to the brokers: how far it is stands in the model itself, so a
restart goes on there, and a model that does not fit the topic any more is made anew.

What it never does: end because a broker, or the disk, is away; `fault` says so, and it tries again.
"""

import asyncio
import logging
from collections.abc import Callable

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.continued import Continued
from engine.errors import Unavailable
from streams.cluster.read_model import News, ReadModel, rebuild_needed
from streams.machine_clock import awake_ms
from streams.topics import T

log = logging.getLogger(__name__)

POLL_MS = 500
AGAIN_S = 0.5
RECORDS_MAX = 500
"""In one transaction while people are served: some 10 ms, in which the loop does nothing else."""
RECORDS_MAX_BEHIND = 5_000
"""The same while nobody is served yet: a session's views between the first and last cost little."""
LOOK_EVERY_S = 0.02


class Following:
    """The loop. `heard` is called with each batch's news, after they are in the model.

    `fault` says why the model is not up to date, or may not be; empty: it is. `begun` is set once
    the model has all that was in the topic when the loop began.
    """

    def __init__(
        self, settings: KafkaSettings, model: ReadModel, *, heard: Callable[[News], None]
    ) -> None:
        self._settings = settings
        self._model = model
        self._heard = heard
        self._tail = Continued(settings, T.OUTBOX)
        self._reached: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self._is_lost = False  # records went that were not read: of a session, lines in the middle
        self.begun = asyncio.Event()
        self.fault = "reading what was said before"
        self.progressed_ms = awake_ms()
        self.unread = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._begin()
                while True:
                    await self._turn()
            except Unavailable as error:
                self.fault = str(error)
                log.warning("im.outbox is not followed just now: %s", error)
                await self._tail.stop()
                self.progressed_ms = awake_ms()
                await asyncio.sleep(AGAIN_S)
            except BaseException:
                await self._tail.stop()
                raise

    async def reached_the_end(self, *, within_s: float) -> bool:
        """Whether the model now has all that was committed when this was called."""
        try:
            async with asyncio.timeout(within_s):
                ends = (await self._tail.bounds()).ends
                while not self._has(ends):
                    await asyncio.sleep(LOOK_EVERY_S)
                return True
        except (TimeoutError, Unavailable):
            return False

    @property
    def records(self) -> int:
        """How many records the partitions held up to where the model is."""
        return sum(self._reached.values())

    @property
    def lag(self) -> int:
        """Records between the model and the end that was last seen."""
        return sum(max(0, end - self._reached.get(p, 0)) for p, end in self.ends.items())

    # ---- the loop ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        self._reached = {}  # nobody may take down where we were in a topic that is read anew
        await self._tail.start()
        bounds = await self._tail.bounds()
        offsets = self._model.offsets()
        if rebuild_needed(offsets, begins=bounds.begins, ends=bounds.ends):
            log.warning("im.outbox is not the one that was read before: it is read from its start")
            self._model.clear()
            offsets = {}
        self._tail.seek(bounds.begins | offsets)
        self.ends = bounds.ends
        await self._look()

    async def _look(self) -> None:
        """Once we are where the topic ended when we began, people are served."""
        self._reached = await self._tail.positions()
        if self.fault and self._has(self.ends):
            self.fault = ""
            self.begun.set()

    async def _turn(self) -> None:
        most = RECORDS_MAX if self.begun.is_set() else RECORDS_MAX_BEHIND
        records = await self._tail.fetch(within_ms=POLL_MS, most=most)
        self.progressed_ms = awake_ms()
        if self._is_lost:
            self._is_lost = False
            raise Unavailable("im.outbox was cut before its records were read")
        if records:
            # In one step of the loop with the fetch: who asks in between finds both or neither.
            news = self._model.apply(records)
            self.unread += news.unread
            self._heard(news)
            if self.fault:  # a loop that never waits would let nobody else run
                await asyncio.sleep(0)
        await self._look()

    async def look_at_the_end(self) -> None:
        """Take note of where the topic ends now, for `lag`, and of where we are: after a long
        silence that may be past the last record, of which nothing is left. Raises Unavailable."""
        bounds = await self._tail.bounds()
        self.ends, reached = bounds.ends, self._reached
        if any(reached.get(p, begin) < begin for p, begin in bounds.begins.items()):
            self._is_lost = True
        elif reached:
            self._model.reached(reached)

    def _has(self, ends: dict[int, int]) -> bool:
        return all(self._reached.get(partition, 0) >= end for partition, end in ends.items())
