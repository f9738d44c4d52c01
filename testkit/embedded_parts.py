"""What stands around the real embedded host in `testkit.embedded`: platform, runners, process.

Each waits until a stimulus lets it go on, so that nothing happens by itself. Here alone the test
kit reaches into the host's own tasks: to see whether it is quiet, and to end it as SIGKILL would.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from adapters.logs.sqlite_batch import SqliteBatch
from engine.effects import IntentRequest, ModelRequest, RunnerRequest, SkillRequest
from engine.errors import Refused, Unavailable
from engine.events import FlowActivated, Outcome
from engine.flow import Flow
from engine.ports import Delivery, Frame, Gateway, Line, Owner, Receipt, SessionView
from streams.egress import Account, Egress
from streams.embedded.clock import HostClock
from streams.embedded.host import EmbeddedHost
from streams.embedded.metrics import Metrics
from streams.embedded.pipeline import Pipeline
from streams.embedded.store import last_at_ms
from streams.ingress import Ingress
from streams.limiter import Limiter
from streams.performers import Performers
from testkit.embedded_deaths import Deaths
from testkit.scene import ACCOUNT, config_of
from testkit.simulator.cluster import CHANNEL
from testkit.simulator.machines import Disk, Machine, Time
from testkit.simulator.platform import Platform, reached
from testkit.worlds import Called, Received, Seen, Shown

CALLS_MAX = 1_000


class FailingLog(SqliteLog):
    """The SQLite log on a disk that may fail at the end of a transaction."""

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._disk = disk
        # No power fails here, and a process that dies loses nothing that the system has taken.
        self._writer(0).database.execute("pragma synchronous = off")

    @contextmanager
    def transaction(self, owner: Owner) -> Iterator[SqliteBatch]:
        """As the SQLite log; raises Unavailable where the disk fails: nothing is durable."""
        with super().transaction(owner) as batch:
            yield batch
            if self._disk.fails:
                self._disk.fails = False
                raise Unavailable("the simulated disk is full")


class ManualTime(Time):
    """The world's time; who sleeps in it is woken as it passes."""

    __slots__ = ("_sleepers",)

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    async def sleep(self, ms: int) -> None:
        """Until that much has passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_ms + ms, future))
        await future

    @property
    def asleep(self) -> int:
        """How many sleep."""
        return sum(not future.done() for _, future in self._sleepers)

    def next_ms(self) -> int | None:
        """When the first of them is to be woken."""
        return min((at_ms for at_ms, future in self._sleepers if not future.done()), default=None)

    def forget(self) -> None:
        """Who slept is gone."""
        self._sleepers.clear()

    def advance(self, to_ms: int) -> None:
        """It is this late now."""
        self.now_ms = max(self.now_ms, to_ms)
        for at_ms, future in self._sleepers:
            if at_ms <= self.now_ms and not future.done():
                future.set_result(None)
        self._sleepers = [one for one in self._sleepers if not one[1].done()]


class Calls:
    """The requests that runners work on, the oldest first: each ends when it is told to."""

    def __init__(self, began: Callable[[RunnerRequest], None]) -> None:
        self._began = began
        self.ended: list[RunnerRequest] = []
        self.shows: dict[str, Callable[[str], None]] = {}
        self._working: dict[str, RunnerRequest] = {}
        self._futures: dict[str, asyncio.Future[Outcome]] = {}

    @property
    def pending(self) -> list[RunnerRequest]:
        """What is worked on, the oldest first."""
        return list(self._working.values())

    def forget(self) -> None:
        """Who worked is gone."""
        self._working.clear()

    def show(self, effect_id: str, text: str) -> None:
        """The model has said so much."""
        self.shows[effect_id](text)

    def end(self, effect_id: str, outcome: Outcome | Exception) -> None:
        """The runner comes back with this, or raises it."""
        future = self._futures[effect_id]
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def work(self, request: RunnerRequest) -> Outcome:
        """Until it is ended, or cancelled."""
        effect_id = request.effect_id
        self._began(request)
        self._working[effect_id] = request
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._futures[effect_id] = future
        try:
            return await future
        finally:
            if self._futures.get(effect_id) is future:
                del self._working[effect_id], self._futures[effect_id]
                self.shows.pop(effect_id, None)
                self.ended.append(request)


class _Runner:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def start(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing of its own to end."""


class _Model(_Runner):
    def run(
        self, request: ModelRequest, show: Callable[[str], None]
    ) -> Coroutine[None, None, Outcome]:
        self._calls.shows[request.effect_id] = show
        return self._calls.work(request)


class _Skills(_Runner):
    def run(self, request: SkillRequest, now_ms: int) -> Coroutine[None, None, Outcome]:
        return self._calls.work(request)


class _Intents(_Runner):
    def run(self, request: IntentRequest) -> Coroutine[None, None, Outcome]:
        return self._calls.work(request)


