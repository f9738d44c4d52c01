"""A cluster as a world: the roles of `streams.cluster` over a real broker, driven from outside.

Each role is a process of its own here, in one event loop that runs only while a stimulus is at
work and until nothing moves any more. What they write they write to the broker: events for real,
each step and each mark in a transaction of its partition's owner. A crash ends one process at a
crash point, and the next one recovers from the topics; a zombie goes on until the broker fences it.
What judges see is read back by a consumer of its own. `testkit.kafka_parts` says what is simulated.

Needs the extra `kafka` and brokers; nothing else of the kit imports this.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any

from adapters.kafka.clients import KafkaSettings
from engine import codec
from engine.effects import ModelRequest, RunnerRequest
from engine.errors import Refused, Unavailable
from engine.events import Outcome, Redriven
from engine.flow import Flow
from engine.session import Session
from streams import ingress
from streams.cluster.gateway import ClusterGateway
from streams.handed_over import in_a_persons_hands
from streams.ingress import Taken
from testkit import stimuli
from testkit.embedded_deaths import Died
from testkit.kafka_cluster import PROCESSES, KafkaCluster, Kind
from testkit.kafka_edges import ClockProcess, EgressProcess, IngressProcess
from testkit.kafka_processes import RunnersProcess, SessionsProcess
from testkit.scene import OPERATOR, Message, Scene, last_words
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.platform import Platform
from testkit.stimuli import AnyStimulus
from testkit.worlds import Acknowledged, Asked, Evidence, Rejected, Said, told

TRIES_MAX = 20
"""How often something is handed over before the world gives up: a finding."""
ROUNDS_MAX = 1_000
WAKES_MAX = 1_000
MOVES: tuple[Kind, ...] = (SessionsProcess, EgressProcess, RunnersProcess, ClockProcess)
"""Whose partition moves: the i-th, modulo their number."""


class KafkaWorld:
    """One run of `flow` on topics of its own. Close it, or use it as a context manager.

    `kafka`: where the brokers are, with a prefix that nobody else has. `limit`: max requests and
    period ms of the account.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        script: Script,
        kafka: KafkaSettings,
        seed: int = 0,
        idempotent: bool = True,
        limit: tuple[int, int] | None = None,
    ) -> None:
        self.flow = flow
        self._script = script
        self._limit = limit
        self._scene = Scene(script)
        self._rng = Random(seed)
        self._platform = Platform(Random(seed), idempotent=idempotent)
        self._rested = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_unless_wanted)
        self._cluster = KafkaCluster(
            kafka,
            flow,
            platform=self._platform,
            ingress=self._scene.ingress,
            seed=seed,
            limit=limit,
        )
        self._resting_ms = self._cluster.time.now_ms
        self._loop.run_until_complete(self._cluster.begin())

    # ---- the World port ----------------------------------------------------------------------

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once."""
        self._rested = False
        self._loop.run_until_complete(self._act(stimulus))

    def rest(self) -> None:
        """No more faults: all requests end well, time passes until nobody waits for an answer."""
        self._cluster.deaths.clear()
        self._cluster.disk.fails = self._cluster.zombie_at_call = False
        self._platform.moods.clear()
        self._resting_ms = self._cluster.log_ms()
        self._loop.run_until_complete(self._come_to_rest())
        self._rested = True

    def evidence(self) -> Evidence:
        """What there is to judge so far, as the topics have it."""
        return Evidence(
            logs=(self._cluster.log,),
            seen=tuple(self._cluster.seen),
            flows={str(self.flow.ref): self.flow},
            idempotent=self._platform.idempotent,
            limit=self._limit,
            faults_end_ms=self._faults_end_ms() if self._rested else None,
            resting_ms=self._resting_ms if self._rested else None,
            rested_ms=self._cluster.log_ms() if self._rested else None,
        )

    def _faults_end_ms(self) -> int:
        return self._cluster.log_ms() - (self._cluster.time.now_ms - self._cluster.broke_ms)

    def close(self) -> None:
        """End all processes and the loop. The topics stay."""
        self._loop.run_until_complete(self._cluster.end())
        self._loop.close()

    def __enter__(self) -> "KafkaWorld":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- one stimulus ------------------------------------------------------------------------

    async def _act(self, stimulus: AnyStimulus) -> None:
        self._cluster.time.advance(
            self._cluster.time.now_ms + 1
        )  # what is due now comes after what happens now
        if not isinstance(stimulus, stimuli.QUIET):
            self._cluster.broke_ms = self._cluster.time.now_ms
        match stimulus:
            case stimuli.Say():
                message = self._scene.say(stimulus, now_ms=self._gateway_ms())
                self._cluster.seen.append(message.wrote)
                await self._hand_over(message)
            case stimuli.Again(j=j) if (repeated := self._scene.again(j)) is not None:
                await self._hand_over(repeated)
            case stimuli.Outcome() if pending := self._cluster.calls.pending:
                self._end_call(stimulus, pending[stimulus.i % len(pending)])
            case stimuli.Frame():
                self._frame(stimulus)
            case stimuli.Late(i=i) if ended := self._cluster.calls.ended:
                await self._late(ended[i % len(ended)])
            case stimuli.Wait(ms=ms):
                await self._cluster.settle()
                await self._wait(ms)
            case stimuli.Operator() | stimuli.Stop() | stimuli.Feedback():
                await self._ask(stimulus)
            case stimuli.Redrive(i=i):
                await self._redrive(i)
            case _:
                await self._fault(stimulus)
        await self._cluster.settle()
        await self._pass(0)

    async def _fault(self, stimulus: AnyStimulus) -> None:
        match stimulus:
            case stimuli.Platform(how=how):
                self._platform.moods.append(how)
                self._cluster.note(f"the platform is {how}")
            case stimuli.Disk():
                self._cluster.disk.fails = True
                self._cluster.note("the next transaction fails")
            case stimuli.Crash(point=point):
                self._cluster.deaths.armed.append(point)
            case stimuli.Move(i=i):
                await self._cluster.move(MOVES[i % len(MOVES)], leaves_zombie=False)
            case stimuli.Zombie(i=i):
                await self._zombie(MOVES[i % len(MOVES)])
            case stimuli.Skew(i=i, ms=ms):
                self._cluster.jump(PROCESSES[i % len(PROCESSES)], ms)
                self._cluster.note(f"a wall clock jumps by {ms} ms")
            case _:
                pass

    async def _zombie(self, kind: Kind) -> None:
        """Egress loses its partition at once, or between its next mark and the call."""
        if kind is EgressProcess and self._rng.random() < 0.5:
            self._cluster.zombie_at_call = True
        else:
            await self._cluster.move(kind, leaves_zombie=True)

    # ---- people ------------------------------------------------------------------------------

    async def _ask(self, what: stimuli.Operator | stimuli.Stop | stimuli.Feedback) -> None:
        session = self._session(self._scene.session_of(what.user))
        if session is None:
            return
        now_ms = self._gateway_ms()
        taken, asked = self._scene.asked(what, session, seen=self._cluster.seen, now_ms=now_ms)
        self._cluster.seen.append(asked)
        if await self._may_be_asked(session):
            await self._until_told(lambda: self._submits(lambda now_ms: taken))
            self._told(asked)
        else:
            self._told(asked, Rejected)

    async def _may_be_asked(self, session: Session) -> bool:
        """Operators find who is in their hands: the gateway has a door of its own for them."""
        found = {one.session_id for one in await self._gateway.operator_sessions()}
        return session.id in found or not in_a_persons_hands(self.flow, session.state)

    async def _redrive(self, i: int) -> None:
        letters = self._cluster.log.dead_letters()
        if not letters:
            return
        letter, now_ms = letters[i % len(letters)], self._gateway_ms()
        try:
            taken = ingress.redriven(letter, operator=OPERATOR, now_ms=now_ms)
        except Refused:  # at once: nothing was asked for
            return
        again = codec.decode_event(taken.append.value)
        asked = Asked(
            at_ms=now_ms,
            event_id=again.id,
            session_id=letter.session_id,
            what=again.type,
            about=again.body.of if isinstance(again.body, Redriven) else "",
        )
        self._cluster.seen.append(asked)
        self._cluster.deaths.from_outside.add(asked.event_id)
        await self._until_told(lambda: self._redriven(f"0:{letter.offset}"))
        self._told(asked)

    async def _redriven(self, number: str) -> None:
        with suppress(Refused):  # it was taken by the try before, whose answer was lost
            await self._gateway.redrive(number, operator=OPERATOR)

    def _told(
        self, asked: Asked, entry: type[Acknowledged] | type[Rejected] = Acknowledged
    ) -> None:
        self._cluster.seen.append(told(asked, entry, now_ms=self._gateway_ms()))

    async def _hand_over(self, message: Message) -> None:
        """The platform hands it over until it is told what became of it."""
        entry: type[Acknowledged] | type[Rejected] = Acknowledged
        hop, incoming = self._scene.ingress, message.incoming
        try:
            await self._until_told(
                lambda: self._submits(lambda now_ms: hop.message(incoming, now_ms=now_ms))
            )
        except Refused:
            entry = Rejected
        self._cluster.seen.append(told(message.wrote, entry, now_ms=self._gateway_ms()))

    @property
    def _gateway(self) -> ClusterGateway:
        gateway = self._cluster.owners[IngressProcess]
        assert isinstance(gateway, IngressProcess)
        return gateway.gateway

    async def _submits(self, taken: Callable[[int], Taken]) -> None:
        one = taken(self._gateway_ms())
        self._cluster.deaths.from_outside.add(one.append.event_id)
        await self._gateway.submit(one)

    async def _until_told(self, tries: Callable[[], Awaitable[None]]) -> None:
        """Until it is durable: who was not told tries again, with a new gateway where one died."""
        for _ in range(TRIES_MAX):
            try:
                await tries()
                return
            except (Unavailable, Died):
                await self._cluster.settle()
        raise AssertionError(f"nothing was taken in {TRIES_MAX} tries")

    # ---- runners -----------------------------------------------------------------------------

    def _end_call(self, how: stimuli.Outcome, request: RunnerRequest) -> None:
        outcome: Outcome | Exception
        if how.how == "ok":
            outcome = outcomes.said(self._script, request, variant=how.variant)
        elif how.how == "fail":
            outcome = outcomes.failed(request, how.variant)
        else:
            outcome = RuntimeError("simulated")
        self._ends(request, outcome)

    def _ends(self, request: RunnerRequest, outcome: Outcome | Exception) -> None:
        if not isinstance(outcome, Exception):
            now_ms = self._runners_ms()
            self._cluster.seen += last_words(request.effect_id, outcome, now_ms=now_ms)
        self._cluster.calls.end(request.effect_id, outcome)

    def _frame(self, frame: stimuli.Frame) -> None:
        calls = [one for one in self._cluster.calls.pending if isinstance(one, ModelRequest)]
        if calls:
            effect_id = calls[frame.i % len(calls)].effect_id
            text, now_ms = outcomes.half(self._script, frame.variant), self._runners_ms()
            self._cluster.seen.append(Said(at_ms=now_ms, effect_id=effect_id, text=text))
            with suppress(Died):  # of the match in it: the process is replaced when all is quiet
                self._cluster.calls.show(effect_id, text)

    async def _late(self, request: RunnerRequest) -> None:
        """Another runner did it, too: its outcome is in the log as any other's."""
        late, seen = self._scene.late(request, now_ms=self._runners_ms())
        self._cluster.seen += seen
        await self._cluster.owners[RunnersProcess].appender.append(late)

    # ---- time --------------------------------------------------------------------------------

    def _gateway_ms(self) -> int:
        return self._cluster.owners[IngressProcess].now_ms()

    def _runners_ms(self) -> int:
        return self._cluster.owners[RunnersProcess].now_ms()

    async def _wait(self, ms: int | None) -> None:
        cluster = self._cluster
        if ms is not None:
            await self._pass(ms)
        elif (due_ms := cluster.due_ms()) is not None:
            await self._pass(max(0, due_ms - cluster.time.now_ms))

    async def _pass(self, ms: int) -> None:
        """Time passes, and what comes due meanwhile happens."""
        cluster = self._cluster
        until_ms = cluster.time.now_ms + max(0, ms)
        for _ in range(WAKES_MAX):
            due_ms = cluster.due_ms()
            if due_ms is None or due_ms > until_ms:
                break
            await cluster.advance(due_ms)
        if ms > 0:
            await cluster.advance(until_ms)

    async def _come_to_rest(self) -> None:
        cluster = self._cluster
        await cluster.bury_zombies()
        for _ in range(ROUNDS_MAX):
            await cluster.settle()
            if pending := cluster.calls.pending:
                self._ends(pending[0], outcomes.good(self._script, pending[0]))
                continue
            due_ms = cluster.due_ms()
            if due_ms is None or not self._is_awaited():
                return
            await cluster.advance(due_ms)
        raise AssertionError(f"the world has not come to rest after {ROUNDS_MAX} rounds")

    def _is_awaited(self) -> bool:
        """Whether somebody awaits an answer, or a reply is on its way."""
        log = self._cluster.log
        if log.undelivered() or self._cluster.time.asleep:
            return True
        values = (kept.value for kept in log.kept.values() if kept.value)
        return any(_waits(codec.decode_session(value)) for value in values)

    def _session(self, session_id: str) -> Session | None:
        value = self._cluster.log.get(session_id)
        return None if value is None else codec.decode_session(value)


def _waits(session: Session) -> bool:
    awaits = any(pending.kind != "timer" for pending in session.pending)
    return awaits or bool(session.unanswered or session.postponed)


def _unless_wanted(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that died with its process has nothing to say, nor has a producer that was fenced:
    its transaction has said it, and the client's own futures say it again."""
    error = context.get("exception")
    if not isinstance(error, Died) and type(error).__name__ != "ProducerFenced":
        loop.default_exception_handler(context)
