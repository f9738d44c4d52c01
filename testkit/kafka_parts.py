"""What stands around the roles of a cluster in `testkit.kafka_world`: time, partitions, outside.

The brokers are real, and their time is the world's: the topics take the time of whoever writes, and
the world's producers say how late it is in the world. So the check of an appender's clock against
the brokers' is the real one, and fails where a simulated machine's clock is off.

No group gives partitions here, since its time-outs are real time: `Assigned` and `Fed` stand where
`WorkQueue` and `Tail` do, and give what the broker has. What is done, and from where on a new owner
begins, is `WorkQueue`'s own reckoning.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.appender import Appender, Place
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.records import Fetched, Row
from adapters.kafka.tail import Tail
from adapters.kafka.work import InHand, WorkQueue
from engine.effects import IntentRequest, ModelRequest, RunnerRequest, SkillRequest
from engine.errors import Unavailable
from engine.events import Outcome
from engine.ports import Append
from streams.topics import TOPICS, T
from testkit.simulator.machines import Disk, Machine, Time

HERE = frozenset({0})
"""The world's one partition."""
FOR_EVER_MS = 2**62
SHORT_MS = 2
OWNER = "sessions"
"""The transactional ids of the role."""


async def make_topics(settings: KafkaSettings) -> None:
    """All topics, of one partition each. Their times are the world's, which is years ahead."""
    world = {
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": str(FOR_EVER_MS),
        "message.timestamp.before.max.ms": str(FOR_EVER_MS),
    }
    # Nothing is to be deleted or compacted, by whatever clock, while a world runs.
    kept = {"retention.ms": "-1", "cleanup.policy": "delete"}
    await create_topics(settings, [Wanted(t.name, 1, 1, {**world, **kept}) for t in TOPICS])


# ---- time ----------------------------------------------------------------------------------------


