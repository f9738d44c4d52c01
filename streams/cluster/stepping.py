"""The role sessions: partition workers as Faust assigns them, and what they need of this process.

Between `streams.faust_app`, which brings events and members' partitions, and the partition workers.
A step that does not end, or an error that nobody foresaw, ends the process at once: the partition's
next owner begins with what is durable.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.tail import Tail
from engine.events import FlowActivated
from engine.flow import Flow
from streams.cluster.last_shown import BACK_MS, LastShown
from streams.cluster.role import Role
from streams.cluster.stepping_metrics import SteppingMetrics
from streams.faust_app import Members, die, sessions_app
from streams.machine_clock import wall_ms
from streams.partition import Partition
from streams.partition_worker import GROUP, PartitionWorker
from streams.topics import T

log = logging.getLogger(__name__)

STEP_ENDS_WITHIN_S = 30.0
"""A step takes a millisecond; a callback that never ends would hold its partitions for ever."""
LOOK_MS = 200
LEAVE_WITHIN_S = 5.0


class Stepping(Role):
    """Steps the sessions of the partitions that this process gets.

    `outbox`: the channels whose lines are kept in the log. `build`: the flow of an activation;
    raises Refused where this version does not have it, which ends the process.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        instance: str,
        build: Callable[[FlowActivated], Flow],
        outbox: frozenset[str],
        metrics: SteppingMetrics,
        batch_max: int = 256,
    ) -> None:
        super().__init__("sessions")
        self._kafka = kafka
        self._is_static = bool(instance)
        self._build = build
        self._outbox = outbox
        self._metrics = metrics
        self._batch_max = batch_max
        self.app, self._members = sessions_app(
            kafka, instance=instance, make=self._worker, heard=metrics
        )
        self._shown = LastShown()
        self._frames = Tail(kafka, T.FRAMES, committed=False)
        self._beside: asyncio.Task[None] | None = None
        self._alone = asyncio.Lock()

    def _worker(self, number: int, members: Members) -> PartitionWorker:
        partition = Partition(
            number, build=self._build, outbox=self._outbox, shown=self._shown.shown
        )
        worker = PartitionWorker(
            partition,
            ledger=Ledger(
                self._kafka, role=GROUP, partition=number, log=T.EVENTS, state=T.SESSIONS
            ),
            reader=members,
            watched=self._metrics,
            now_ms=wall_ms,
            batch_max=self._batch_max,
        )
        worker.at = lambda point, n: self.at(point, n)
        worker.alone = self._alone
        return worker

    # ---- life ----------------------------------------------------------------------------------

    async def _connect(self) -> None:
        self._beside = asyncio.create_task(self.beside(), name="sessions-beside")
        await self.app.start()

    async def _turn(self) -> None:
        await asyncio.sleep(LOOK_MS / 1_000)
        sessions = sum(len(worker.partition) for worker in self._members.workers.values())
        self._metrics.looked(self._members.lag(), sessions=sessions)

    def _not_yet(self) -> str:
        if not self._members.assigned_once:
            return "joining the group"
        workers = self._members.workers
        late = sorted(number for number, worker in workers.items() if not worker.ready)
        return f"recovering partitions {', '.join(map(str, late))}" if late else ""

    async def _drained(self) -> None:
        self._members.hold_all()
        while any(worker.waiting for worker in self._members.workers.values()):
            await asyncio.sleep(0.01)

    async def _let_go(self) -> None:
        if self._beside is not None:
            self._beside.cancel()
            await asyncio.wait([self._beside])
        try:
            # Faust would wait for brokers that are away for as long as they are.
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._members.commit()
                # One with a name of its own is expected back: leaving would move its partitions
                # twice.
                if not self._is_static:
                    await self.app.stop()
        except TimeoutError:
            log.warning("Faust does not end in order: the process ends all the same")
        await self._frames.stop()

    # ---- frames --------------------------------------------------------------------------------

    async def beside(self) -> None:
        """What runs beside the app until it is cancelled: a watch over steps that do not end, and
        the frames of our partitions, which are of use and never needed."""
        _watch(self._metrics)
        await self._until_there(self._frames.start)
        while True:
            try:
                owned = self._members.workers
                await self._frames.follow(dict.fromkeys(owned, wall_ms() - BACK_MS))
                self._shown.take(await self._frames.fetch(within_ms=LOOK_MS))
            except Exception as error:  # a broker that is away, mostly
                log.debug("frames cannot be read just now: %s", type(error).__name__)
                await asyncio.sleep(1.0)


def _watch(metrics: SteppingMetrics) -> None:
    """A thread that ends the process when a step does not end."""

    def look() -> None:
        while True:
            time.sleep(1.0)
            stands = metrics.stands_since()
            if stands is not None and stands.seconds > STEP_ENDS_WITHIN_S:
                die(
                    TimeoutError(
                        f"a step of the batch at offset {stands.offset} of partition "
                        f"{stands.partition} does not end"
                    )
                )

    threading.Thread(target=look, name="watch", daemon=True).start()
