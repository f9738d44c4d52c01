"""The sessions role of one partition: recover, then step what arrived, commit it, acknowledge it.

Between whoever reads `conversation.events` (`streams.faust_app`), which calls `put` and never
waits, and the partition's `Ledger`, a transactional producer of its own. What has arrived while one
transaction commits is the next batch: no timer, so no added latency, and big batches under load.

A batch is one transaction or nothing. Brokers that are away, or a partition of theirs without a
leader, are waited for by the partition that needs them; nobody knows then what became of a
transaction, so it is claimed and read anew. Anything else that fails, fencing by a newer owner
included, ends the process through `fatal`: the next owner begins with what is durable. It knows
nothing of Faust.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from adapters.kafka.records import Fetched, Row
from engine.crash_points import CrashPoint
from engine.errors import Refused, Unavailable
from streams.cut_logs import require_whole
from streams.partition import BEGIN, Decided, Partition
from streams.topics import T

log = logging.getLogger(__name__)

GROUP = "sessions"
"""Of the processes that step, and of the transactions of their partitions."""
FULL = 4
"""Batches that may wait before no more are fetched; half of it, and they are again."""
RETRY_S = 0.5
GROUP_SAYS_S = 5.0
"""So soon after the brokers are there again the group has told whose a partition is by now."""
WITHDRAW_WITHIN_S = 5.0


class Ledger(Protocol):
    """What is durable of a partition, and the right to write it."""

    async def claim(self) -> None:
        """Become the owner: an older one's transactions fail from now on, an open one is ended."""

    def rows(self) -> AsyncIterator[Sequence[Fetched]]:
        """All of the partition's rows of `conversation.sessions` that are committed now."""

    async def bounds(self) -> tuple[int, int]:
        """The first offset of `conversation.events` here, and the one after its last record."""

    async def commit(self, rows: Sequence[Row]) -> None:
        """One transaction. Raises Conflict where there is a newer owner: nothing of it is visible.

        After any other error nobody knows; after Unavailable it can write no more before `claim`.
        """

    async def close(self) -> None:
        """Let go; `claim` takes it up again."""


class Watched(Protocol):
    """What is told of a worker's work; in memory, in microseconds."""

    def recovered(self, partition: Partition, *, took_s: float) -> None: ...
    def stepping(self, partition: int, offset: int | None) -> None: ...
    def committed(self, decided: Decided, *, took_s: float) -> None: ...


class Reader(Protocol):
    """Whoever brings the records."""

    def acknowledge(self, mark: object) -> None:
        """All records up to this mark are durably applied."""

    def hold(self, partition: int, *, full: bool) -> None:
        """No more of this partition for now; or again."""

    def fatal(self, error: BaseException) -> None:
        """Ends the process."""


