"""The role clock: wakes sessions whose deadline has come.

Between `conversation.sessions`, whose rows say in a header when a session's first pending is due,
and `conversation.events`, where it appends `ClockReached`. A partition's owner reads its rows from
the beginning and then follows them; it has nothing of its own that could be lost. It only wakes: a
session that is woken twice, or late, decides by itself what is due. The hop is `streams.clock`.
"""

import logging
import time
from collections import deque

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched
from adapters.kafka.work import WorkQueue
from engine.errors import InvalidRecord
from engine.ports import Append
from streams import wire
from streams.clock import Deadlines
from streams.cluster.metrics import Metrics
from streams.cluster.role import Role
from streams.topics import T

log = logging.getLogger(__name__)

ROWS_MAX = 10_000
"""Read in one turn."""
WOKEN_MAX = 256
"""Woken in one turn."""
WOKEN_PER_S = 1_000
"""After an outage sessions are woken in turn; those who write just then come in between."""
TURN_MS = 500


class Owned:
    """The deadlines of one partition. `behind_of`: where its rows ended when it became ours.

    Before they are read as far as that, what they say is long past and wakes nobody.
    """

    __slots__ = ("began_s", "behind_of", "deadlines", "unsent")

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.behind_of: int | None = None
        self.began_s: float | None = time.monotonic()
        self.unsent: deque[Append] = deque()

    @property
    def is_read(self) -> bool:
        """Whether what is due here is known."""
        return self.began_s is None


class Waking(Role):
    """The clock of the partitions that this process gets. `appender` is the process's."""

    def __init__(
        self, settings: KafkaSettings, *, instance: str, appender: Appender, metrics: Metrics
    ) -> None:
        super().__init__("clock")
        self._appender = appender
        self._metrics = metrics
        self._queue = WorkQueue(settings, T.SESSIONS, group="clock", instance=instance, table=True)
        self._queue.moved = self._moved
        self._owned: dict[int, Owned] = {}
        self._allowed = 0.0
        self._allowed_s = time.monotonic()

    @property
    def waiting(self) -> int:
        """Sessions that have a deadline."""
        return sum(len(owned.deadlines) for owned in self._owned.values())

    async def _connect(self) -> None:
        await self._until_there(self._queue.start)

    async def _let_go(self) -> None:
        await self._queue.stop()

    async def _turn(self) -> None:
        for record in await self._queue.fetch(wanted=ROWS_MAX, within_ms=self._wait_ms()):
            self._put(record)
        await self._look_how_far()
        await self._wake()
        self._metrics.in_hand.labels(self.name).set(self.waiting)
        self._metrics.lag.labels(self.name).set(await self._queue.lag())

    def _not_yet(self) -> str:
        waiting = sorted(p for p, owned in self._owned.items() if not owned.is_read)
        return f"reading the deadlines of partitions {waiting}" if waiting else ""

    # ---- rows ---------------------------------------------------------------------------------

    def _moved(self, new: frozenset[int], gone: frozenset[int]) -> None:
        for partition in gone:
            del self._owned[partition]
        for partition in new:
            self._owned[partition] = Owned()

    def _put(self, record: Fetched) -> None:
        owned = self._owned.get(record.partition)
        if owned is None or record.key.startswith(b"#"):  # a partition's own rows
            return
        try:
            session_id = wire.session_of_key(record.key)
            due_ms = wire.due_of(record.headers) if record.value is not None else None
        except InvalidRecord as error:  # as if it had not been written
            log.error("%s:%d:%d: %s", record.topic, record.partition, record.offset, error)
            self._metrics.unreadable.labels(self.name).inc()
            return
        owned.deadlines.put(session_id, due_ms)

    async def _look_how_far(self) -> None:
        """Whether the rows of new partitions are read as far as they went when they became ours."""
        new = {p: owned for p, owned in self._owned.items() if not owned.is_read}
        if not new:
            return
        if any(owned.behind_of is None for owned in new.values()):
            for partition, end in (await self._queue.ends()).items():
                if partition in new and new[partition].behind_of is None:
                    new[partition].behind_of = end
        for partition, position in (await self._queue.positions()).items():
            owned = new.get(partition)
            if owned is None or owned.behind_of is None or position < owned.behind_of:
                continue
            assert owned.began_s is not None
            recovery_s = time.monotonic() - owned.began_s
            self._metrics.recovery_s.labels(self.name).set(recovery_s)
            owned.began_s = None

    # ---- wake ---------------------------------------------------------------------------------

    def _wait_ms(self) -> int:
        """Until the next deadline, or the next that may be told."""
        if any(not owned.is_read for owned in self._owned.values()):
            return 20
        now_ms = self._appender.now_ms()
        times = [ms for o in self._owned.values() if (ms := o.deadlines.next_ms()) is not None]
        wait_ms = min(times) - now_ms if times else TURN_MS
        if self._allowance() < 1 or any(owned.unsent for owned in self._owned.values()):
            wait_ms = max(wait_ms, 20)
        return max(0, min(wait_ms, TURN_MS))

    def _allowance(self) -> float:
        now_s = time.monotonic()
        allowed = self._allowed + (now_s - self._allowed_s) * WOKEN_PER_S
        self._allowed, self._allowed_s = min(allowed, WOKEN_MAX), now_s
        return self._allowed

    async def _wake(self) -> None:
        """Append what is due; what cannot be appended now is, in a later turn."""
        now_ms = self._appender.now_ms()
        for owned in list(self._owned.values()):
            room = int(self._allowance()) - len(owned.unsent)
            if owned.is_read and room > 0:
                owned.unsent.extend(owned.deadlines.reached(now_ms, limit=room))
            if not owned.unsent:
                continue
            appends = list(owned.unsent)
            await self._appender.append_many(appends)
            owned.unsent.clear()
            self._allowed -= len(appends)
            self._metrics.woken.inc(len(appends))
