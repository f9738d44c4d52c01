"""The partition worker of the simulator: what a host does with the hops, without its event loop.

Between the simulated platform, log and runners. One of these is one worker's ownership of one
partition; it does the same things in the same order as `streams.embedded.host`: decide, commit,
confirm, acknowledge, perform. The names of `CrashPoint` stand where they stand there. A worker that
has lost its partition without knowing it is the same object, and goes on until a commit fences it.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from engine.crash_points import CrashPoint
from engine.effects import RunnerRequest
from engine.errors import Unavailable
from engine.events import FlowActivated, ModelReplied, Outcome, SkillDone
from engine.flow import Flow
from engine.ports import Append, Clock, Delivery, Frame, Line
from streams.egress import Egress
from streams.embedded.clock import HostClock
from streams.embedded.pipeline import Called, Decided, Pipeline, numbered
from streams.embedded.store import Store, last_at_ms
from streams.ingress import Taken
from streams.runners import AllRunners, Matched, Started
from testkit.simulator.platform import Post

BATCH_MAX = 256


class Died(Exception):  # it is no error: the world wanted it
    """The worker process is gone, and all that it knew."""

    def __init__(self, number: int, point: CrashPoint) -> None:
        super().__init__(point.value)
        self.number = number
        self.point = point


class Around(Protocol):
    """What a partition worker needs of the world around it."""

    def at(self, worker: "PartitionWorker", point: CrashPoint) -> None:
        """It has come to this point. Raises Died."""

    def steps(self, worker: "PartitionWorker") -> None:
        """It begins a step of what came from outside. Raises Died."""

    def acknowledged(self, worker: "PartitionWorker", post: Post) -> None:
        """The client is told that this is durable."""

    def not_taken(self, worker: "PartitionWorker") -> None:
        """Clients are told that nothing can be taken in just now."""

    def began(self, worker: "PartitionWorker", request: RunnerRequest) -> None:
        """A runner works on this."""

    def ended(
        self, worker: "PartitionWorker", request: RunnerRequest, *, outcome: Outcome | None
    ) -> None:
        """A runner is done with it; without an outcome: it was stopped, or broke its contract."""

    def said(self, worker: "PartitionWorker", effect_id: str, *, text: str, is_all: bool) -> None:
        """A runner says this much, or ends with it."""

    def durable(self, worker: "PartitionWorker", decided: Decided) -> None:
        """A batch is durable, and nobody has been told yet."""

    def committed(self, worker: "PartitionWorker", decided: Decided) -> None:
        """A batch is durable and acknowledged, and nothing of it performed."""

    def wrote(self, worker: "PartitionWorker", lines: Sequence[Line]) -> None:
        """These lines are durable now, numbered: who has them open sees them."""

    def call(self, worker: "PartitionWorker", delivery: Delivery) -> None:
        """Let the platform be called for this, sooner or later, by `begin_call`."""

    def called(self, worker: "PartitionWorker", delivery: Delivery) -> None:
        """The platform is called now; `receipt` says what it came to."""


class Partition(NamedTuple):
    """Which partition, and the worker process that takes it over on this machine.

    `outbox`: the channels whose lines its log keeps.
    """

    number: int
    worker: int
    store: Store
    machine: Clock
    outbox: frozenset[str]


class PartitionWorker:
    """One worker's ownership of one partition; `start` takes it over."""

    def __init__(
        self,
        partition: Partition,
        world: Around,
        *,
        build: Callable[[FlowActivated], Flow],
        egress: Callable[[int], Egress],
        calls_max: int,
    ) -> None:
        self.partition, self.number = partition.number, partition.worker
        self.standing = ""  # the event that is being stepped: who comes next reads it
        self._harmless: frozenset[str] | None = None  # events that kill nobody; None: none does
        self._world = world
        self.clock = HostClock(last_at_ms(partition.store), machine=partition.machine)
        self.pipeline = Pipeline(
            partition.store,
            egress=egress(self.clock.now_ms()),
            build=build,
            outbox=partition.outbox,
            stepping=self._steps,
        )
        self._runners = AllRunners(calls_max=calls_max, attempt=self.pipeline.attempt)
        self.taken: list[tuple[Taken, Post | None]] = []
        self.receipts: list[Called] = []
        self._in_hand: dict[str, None] = {}
        self.working: dict[str, RunnerRequest] = {}
        self.is_gone = False

    def start(self, flow: Flow, config: bytes, *, standing: str) -> None:
        """Recover, activate the flow, go on with what is pending.

        `standing`: the event at which the owner before died.
        """
        self._flow, self._config = flow, config
        found = None
        while found is None:
            try:
                now_ms = self.clock.now_ms()
                found = self.pipeline.recover(flow, config, now_ms=now_ms, standing=standing)
            except Unavailable:
                continue  # its parent starts it again
        self._put(found.requests)

    def _steps(self, event_id: str) -> None:
        """The event is about to be stepped; none is after the last.

        What kills a process comes from outside, or is a wake-up.
        """
        self.standing = event_id
        if event_id and self._harmless is not None and event_id not in self._harmless:
            self._world.steps(self)

    # ---- the pump ------------------------------------------------------------------------------

    def next_ms(self) -> int | None:
        """Log time at which there is something to do though nothing comes in."""
        woken_ms = self.pipeline.deadlines.next_ms()
        send_ms = self.pipeline.egress.next_ms(self.clock.now_ms())
        if woken_ms is None or send_ms is None:
            return send_ms if woken_ms is None else woken_ms
        return min(woken_ms, send_ms)

    def turn(self) -> bool:
        """One batch; False where there is nothing to do."""
        now_ms = self.clock.now_ms()
        if not self.taken and not self.receipts:
            due_ms = self.next_ms()
            if due_ms is None or due_ms > now_ms:
                return False
        taken, self.taken = self.taken[:BATCH_MAX], self.taken[BATCH_MAX:]
        called, self.receipts = self.receipts, []
        posts = [post for _, post in taken if post is not None]
        if posts:
            self._world.at(self, CrashPoint.BEFORE_APPEND)
        self._harmless = frozenset(item.append.event_id for item, post in taken if post is None)
        decided = self.pipeline.decide([item for item, _ in taken], called, now_ms=now_ms)
        self._harmless = None
        if decided.is_empty:
            return True
        if decided.batch.steps:
            self._world.at(self, CrashPoint.STEP_COMMIT)
        try:
            self.pipeline.commit(decided)
        except Unavailable:
            self._rolled_back(taken, called)
            return True
        self.pipeline.confirm(decided)
        self._world.durable(self, decided)
        if posts:
            self._world.at(self, CrashPoint.APPEND_ACK)
        for post in posts:
            self._world.acknowledged(self, post)
        self._world.at(self, CrashPoint.COMMIT_PERFORM)
        self._world.committed(self, decided)
        self._perform(decided)
        return True

    def _rolled_back(self, taken: list[tuple[Taken, Post | None]], called: list[Called]) -> None:
        """Nothing of the batch is durable: clients send again, the rest is kept."""
        self._world.not_taken(self)
        self.taken = [item for item in (*taken, *self.taken) if item[1] is None]
        self.receipts = called + self.receipts
        requests = None
        while requests is None:
            try:
                requests = self.pipeline.roll_back(
                    self._flow,
                    self._config,
                    taken=[item for item, _ in self.taken],
                    called=self.receipts,
                    in_hand=frozenset(self._in_hand),
                    now_ms=self.clock.now_ms(),
                )
            except Unavailable:
                continue
        self._put(requests)

    def _perform(self, decided: Decided) -> None:
        batch = decided.batch
        self._world.wrote(self, numbered(decided))
        for effect_id in (*batch.cancels, *batch.resolved):
            self._cancel(effect_id)
        if batch.requests:
            self._put(decided.requests)
        for delivery in decided.marked:
            self._in_hand[delivery.reply_id] = None
        for delivery in decided.marked:
            self._world.call(self, delivery)

    # ---- runners -------------------------------------------------------------------------------

    def _put(self, requests: Sequence[RunnerRequest]) -> None:
        self._begin(self._runners.put(requests, now_ms=self.clock.now_ms()))

    def _begin(self, begun: Started) -> None:
        for append in begun.ended:
            self.outcome(append)
        for request in begun.requests:
            self.working[request.effect_id] = request
            self._world.began(self, request)

    def _cancel(self, effect_id: str) -> None:
        begun = self._runners.cancel(effect_id, now_ms=self.clock.now_ms())
        if begun is not None:
            self._world.ended(self, self.working.pop(effect_id), outcome=None)
            self._begin(begun)

    def outcome(self, append: Append) -> None:
        """A runner is done: its outcome waits for the next batch."""
        self._world.at(self, CrashPoint.OUTCOME_APPEND)
        self.taken.append((Taken(append), None))

    def end(self, effect_id: str, outcome: Outcome | Literal["die"]) -> None:
        """The runner of a request comes back with this, or breaks its contract."""
        request = self.working.pop(effect_id, None)
        if request is None:
            return
        hop, now_ms = self._runners.of(request), self.clock.now_ms()
        if isinstance(outcome, ModelReplied | SkillDone):
            self._world.said(self, effect_id, text=outcome.text, is_all=True)
        if outcome == "die":
            append = hop.crashed(effect_id, RuntimeError("simulated"), now_ms=now_ms)
        else:
            append = hop.done(effect_id, outcome, now_ms=now_ms)
        self._world.ended(self, request, outcome=None if outcome == "die" else outcome)
        if append is not None:
            self.outcome(append)
        self._begin(Started(*hop.start(now_ms)))

    def says(self, effect_id: str, text: str) -> Frame | None:
        """A model has said this much: the frame to show, where one is due."""
        request = self.working.get(effect_id)
        if request is None:
            return None
        self._world.said(self, effect_id, text=text, is_all=False)
        hop, now_ms = self._runners.of(request), self.clock.now_ms()
        found = hop.said(effect_id, text, now_ms=now_ms)
        if not isinstance(found, Matched):
            return found
        del self.working[effect_id]
        self._world.ended(self, request, outcome=None)
        self.outcome(found.outcome)
        self._begin(Started(*hop.start(now_ms)))
        return None

    # ---- calls ---------------------------------------------------------------------------------

    def begin_call(self, delivery: Delivery) -> None:
        """Call the platform for a delivery whose mark is durable, if egress lets us."""
        self._world.at(self, CrashPoint.MARK_CALL)
        if self.pipeline.egress.called(delivery.reply_id, self.clock.now_ms()):
            self._world.called(self, delivery)
        else:
            self.receipt(Called(delivery.reply_id, None))

    def receipt(self, called: Called) -> None:
        """A call has ended."""
        self._in_hand.pop(called.reply_id, None)
        self.receipts.append(called)