class _Dated:
    """A producer whose records are written when the world says."""

    def __init__(self, producer: Any, time: Time) -> None:
        self._producer = producer
        self._time = time

    async def send(self, topic: str, *, value: bytes, key: bytes) -> Any:
        now_ms = self._time.now_ms
        return await self._producer.send(topic, value=value, key=key, timestamp_ms=now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


class WorldAppender(Appender):
    """The real appender, on a simulated machine, to brokers whose time is the world's.

    `is_gone`: its process has died; nobody hears of what it appends.
    """

    def __init__(self, settings: KafkaSettings, *, time: Time, machine: Machine, name: str) -> None:
        super().__init__(settings, clock=machine, instance=name)
        self._time = time
        self.is_gone = False

    async def _connected(self) -> Any:
        return _Dated(await super()._connected(), self._time)

    async def append(self, append: Append, *, within_s: float = 30.0) -> Place:
        """As the appender; a process that has died appends nothing more."""
        if self.is_gone:
            await asyncio.Event().wait()
        return await super().append(append, within_s=within_s)


class WorldLedger(Ledger):
    """The real ledger. Where the disk fails, so does a transaction, and its owner never learns
    whether it was committed: half of them are."""

    def __init__(self, settings: KafkaSettings, *, disk: Disk, rng: Random) -> None:
        super().__init__(settings, role=OWNER, partition=0, log=T.EVENTS, state=T.SESSIONS)
        self._disk = disk
        self._rng = rng

    async def commit(self, rows: Sequence[Row]) -> None:
        """As the ledger's. Raises Unavailable where the disk fails."""
        fails, self._disk.fails = self._disk.fails, False
        if not fails or self._rng.random() < 0.5:
            await super().commit(rows)
        if fails:
            raise Unavailable("the brokers' simulated disk is full")


# ---- partitions ----------------------------------------------------------------------------------


class Group:
    """What the brokers know of a group: the offset from which on a new owner begins."""

    def __init__(self) -> None:
        self.committed = 0


class Assigned(WorkQueue):
    """A role's work of the world's one partition. `before`: what the topic has already."""

    def __init__(self, of: WorkQueue, group: Group, *, before: Sequence[Fetched]) -> None:
        super().__init__(of._settings, of._topic, group="", instance="", table=of._table)
        self.moved, self.leaving = of.moved, of.leaving
        self._of_group = group
        self._come: deque[Fetched] = deque()
        self._end = 0
        self._wake = asyncio.Event()
        self._waits = False
        for record in before:
            if self._table or record.offset >= group.committed:
                self.give(record)

    @property
    def is_idle(self) -> bool:
        """Whoever works waits here, and there is nothing."""
        return self._waits and not self._wake.is_set()

    def give(self, record: Fetched) -> None:
        """The next record."""
        self._come.append(record)
        self._end = record.offset + 1
        self._wake.set()

    def wake(self) -> None:
        """Time has passed: let the role look at its clock."""
        self._wake.set()

    async def start(self) -> None:
        """The partition is given to this process."""
        self._hands[0] = InHand()
        self._wake.set()
        self.moved(HERE, frozenset())

    async def stop(self) -> None:
        """Nothing is committed: it ends as SIGKILL would end it."""

    async def fetch(self, *, wanted: int, within_ms: int) -> list[Fetched]:
        """What has come; nothing, where it is only woken. `within_ms` is the world's affair."""
        self._waits = True
        await self._wake.wait()
        self._waits = False
        taken = [self._come.popleft() for _ in range(min(wanted, len(self._come)))]
        if not self._come:
            self._wake.clear()
        return [record for record in taken if self._is_new(record)]

    async def commit(self) -> None:
        """As every half second: what is done without a gap."""
        hand = self._hands.get(0)
        if hand is not None:
            self._of_group.committed = max(self._of_group.committed, hand.low)

    async def ends(self) -> dict[int, int]:
        """Where the topic ends."""
        return {0: self._end}

    async def positions(self) -> dict[int, int]:
        """How far it was read."""
        return {number: hand.next for number, hand in self._hands.items()}

    def pause(self, partitions: Iterable[int]) -> None:
        """Whoever waits is fed no more than it asks for."""

    def resume(self, partitions: Iterable[int]) -> None:
        """See `pause`."""

    async def lag(self) -> int:
        """Records that nobody has read."""
        return len(self._come)


class Fed(Tail):
    """What a role follows without a group. `before`: what a follower from an earlier time sees."""

    def __init__(
        self, settings: KafkaSettings, topic: T, *, before: Sequence[Fetched] = ()
    ) -> None:
        super().__init__(settings, topic)
        self._come: deque[Fetched] = deque()
        self._before = before
        self._wake = asyncio.Event()
        self.follows = False

    @property
    def is_idle(self) -> bool:
        """It is followed, and all of it was taken."""
        return self.follows and not self._come

    def give(self, record: Fetched) -> None:
        """The next record; lost where nobody follows yet."""
        if self.follows:
            self._come.append(record)
            self._wake.set()

    async def start(self) -> None:
        """Cancels are followed from the start."""
        self.follows = self._topic == T.CANCEL

    async def stop(self) -> None:
        """Nothing to let go."""

    async def follow(self, since_ms: Mapping[int, int | None]) -> None:
        """From an earlier time on, or not any more."""
        if since_ms and not self.follows:
            self._come.extend(self._before)
        self.follows = bool(since_ms)

    async def fetch(self, *, within_ms: int) -> list[Fetched]:
        """What has come."""
        if not self._come:
            with suppress(TimeoutError):
                async with asyncio.timeout((within_ms if self.follows else SHORT_MS) / 1_000):
                    await self._wake.wait()
        self._wake.clear()
        taken = [*self._come]
        self._come.clear()
        return taken


# ---- runners -------------------------------------------------------------------------------------


class Calls:
    """The requests that runners work on: each ends when it is told to, at all processes that
    perform it. `asked`: the place of a request among all."""

    def __init__(
        self, began: Callable[[RunnerRequest, object], None], *, asked: Callable[[str], int]
    ) -> None:
        self._began = began
        self._asked = asked
        self.ended: list[RunnerRequest] = []
        self._work: dict[str, list[tuple[object, RunnerRequest, asyncio.Future[Outcome]]]] = {}
        self._shows: dict[tuple[str, object], Callable[[str], None]] = {}

    @property
    def pending(self) -> list[RunnerRequest]:
        """What somebody works on, the oldest first."""
        working = [works[0][1] for works in self._work.values()]
        return sorted(working, key=lambda request: self._asked(request.effect_id))

    def of(self, process: object) -> int:
        """How many calls of a process wait for their end."""
        works = [work for works in self._work.values() for work in works]
        return sum(by is process and not future.done() for by, _, future in works)

    def end(self, effect_id: str, outcome: Outcome | Exception) -> None:
        """The runners come back with this, or raise it."""
        for _, _, future in self._work.get(effect_id, ()):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def show(self, effect_id: str, text: str) -> None:
        """The models have said so much."""
        for process, _, _ in [*self._work.get(effect_id, ())]:
            self._shows[effect_id, process](text)

    async def work(
        self,
        request: RunnerRequest,
        process: object,
        *,
        show: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Until it is ended, or cancelled."""
        effect_id = request.effect_id
        self._began(request, process)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        mine = (process, request, future)
        self._work.setdefault(effect_id, []).append(mine)
        if show is not None:
            self._shows[effect_id, process] = show
        try:
            return await future
        finally:
            works = self._work[effect_id]
            works.remove(mine)
            self._shows.pop((effect_id, process), None)
            if not works:
                del self._work[effect_id]
                self.ended.append(request)


class _Runner:
    def __init__(self, calls: Calls, process: object) -> None:
        self._calls = calls
        self._process = process

    async def start(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing of its own to end."""


class Model(_Runner):
    """Of one process."""

    def run(
        self, request: ModelRequest, show: Callable[[str], None]
    ) -> Coroutine[None, None, Outcome]:
        """Until the world ends it."""
        return self._calls.work(request, self._process, show=show)


class Skills(_Runner):
    """Of one process."""

    def run(self, request: SkillRequest, now_ms: int) -> Coroutine[None, None, Outcome]:
        """Until the world ends it."""
        return self._calls.work(request, self._process)


class Intents(_Runner):
    """Of one process."""

    def run(self, request: IntentRequest) -> Coroutine[None, None, Outcome]:
        """Until the world ends it."""
        return self._calls.work(request, self._process)