class PartitionWorker:
    """One owned partition. `start` begins; `put` hands records over; `stop` lets go.

    `batch_max`: events in one transaction. `now_ms`: wall clock, for what is no log time.
    """

    def __init__(
        self,
        partition: Partition,
        *,
        ledger: Ledger,
        reader: Reader,
        watched: Watched,
        now_ms: Callable[[], int],
        batch_max: int = 256,
    ) -> None:
        self.partition = partition
        self.ready = False
        self._ledger = ledger
        self._reader = reader
        self._watched = watched
        self._now_ms = now_ms
        self._batch_max = batch_max
        self._arrived: deque[tuple[Sequence[Fetched], list[object]]] = deque()
        self._waiting = 0
        self._full = False
        self._waits_for = ""
        self._is_back = False
        self._first = True
        self._alone_until = BEGIN
        self._goes_on_at = BEGIN
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.at: Callable[[CrashPoint, int], None] = lambda point, n: None
        self.group_says_s = GROUP_SAYS_S
        # One for all partitions of a process: see `_one_by_one`.
        self.alone = asyncio.Lock()

    @property
    def number(self) -> int:
        """The partition's number."""
        return self.partition.number

    @property
    def waiting(self) -> int:
        """Records that arrived and are not durably applied."""
        return self._waiting

    def start(self) -> None:
        """Begin to recover, then to work on what arrives."""
        self._task = asyncio.create_task(self._run(), name=f"partition {self.number}")

    def put(self, records: Sequence[Fetched], mark: object) -> None:
        """Take records of the partition, in order; `mark` is acknowledged once they are applied."""
        self._arrived.append((records, [mark]))
        self._waiting += len(records)
        self._wake.set()
        if self._waiting > FULL * self._batch_max:
            # Said each time: a reader whose partitions were given out anew has forgotten it.
            self._full = True
            self._reader.hold(self.number, full=True)

    def give_back(self) -> list[object]:
        """The marks of what a partition that is not at work has in hand, and forgets by this.

        The reader, which must not wait for it now, brings those records again.
        """
        if self.ready:
            return []
        marks = [mark for _, theirs in self._arrived for mark in theirs]
        self._arrived.clear()
        self._waiting, self._full = 0, False
        return marks

    async def stop(self) -> None:
        """Let go. A transaction in hand is ended by the next owner, if not by its commit."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._ledger.close()

    # ---- inside ------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._live()
                except Unavailable as error:
                    await self._wait_out(error)
        except asyncio.CancelledError:
            raise
        except Refused as error:
            await self._withdraw()
            self._reader.fatal(error)
        except BaseException as error:
            self._reader.fatal(error)

    async def _live(self) -> None:
        await self._recover()
        while True:
            while self._arrived:
                await self._work()
            await self._wake.wait()
            self._wake.clear()

    async def _wait_out(self, error: Unavailable) -> None:
        """Brokers are away: only this partition waits, and begins again with what is durable.

        If it was we who were away, another may own it: to claim it from that one would end it.
        """
        self.ready = False
        if str(error) != self._waits_for:
            log.warning("partition %d waits: %s", self.number, error)
        self._waits_for = str(error)
        await self._ledger.close()
        self.partition = self.partition.anew()
        self._first = True
        self._is_back = True
        await asyncio.sleep(RETRY_S)

    async def _withdraw(self) -> None:
        """What is refused is no event's fault: the attempt that stands is not to count as a death.

        Where the ledger takes nothing more, it counts.
        """
        row = self.partition.withdrawn()
        if row is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(WITHDRAW_WITHIN_S):
                await self._ledger.commit([row])

    async def _recover(self) -> None:
        if self._is_back:
            await self._ledger.bounds()
            await asyncio.sleep(self.group_says_s)
        began_s = asyncio.get_running_loop().time()
        await self._ledger.claim()
        async for records in self._ledger.rows():
            self.partition.recover(records)
        self.partition.recovered()
        await self._require_whole()
        took_s = asyncio.get_running_loop().time() - began_s
        self._watched.recovered(self.partition, took_s=took_s)
        at_work = "partition %d is at work after %.2f s, flow %s, all up to offset %d is applied"
        log.info(at_work, self.number, took_s, self._flow, self.partition.watermark)
        self.ready = True
        self._waits_for = ""

    async def _require_whole(self) -> None:
        """Raises Refused where the log does not go on where it was applied."""
        begin, end = await self._ledger.bounds()
        applied = self.partition.watermark
        require_whole(T.EVENTS, self.number, applied=applied, begin=begin, end=end)

    async def _require_whole_from(self, taken: Sequence[Fetched]) -> None:
        """What goes on where the last look ended is of the same log: after the loss of the group's
        offsets there may be a million of these."""
        if taken[0].offset != self._goes_on_at:
            await self._require_whole()
        self._goes_on_at = taken[-1].offset + 1

    async def _work(self) -> None:
        """Apply as much of what arrived as one transaction takes, and acknowledge it."""
        taken, marks = self._taken()
        try:
            fresh = deque(self.partition.fresh(taken))
            if len(fresh) < len(taken):  # again after a move or a death, or of a log made anew
                await self._require_whole_from(taken)
            await self._make_durable(fresh)
        except Unavailable:
            self._arrived.appendleft((taken, marks))
            raise
        self._waiting -= len(taken)
        for mark in marks:
            self._reader.acknowledge(mark)
        if self._full and self._waiting < FULL * self._batch_max // 2:
            self._full = False
            self._reader.hold(self.number, full=False)

    async def _make_durable(self, fresh: deque[Fetched]) -> None:
        if fresh and self._first:
            await self._begin(fresh)
        if fresh and fresh[0].offset <= self._alone_until:
            async with self.alone:
                await self._one_by_one(fresh)
        if fresh:
            await self._apply(fresh)

    def _taken(self) -> tuple[list[Fetched], list[object]]:
        """Whole hand-overs while they fit into a batch; the rest of a bigger one stays first."""
        records: list[Fetched] = []
        marks: list[object] = []
        while self._arrived and len(records) < self._batch_max:
            some, theirs = self._arrived.popleft()
            room = self._batch_max - len(records)
            records += some[:room]
            if len(some) > room:
                self._arrived.appendleft((some[room:], theirs))
                break
            marks += theirs
        return records, marks

    async def _apply(
        self, records: Sequence[Fetched], *, deadly: bool = False, more: Sequence[Row] = ()
    ) -> None:
        """Step these and commit what they decided, `more` with it."""
        self._watched.stepping(self.number, records[0].offset)
        was = self._flow
        decided = self.partition.decide(records, now_ms=self._now_ms(), deadly=deadly)
        self._watched.stepping(self.number, None)
        if decided is None:  # all of it was applied before a death or a move
            return
        began_s = asyncio.get_running_loop().time()
        self.at(CrashPoint.STEP_COMMIT, len(decided.batch.steps))
        await self._ledger.commit([*decided.rows, *more])
        self.partition.confirm(decided)
        if self._flow != was:
            log.info("partition %d has flow %s now, before it was %s", self.number, self._flow, was)
        self._watched.committed(decided, took_s=asyncio.get_running_loop().time() - began_s)
        self.at(CrashPoint.COMMIT_PERFORM, 1)

    @property
    def _flow(self) -> str:
        flow = self.partition.flow
        return "none" if flow is None else str(flow.ref)

    async def _begin(self, fresh: Sequence[Fetched]) -> None:
        """The first batch of an owner: that it was begun is durable before it is stepped.

        Where the last owner left such an attempt behind, it died of one of those records, or of
        something else meanwhile: they are stepped one by one.
        """
        self._first = False
        self._alone_until = self.partition.doubtful
        if fresh[0].offset > self._alone_until:
            attempt = self.partition.attempt(fresh[0], last=fresh[-1].offset)
            await self._ledger.commit([attempt] if attempt is not None else [])

    async def _one_by_one(self, fresh: deque[Fetched]) -> None:
        """Step what is doubtful of these; the rest stays.

        Each attempt is durable before its step: the first on its own, each other together with what
        the step before it decided. In a process only one partition does so at a time: an attempt
        that stood while another partition's event killed the process would count as a death too,
        and after three of them a record that never harmed anybody would be set aside.
        """
        attempt = self.partition.attempt(fresh[0], last=fresh[0].offset)
        if attempt is not None:
            await self._ledger.commit([attempt])
        while fresh and fresh[0].offset <= self._alone_until:
            record = fresh.popleft()
            if attempt is None:
                where = f"offset {record.offset} of partition {self.number}"
                log.error("%s is set aside: the process died each time it stepped it", where)
            deadly, attempt = attempt is None, None
            if fresh and fresh[0].offset <= self._alone_until:
                attempt = self.partition.attempt(fresh[0], last=fresh[0].offset)
            await self._apply([record], deadly=deadly, more=() if attempt is None else (attempt,))