class PlatformChannel:
    """The channel of the world's one account: replies go to the simulated platform."""

    kind, account, at_once = CHANNEL, ACCOUNT, False

    def __init__(
        self,
        platform: Platform,
        time: ManualTime,
        *,
        seen: list[Seen],
        limit: tuple[int, int] | None,
    ) -> None:
        self.idempotent = platform.idempotent
        self._limit = limit
        self._platform = platform
        self._time = time
        self._seen = seen
        self.process: Process | None = None

    def account_of(self, now_ms: int) -> Account:
        """What a process that begins now knows of the account."""
        limiter = None
        if self._limit is not None:
            most, period_ms = self._limit
            limiter = Limiter.of_new_owner(most, period_ms=period_ms, now_ms=now_ms)
        return Account(self.idempotent, limiter)

    async def start(self, gateway: Gateway) -> None:
        """Messages are handed over by the world, through the gateway."""

    async def close(self) -> None:
        """Nothing is in hand here."""

    async def send(self, delivery: Delivery) -> Receipt:
        """The platform takes it, refuses it, is away or slow: as its mood is."""
        process = self.process
        assert process is not None
        answer = self._platform.call(delivery, self._platform.mood())
        durable = process.store.delivery(delivery.reply_id)
        at_ms, text = process.host.now_ms(), delivery.text or ""
        session_id, reply_id = reached(delivery.address), delivery.reply_id
        called = Called(
            at_ms=at_ms,
            session_id=session_id,
            reply_id=reply_id,
            text=text,
            took=answer.took,
            refused=answer.is_refused,
            marked=durable is not None and durable.state == "sending",
            watermark=process.store.watermark(0),
            platform_ms=self._time.now_ms,
            unsaid=answer.is_unsaid,
        )
        self._seen.append(called)
        if answer.took and answer.is_new:
            received = Received(at_ms=at_ms, session_id=session_id, reply_id=reply_id, text=text)
            self._seen.append(received)
        if answer.late_ms:
            await self._time.sleep(answer.late_ms)
        if isinstance(answer.outcome, Receipt):
            return answer.outcome
        raise answer.outcome

    def show(self, frame: Frame) -> None:
        """The person sees it grow."""
        assert self.process is not None
        shown = Shown(
            at_ms=self.process.host.now_ms(),
            session_id=frame.session_id,
            reply_id=frame.reply_id,
            attempt=frame.attempt,
            n=frame.n,
            text=frame.text,
            watermark=self.process.store.watermark(0),
        )
        self._seen.append(shown)

    def follows(self, session_id: str) -> bool:
        """Nobody looks at states."""
        return False

    def stepped(self, view: SessionView) -> None:
        """Nobody looks at states."""

    def wrote(self, lines: Sequence[Line]) -> None:
        """No line is kept."""


class Process:
    """One engine process over the file: the real host, wired as `ai-assistant run` wires it."""

    def __init__(
        self,
        store: SqliteLog,
        flow: Flow,
        *,
        machine: Machine,
        calls: Calls,
        channel: PlatformChannel,
        ingress: Ingress,
    ) -> None:
        self.is_dead = False
        self._flow = flow
        self._channel = channel
        self.store = store
        clock = HostClock(last_at_ms(self.store), machine=machine)
        accounts = {(channel.kind, channel.account): channel.account_of(clock.now_ms())}
        self.pipeline = Pipeline(
            self.store,
            egress=Egress(accounts, delivery=self.store.delivery, jitter=lambda: 0.5),
            build=self._build,
            outbox=frozenset({channel.kind}),
            stepping=lambda event_id: self._deaths.stepping(event_id),
        )
        self._performers = Performers(
            now_ms=clock.now_ms,
            attempt=self.pipeline.attempt,
            calls_max=CALLS_MAX,
            model=_Model(calls),
            skills=_Skills(calls),
            intents=_Intents(calls),
        )
        self.host = EmbeddedHost(
            self.pipeline,
            clock=clock,
            performers=self._performers,
            channels=[(channel, ingress)],
            metrics=Metrics(),
        )
        channel.process = self

    def _build(self, body: FlowActivated) -> Flow:
        if body.flow != self._flow.ref:
            raise Refused(f"flow {body.flow} is not in this world")
        return self._flow

    async def start(self, deaths: Deaths) -> None:
        """Recover and begin. `deaths`: that the process before died, and what this one dies of."""
        self._deaths = deaths
        self.host.at = deaths.at
        await self.host.start(self._flow, config_of(self._flow), standing=deaths.standing)

    def wake(self) -> None:
        """Time has passed: the host looks at its clock."""
        self.host._wake.set()

    @property
    def is_stuck(self) -> bool:
        """It waits for its disk, or is done with: no stimulus helps."""
        return bool(self.host.fault) or self.host._committing

    def is_quiet(self, asleep: int) -> bool:
        """Nothing happens by itself any more. `asleep`: calls that wait for time to pass."""
        host = self.host
        if self.is_stuck or host._taken or host._called or host._wake.is_set():
            return False
        due_ms = self.next_ms()
        is_due = due_ms is not None and due_ms <= host.now_ms()
        return not is_due and len(host._channels.in_hand) == asleep

    def next_ms(self) -> int | None:
        """Log time of the next deadline, or the next try to send."""
        times = (
            self.pipeline.deadlines.next_ms(),
            self.pipeline.egress.next_ms(self.host.now_ms()),
        )
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    def kill(self) -> None:
        """From here on nothing in memory gets another word in."""
        self.is_dead = True
        for task in self._tasks():
            if task is not asyncio.current_task():
                task.cancel()

    async def bury(self) -> None:
        """Let the file go, as the end of a process would."""
        self.kill()
        await asyncio.gather(*self._tasks(), return_exceptions=True)
        await self._performers.close()
        self.host._writer.shutdown(wait=True)
        self.store.close()

    def _tasks(self) -> list[asyncio.Task[None]]:
        pump = self.host._pump_task
        tasks = [*self.host._channels._calls, *self._performers._tasks.values()]
        return tasks if pump is None else [pump, *tasks]
