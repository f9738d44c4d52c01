"""The simulated cluster: which worker has which partition, and what happens between them.

Around `testkit.simulator.worker`: takes partitions over, lets workers die where a crash is armed,
keeps what lost its partition going until it is fenced, and runs all of them until nothing moves.
It keeps what was seen, and decides nothing that a hop decides.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random

from engine import codec
from engine.crash_points import CrashPoint
from engine.effects import RunnerRequest
from engine.errors import Conflict, Refused
from engine.events import FlowActivated, Outcome
from engine.flow import Flow
from engine.ports import Delivery, Line
from engine.session import Session
from streams.egress import Account, Egress
from streams.embedded.pipeline import Called, Decided
from streams.limiter import Limiter
from testkit.simulator.machines import Disk, Machine, SimulatedLog, Time
from testkit.simulator.pages import Pages
from testkit.simulator.platform import Answer, Platform, Post, reached
from testkit.simulator.setup import Armed, Setup
from testkit.simulator.worker import Died, Partition, PartitionWorker
from testkit.worlds import Acknowledged, Began, Fault, Received, Rejected, Said, Seen, told
from testkit.worlds import Called as CalledPlatform

CHANNEL = "sim"
ACCOUNT = "bot"
TURNS_MAX = 10_000
"""Batches until nothing moves: more is a world that goes round in circles."""
ENDED_KEPT = 256
"""Requests that have ended, and may be answered once more."""


class Cluster:
    """All workers, and the platform that they serve."""

    def __init__(self, setup: Setup, rng: Random, *, platform: Platform) -> None:
        self.time = Time()
        self.disk = Disk()
        self.armed = Armed()
        self.platform = platform
        self.seen: list[Seen] = []
        self.pending: dict[str, RunnerRequest] = {}
        self.finished: deque[tuple[RunnerRequest, Outcome | None]] = deque(maxlen=ENDED_KEPT)
        self.faults = 0
        self.broke_ms = self.time.now_ms  # the world's time after the last fault
        self._setup = setup
        self._rng = rng
        self._flows = {str(flow.ref): flow for flow in setup.flows}
        self.machines = [Machine(self.time) for _ in range(setup.workers)]
        self.logs = [SimulatedLog(self.disk) for _ in range(setup.partitions)]
        self.zombies: list[PartitionWorker] = []
        self._later: list[tuple[int, int, PartitionWorker, Delivery | Called]] = []
        self._numbers = count()
        self._owners_before = [0] * setup.partitions
        self.pages = Pages(self.logs, rng, seen=self.seen)
        self._unwoken: dict[str, int] = {}  # sessions whose wake-up was set aside, and since when
        numbers = range(setup.partitions)
        self.owners = [self._worker(number, number % setup.workers) for number in numbers]
        for owner in self.owners:
            self._start(owner, standing="")

    # ---- who owns what -------------------------------------------------------------------------

    def log_ms(self, partition: int) -> int:
        """Log time there, by its owner's clock."""
        return self.owners[partition].clock.now_ms()

    def session(self, number: int, session_id: str) -> Session | None:
        """A session as it is durable."""
        value = self.logs[number].get(session_id)
        return None if value is None else codec.decode_session(value)

    def move(self, number: int, *, why: str, leaves_zombie: bool = False) -> None:
        """The next worker takes the partition over from its owner, who is not told."""
        old = self.owners[number]
        self._broke(number, Fault(at_ms=0, what=why, new_owner=True))
        if leaves_zombie:
            self.zombies.append(old)
        else:
            old.is_gone = True
        self._hand_to_next(number)

    def fault(self, number: int, what: str, *, lasted_ms: int = 0, effect: str = "") -> None:
        """Something breaks, or has been broken for so long. `effect`: whose outcome comes late."""
        self._broke(number, Fault(at_ms=0, what=what, lasted_ms=lasted_ms, effect=effect))

    def _broke(self, number: int, fault: Fault) -> None:
        self.faults += 1
        self.broke_ms = self.time.now_ms
        self.seen.append(replace(fault, at_ms=self.log_ms(max(number, 0)), partition=number))

    def _hand_to_next(self, number: int) -> None:
        old, before_ms = self.owners[number], self.log_ms(number)
        self._owners_before[number] += 1
        self.platform.take_back(number)
        self.pages.lose(number)
        new = self._worker(number, (old.number + 1) % self._setup.workers)
        self.owners[number] = new
        if (jumped_ms := self.log_ms(number) - before_ms) > 0:
            self.fault(number, "the new owner's clock is ahead", lasted_ms=jumped_ms)
        self._start(new, standing=old.standing)
        here = self.owners[number]
        stale = [
            effect_id
            for effect_id in old.working
            if effect_id in self.pending and effect_id not in here.working
        ]
        for effect_id in stale:
            del self.pending[effect_id]

    def _worker(self, number: int, worker: int) -> PartitionWorker:
        outbox = frozenset([CHANNEL] if self._setup.outbox else [])
        partition = Partition(number, worker, self.logs[number], self.machines[worker], outbox)
        return PartitionWorker(
            partition,
            self,
            build=self._build,
            egress=partial(self._egress, number),
            calls_max=self._setup.calls_max,
        )

    def _start(self, worker: PartitionWorker, *, standing: str) -> None:
        flows = self._setup.flows
        flow = flows[min(self._owners_before[worker.partition], len(flows) - 1)]
        config: bytes = getattr(flow, "config_bytes", b"{}")
        self.run(worker, lambda: worker.start(flow, config, standing=standing))

    def _build(self, body: FlowActivated) -> Flow:
        flow = self._flows.get(str(body.flow))
        if flow is None:
            raise Refused(f"flow {body.flow} is not in this world")
        return flow

    def _egress(self, number: int, now_ms: int) -> Egress:
        limit, limiter = self._setup.limit, None
        if limit is not None:
            limiter = Limiter.of_new_owner(limit[0], period_ms=limit[1], now_ms=now_ms)
        account = Account(idempotent=self.platform.idempotent, limiter=limiter)
        return Egress(
            {(CHANNEL, account_of(number)): account},
            delivery=self.logs[number].delivery,
            jitter=self._rng.random,
        )

    # ---- running them --------------------------------------------------------------------------

    def pump(self) -> None:
        """Let all of them work until nothing moves. Raises AssertionError where that never is."""
        for _ in range(TURNS_MAX):
            moved = self._hand_over()
            for worker in (*self.zombies, *self.owners):
                if not worker.is_gone and self.run(worker, worker.turn):
                    moved = True
            if not moved:
                return
        raise AssertionError(f"the workers have not come to rest after {TURNS_MAX} batches")

    def run(self, worker: PartitionWorker, work: Callable[[], bool | None]) -> bool:
        """Whether it did something: dying of it and being fenced count."""
        try:
            return work() is not False
        except Died as died:
            self._die(died)
        except Conflict:
            worker.is_gone = True
            if worker in self.zombies:
                self.zombies.remove(worker)
            else:
                fenced = Fault(at_ms=0, what="the owner itself was fenced", new_owner=True)
                self._broke(worker.partition, fenced)
                self._hand_to_next(worker.partition)
        return True

    def _die(self, died: Died) -> None:
        """The process ends, with all that it owned and all that it believed to own."""
        lost = [owner for owner in self.owners if owner.number == died.number]
        for worker in (*lost, *self.zombies):
            if worker.number == died.number:
                worker.is_gone = True
        self.zombies = [zombie for zombie in self.zombies if not zombie.is_gone]
        for worker in lost:
            death = Fault(
                at_ms=0,
                what=f"worker {died.number} died",
                point=died.point.value,
                standing=worker.standing,
                new_owner=True,
            )
            self._broke(worker.partition, death)
        for worker in lost:
            if self.owners[worker.partition] is worker:
                self._hand_to_next(worker.partition)

    def _hand_over(self) -> bool:
        posts = self.platform.hand_over()
        for post in posts:
            owner = self.owners[post.partition]
            try:
                taken = post.taken(now_ms=owner.clock.now_ms())
            except Refused:
                self.platform.done(post)
                self._tell(post, Rejected)
            else:
                line = taken.line
                if line and self.logs[post.partition].has_line(line.session_id, line.id):
                    self.acknowledged(owner, post)  # as the host: what is a line is not taken again
                else:
                    owner.taken.append((taken, post))
        return bool(posts)

    def come_back(self) -> None:
        """Pages without a connection connect to the owners of their partitions."""
        self.pages.come_back([self.log_ms(number) for number in range(self._setup.partitions)])

    # ---- time ----------------------------------------------------------------------------------

    def next_due_ms(self, *, with_timers: bool = True) -> int | None:
        """The world's time at which something happens by itself; None: never.

        `with_timers`: sessions' own deadlines too.
        """
        now_ms = self.time.now_ms
        due = [self._later[0][0]] if self._later else []
        for worker in (*self.zombies, *self.owners):
            log_ms = worker.clock.now_ms()
            at_ms = worker.next_ms() if with_timers else worker.pipeline.egress.next_ms(log_ms)
            if at_ms is not None:
                due.append(at_ms - log_ms + now_ms)
        return max(now_ms, min(due)) if due else None

    def advance(self, to_ms: int) -> None:
        """Time passes; calls that are due begin or end."""
        self.time.now_ms = max(self.time.now_ms, to_ms)
        while self._later and self._later[0][0] <= self.time.now_ms:
            _, _, worker, what = heapq.heappop(self._later)
            if worker.is_gone:
                continue
            self.broke_ms = self.time.now_ms  # what made the platform slow ends here
            if isinstance(what, Called):
                worker.receipt(what)
            else:
                self.run(worker, partial(worker.begin_call, what))

    def _in(self, ms: int, worker: PartitionWorker, what: Delivery | Called) -> None:
        at_ms = self.time.now_ms + ms
        heapq.heappush(self._later, (at_ms, next(self._numbers), worker, what))

    # ---- what workers tell ---------------------------------------------------------------------

    def at(self, worker: PartitionWorker, point: CrashPoint) -> None:
        """Die here, if that is wanted. Raises Died."""
        if self.armed.crashes and point in self.armed.crashes:
            self.armed.crashes.remove(point)
            if point not in self.armed.crashes:
                self.armed.deadly = ""
            raise Died(worker.number, point)

    def steps(self, worker: PartitionWorker) -> None:
        """Half of those who are to die of a step die in the middle of it. Raises Died.

        Who steps the same event next dies of it, too, if more are to die: it is the event's doing.
        """
        point, armed = CrashPoint.STEP_COMMIT, self.armed
        if point not in armed.crashes or armed.deadly not in ("", worker.standing):
            return
        if armed.deadly or self._rng.random() < 0.5:
            armed.crashes.remove(point)
            armed.deadly = worker.standing if point in armed.crashes else ""
            raise Died(worker.number, point)

    def acknowledged(self, worker: PartitionWorker, post: Post) -> None:
        """The client hears it from its partition's owner only."""
        if self.owners[worker.partition] is not worker:
            return
        self.platform.done(post)
        self._tell(post, Acknowledged)

    def _tell(self, post: Post, entry: type[Acknowledged] | type[Rejected]) -> None:
        self.seen.append(told(post.sent, entry, now_ms=self.log_ms(post.partition)))

    def not_taken(self, worker: PartitionWorker) -> None:
        """What was handed over is handed over again."""
        self.fault(worker.partition, "a commit failed")
        if self.owners[worker.partition] is worker:
            self.platform.take_back(worker.partition)

    def began(self, worker: PartitionWorker, request: RunnerRequest) -> None:
        """It is pending until its owner is done with it."""
        fenced = self.owners[worker.partition] is not worker
        self.seen.append(Began(at_ms=worker.clock.now_ms(), request=request, fenced=fenced))
        if not fenced:
            self.pending.setdefault(request.effect_id, request)

    def said(self, worker: PartitionWorker, effect_id: str, *, text: str, is_all: bool) -> None:
        """For the judges only."""
        at_ms = worker.clock.now_ms()
        self.seen.append(Said(at_ms=at_ms, effect_id=effect_id, text=text, is_all=is_all))

    def ended(
        self, worker: PartitionWorker, request: RunnerRequest, *, outcome: Outcome | None
    ) -> None:
        """Its outcome may still come, or come again."""
        if self.owners[worker.partition] is worker:
            self.pending.pop(request.effect_id, None)
            self.finished.append((request, outcome))

    def durable(self, worker: PartitionWorker, decided: Decided) -> None:
        """A session whose wake-up was set aside has nobody who wakes it, until it is stepped."""
        for session_id, _ in decided.batch.unwoken:
            self._unwoken.setdefault(session_id, decided.at_ms)
        for session_id in [one for one in self._unwoken if one in decided.batch.stepped]:
            slept_ms = decided.at_ms - self._unwoken.pop(session_id)
            self.fault(worker.partition, "a wake-up was set aside", lasted_ms=slept_ms)

    def committed(self, worker: PartitionWorker, decided: Decided) -> None:
        """Where a zombie is wanted, it loses its partition between a mark and the call."""
        number = worker.partition
        if number in self.armed.zombies and decided.marked and self.owners[number] is worker:
            del self.armed.zombies[number]
            self.move(number, why="moved between mark and call", leaves_zombie=True)

    def wrote(self, worker: PartitionWorker, lines: Sequence[Line]) -> None:
        """Pages are connected to their partition's owner."""
        if self.owners[worker.partition] is worker:
            self.pages.wrote(lines, worker.clock.now_ms())

    def call(self, worker: PartitionWorker, delivery: Delivery) -> None:
        """Now, or when a connection is free; the worker may die before its turn has come."""
        late_ms = self.platform.begins_late_ms()
        if late_ms:
            self.fault(worker.partition, "a call begins late")
            self._in(late_ms, worker, delivery)
        else:
            worker.begin_call(delivery)

    def called(self, worker: PartitionWorker, delivery: Delivery) -> None:
        """The platform takes it, or not; the receipt comes now, later or never."""
        number, reply_id = worker.partition, delivery.reply_id
        mood = self.platform.mood()
        if mood:
            self.fault(number, f"the platform is {mood}")
        answer = self.platform.call(delivery, mood)
        self._saw(worker, delivery, answer=answer)
        self.at(worker, CrashPoint.CALL_RECEIPT)
        called = Called(reply_id, answer.outcome)
        if answer.late_ms:
            self._in(answer.late_ms, worker, called)
        else:
            worker.receipt(called)

    def _saw(self, worker: PartitionWorker, delivery: Delivery, *, answer: Answer) -> None:
        """What the platform and its user can tell of a call."""
        at_ms, text = worker.clock.now_ms(), delivery.text or ""
        session_id, reply_id = reached(delivery.address), delivery.reply_id
        durable = self.logs[worker.partition].delivery(reply_id)
        if durable is None:
            marked = False
        elif self.owners[worker.partition] is worker:
            marked = durable.state == "sending"
        else:  # the new owner may have ended the mark by which this one calls
            marked = durable.sending_ms is not None
        self.seen.append(
            CalledPlatform(
                at_ms=at_ms,
                session_id=session_id,
                reply_id=reply_id,
                text=text,
                took=answer.took,
                refused=answer.is_refused,
                marked=marked,
                watermark=self.logs[worker.partition].watermark(0),
                platform_ms=self.time.now_ms,
                fenced=self.owners[worker.partition] is not worker,
                unsaid=answer.is_unsaid,
            )
        )
        if answer.took and answer.is_new:
            received = Received(at_ms=at_ms, session_id=session_id, reply_id=reply_id, text=text)
            self.seen.append(received)


def account_of(partition: int) -> str:
    """An account's rate limit has one owner, so each partition serves an account of its own."""
    return f"{ACCOUNT}{partition}"
