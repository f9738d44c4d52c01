"""The simulated world: stimuli in, evidence out. `Simulator` is a `testkit.worlds.World`.

`act` lets one stimulus happen and all that follows at once; `rest` ends the faults and lets pending
work end. Which index means what is decided here, and nothing else is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Literal

from engine import codec
from engine.effects import ModelRequest, RunnerRequest
from engine.events import ModelReplied, Outcome, SkillDone
from engine.flow import Flow
from engine.ids import session_of
from engine.session import Session
from streams.runners import Runners
from streams.sessions import first_due
from testkit import stimuli
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.cluster import Cluster
from testkit.simulator.people import People
from testkit.simulator.platform import Platform
from testkit.simulator.setup import Setup
from testkit.simulator.worker import PartitionWorker
from testkit.stimuli import AnyStimulus
from testkit.worlds import NOWHERE, Evidence, Received, Shown

HELD = 0.25
"""How often what came in waits for what comes next, so that both are one batch."""
LATE_WAKE = 0.25
LATE_WAKE_MS = 1_000
"""How often timers that are due are overtaken by what comes next, and by how much if by a little;
as often, all that were due in a wait are."""
WAIT_MS_MAX = 40 * 24 * 3_600_000
WAKES_MAX = 1_000
"""Things that come due within one wait, one by one; beyond it time passes at once."""
ROUNDS_MAX = 1_000

JOINS = (stimuli.Say, stimuli.Again, stimuli.Late)
"""What needs to know of nothing that came before it, and so may be one batch with it."""
INBOUND = (
    stimuli.Say,
    stimuli.Again,
    stimuli.Late,
    stimuli.Stop,
    stimuli.Operator,
    stimuli.Feedback,
    stimuli.Redrive,
)


@dataclass
class Simulator:
    """Several workers over partitions, one IM platform, one seed. Used once.

    `limit`: max requests and period ms of each account. `punctual`: nothing ever waits for what
    comes next, so that without faults there is no chance in it. `versions`: flows that were active
    before `flow`, oldest first: each take-over of a partition goes on to the next. `outbox`: the
    logs keep people's lines, as for web chat, and people have pages that read them. `act` raises
    nothing for what a flow does; an exception of a hop itself goes through, since none ever raises.
    """

    flow: Flow
    script: Script = field(default_factory=Script)
    seed: int = 0
    partitions: int = 2
    workers: int = 2
    idempotent: bool = True
    limit: tuple[int, int] | None = None
    versions: tuple[Flow, ...] = ()
    calls_max: int = 2
    punctual: bool = False
    outbox: bool = False

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)
        setup = Setup(
            flows=(*self.versions, self.flow),
            partitions=self.partitions,
            workers=self.workers,
            limit=self.limit,
            calls_max=self.calls_max,
            outbox=self.outbox,
        )
        self._platform = Platform(self._rng, idempotent=self.idempotent)
        self.cluster = Cluster(setup, self._rng, platform=self._platform)
        self._people = People(self.script, self.cluster, shows_lines=self.outbox)
        self._held = False
        self._resting_ms: int | None = None
        self._rested_ms: int | None = None

    # ---- World ---------------------------------------------------------------------------------

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once; what comes in may wait for the next."""
        is_inbound = isinstance(stimulus, INBOUND)
        if self._held and not isinstance(stimulus, JOINS):
            self._flush()
        self._begins([stimulus])
        self._happens(stimulus)
        if is_inbound and not self.punctual and self._rng.random() < HELD:
            self._held = True
        elif not (isinstance(stimulus, stimuli.Wait) and self._held):
            self._flush()

    def act_at_once(self, many: list[AnyStimulus]) -> None:
        """Let all of these happen before anything follows: one batch, as under load."""
        self._begins(many)
        for stimulus in many:
            self._happens(stimulus)
        self._flush()

    def _begins(self, many: Sequence[AnyStimulus]) -> None:
        self._rested_ms = self._resting_ms = None
        cluster = self.cluster
        cluster.advance(cluster.time.now_ms + 1)
        cluster.pages.cuts = True
        cluster.come_back()
        if not all(isinstance(stimulus, stimuli.QUIET) for stimulus in many):
            cluster.broke_ms = cluster.time.now_ms

    def rest(self) -> None:
        """No more faults: work ends well, and time passes while anything is waited for.

        Raises AssertionError where that does not end: a world that never rests is a finding.
        """
        cluster = self.cluster
        cluster.armed.clear()
        cluster.disk.fails = False
        self._platform.moods.clear()
        cluster.pages.cuts = False
        self._flush()
        cluster.come_back()
        self._resting_ms = self._log_ms()
        for _ in range(ROUNDS_MAX):
            cluster.pump()
            if cluster.pending:
                request = next(iter(cluster.pending.values()))
                self._end(request, outcomes.good(self.script, request))
                continue
            due_ms = self._awaited_ms()
            if due_ms is None:
                self._rested_ms = self._log_ms()
                return
            self._pass(due_ms - 1)
            cluster.advance(due_ms)
        raise AssertionError(f"the world has not come to rest after {ROUNDS_MAX} rounds")

    def evidence(self) -> Evidence:
        """What clients, the platform and the logs can tell so far."""
        self._flush()
        return Evidence(
            logs=self.cluster.logs,
            seen=self.cluster.seen,
            flows={str(flow.ref): flow for flow in (*self.versions, self.flow)},
            idempotent=self.idempotent,
            limit=self.limit,
            outbox=self.outbox,
            faults_end_ms=None if self._rested_ms is None else self._faults_end_ms(),
            resting_ms=self._resting_ms,
            rested_ms=self._rested_ms,
        )

    def _flush(self) -> None:
        self._held = False
        self.cluster.pump()

    def _faults_end_ms(self) -> int:
        """Log time after the last fault or user message, by the clock that is ahead.

        Owners' clocks go on evenly since then: a new owner would be a fault.
        """
        cluster = self.cluster
        return self._log_ms() - (cluster.time.now_ms - cluster.broke_ms)

    def _log_ms(self) -> int:
        return max(self.cluster.log_ms(number) for number in range(self.partitions))

    # ---- one stimulus --------------------------------------------------------------------------

    def _happens(self, stimulus: AnyStimulus) -> None:
        cluster = self.cluster
        match stimulus:
            case stimuli.Say():
                self._people.say(stimulus)
            case stimuli.Outcome():
                self._ends(stimulus)
            case stimuli.Frame(i=i, variant=variant):
                self._frame(i, variant)
            case stimuli.Late(i=i):
                self._late(i)
            case stimuli.Wait(ms=ms):
                self._wait(ms)
            case stimuli.Again(j=j):
                self._people.again(j)
            case stimuli.Stop() | stimuli.Operator() | stimuli.Feedback():
                self._people.ask(stimulus, self._last_reply(stimulus.user))
            case stimuli.Redrive(i=i):
                self._people.redrive(i)
            case stimuli.Platform(how=how):
                self._platform.moods.append(how)
            case stimuli.Disk():
                cluster.disk.fails = True
            case stimuli.Crash(point=point):
                cluster.armed.crashes.append(point)
            case stimuli.Skew(i=i, ms=ms):
                cluster.machines[i % self.workers].jump(ms)
                # Who owns a partition has read it; the next who takes one over will.
                cluster.fault(NOWHERE, f"a wall clock jumps by {ms} ms")
            case stimuli.Move(i=i):
                cluster.move(i % self.partitions, why="moved")
            case stimuli.Zombie(i=i):
                self._zombie(i % self.partitions)

    def _zombie(self, number: int) -> None:
        """The owner loses its partition at once, or between its next mark and the call."""
        if self._rng.random() < 0.5:
            self.cluster.armed.zombies[number] = None
        else:
            self.cluster.move(number, why="moved, and not noticed", leaves_zombie=True)

    def _last_reply(self, user: int) -> str:
        session_id = self._people.session_of(user % self.script.users)
        for entry in reversed(self.cluster.seen):
            if isinstance(entry, Received) and entry.session_id == session_id:
                return entry.reply_id
        return ""

    # ---- runners -------------------------------------------------------------------------------

    def _workers_of(self, effect_id: str) -> list[PartitionWorker]:
        """All who work on a request: those who lost it without knowing, and then its owner."""
        here = self._people.partition_in(session_of(effect_id))
        zombies = [one for one in self.cluster.zombies if one.partition == here]
        return [*zombies, self.cluster.owners[here]]

    def _ends(self, ended: stimuli.Outcome) -> None:
        pending = list(self.cluster.pending.values())
        if not pending:
            return
        request = pending[ended.i % len(pending)]
        match ended.how:
            case "ok":
                self._end(request, outcomes.said(self.script, request, variant=ended.variant))
            case "fail":
                self._end(request, outcomes.failed(request, ended.variant))
            case "die":
                self._end(request, "die")

    def _end(self, request: RunnerRequest, outcome: Outcome | Literal["die"]) -> None:
        for worker in self._workers_of(request.effect_id):
            self.cluster.run(worker, partial(worker.end, request.effect_id, outcome))

    def _frame(self, i: int, variant: int) -> None:
        """A model says half of its text; the frames of all who work on it go to one owner.

        Who has lost the partition goes on with calls that an owner after it has ended, too.
        """
        worked_on = dict(self.cluster.pending)
        for zombie in self.cluster.zombies:
            worked_on = {**zombie.working, **worked_on}
        calls = [one for one in worked_on.values() if isinstance(one, ModelRequest)]
        if not calls:
            return
        effect_id, text = calls[i % len(calls)].effect_id, outcomes.half(self.script, variant)
        for worker in self._workers_of(effect_id):
            self.cluster.run(worker, partial(self._says, worker, effect_id, text))

    def _says(self, worker: PartitionWorker, effect_id: str, text: str) -> None:
        frame = worker.says(effect_id, text)
        owner = self.cluster.owners[worker.partition]
        if frame is None or not owner.pipeline.egress.open_replies.show(frame):
            return
        shown = Shown(
            at_ms=owner.clock.now_ms(),
            session_id=frame.session_id,
            reply_id=frame.reply_id,
            attempt=frame.attempt,
            n=frame.n,
            text=frame.text,
            watermark=self.cluster.logs[worker.partition].watermark(0),
        )
        self.cluster.seen.append(shown)

    def _late(self, i: int) -> None:
        """The outcome of a request that has ended arrives, whether it came before or not."""
        ended = self.cluster.finished
        if not ended:
            return
        request, outcome = ended[i % len(ended)]
        number = self._people.partition_in(request.session_id)
        owner = self.cluster.owners[number]
        # Another runner did it, too: what it says goes through a hop of its own.
        hop = Runners("late", calls_max=1)
        hop.put(request)
        hop.start(0)
        body = outcome or outcomes.said(self.script, request, variant=i)
        append = hop.done(request.effect_id, body, now_ms=owner.clock.now_ms())
        if append is None:
            return
        what, effect_id = "an outcome arrives late or twice", request.effect_id
        self.cluster.fault(number, what, effect=effect_id)
        if isinstance(body, ModelReplied | SkillDone):
            self.cluster.said(owner, effect_id, text=body.text, is_all=True)
        self.cluster.run(owner, partial(owner.outcome, append))

    # ---- time ----------------------------------------------------------------------------------

    def _wait(self, ms: int | None) -> None:
        cluster = self.cluster
        if ms is None:
            due_ms = cluster.next_due_ms()
            if due_ms is not None:
                cluster.advance(due_ms)
            return
        end_ms = cluster.time.now_ms + max(0, min(ms, WAIT_MS_MAX))
        is_late = not self.punctual and self._rng.random() < LATE_WAKE
        woken_ms = end_ms
        if is_late:  # by a little, or because nobody was there all that time
            woken_ms -= self._rng.choice((LATE_WAKE_MS, WAIT_MS_MAX))
        self._pass(woken_ms)
        cluster.advance(end_ms)
        self._overdue()
        self._held = is_late

    def _pass(self, until_ms: int) -> None:
        """What comes due until then happens in its time, one by one."""
        for _ in range(WAKES_MAX):
            due_ms = self.cluster.next_due_ms()
            if due_ms is None or due_ms > until_ms:
                return
            self.cluster.advance(due_ms)
            self.cluster.pump()

    def _overdue(self) -> None:
        """What nobody woke up for in a wait was a fault for as long."""
        for number, owner in enumerate(self.cluster.owners):
            due_ms, now_ms = owner.next_ms(), owner.clock.now_ms()
            if due_ms is not None and due_ms < now_ms:
                self.cluster.fault(number, "timers wake nobody", lasted_ms=now_ms - due_ms)

    def _awaited_ms(self) -> int | None:
        """When the next thing comes that somebody waits for; None: only idle timers are left."""
        cluster = self.cluster
        due = [cluster.next_due_ms(with_timers=False)]
        for number, log in enumerate(cluster.logs):
            ahead_ms = cluster.log_ms(number) - cluster.time.now_ms
            for row in log.waiting():
                session = codec.decode_session(row.value)
                due_ms = first_due(session.pending)
                wakes_ms = cluster.owners[number].pipeline.deadlines.wakes_ms(session.id)
                if wakes_ms is not None and not (_is_at_rest(session) and wakes_ms == due_ms):
                    due.append(max(cluster.time.now_ms, wakes_ms - ahead_ms))
        return min((at_ms for at_ms in due if at_ms is not None), default=None)


def _is_at_rest(session: Session) -> bool:
    """Nobody waits for an answer; what is pending are the timers of a state that may last."""
    if session.unanswered or session.postponed:
        return False
    return all(pending.kind == "timer" for pending in session.pending)
