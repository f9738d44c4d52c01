"""The embedded host as a world: the real one, on SQLite, in this process, driven from outside.

Its event loop runs only while a stimulus is at work and until nothing moves any more; its clock is
the world's. A crash ends all of its tasks at a crash point, and the next process opens the file.
Faults that need several workers (zombies) do nothing; a move is a restart.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from engine import codec
from engine.crash_points import CrashPoint
from engine.effects import ModelRequest, RunnerRequest
from engine.errors import Refused, Unavailable
from engine.events import Outcome, Redriven
from engine.flow import Flow
from engine.session import Session
from streams import ingress
from streams.handed_over import in_a_persons_hands
from streams.ingress import Taken
from testkit import stimuli
from testkit.embedded_deaths import Deaths, Died
from testkit.embedded_parts import (
    Calls,
    FailingLog,
    ManualTime,
    PlatformChannel,
    Process,
)
from testkit.scene import OPERATOR, Message, Scene, last_words
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.machines import Disk, Machine
from testkit.simulator.platform import Platform
from testkit.stimuli import AnyStimulus
from testkit.worlds import Acknowledged, Asked, Began, Evidence, Fault, Rejected, Said, Seen, told

TRIES_MAX = 20
"""How often a platform hands one message over before the world gives up: a finding."""
QUIET_WITHIN_S = 30.0
ROUNDS_MAX = 1_000
WAKES_MAX = 1_000
LINES_MAX = 1_000_000


class EmbeddedWorld:
    """One run of `flow` over a file in `directory`. Close it, or use it as a context manager.

    `limit`: max requests and period ms of the account.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        script: Script,
        seed: int = 0,
        directory: Path,
        idempotent: bool = True,
        limit: tuple[int, int] | None = None,
    ) -> None:
        self.flow = flow
        self._limit = limit
        self._script = script
        self._scene = Scene(script)
        self._time = ManualTime()
        self._disk = Disk()
        self._platform = Platform(Random(seed), idempotent=idempotent)
        self._calls = Calls(self._began)
        self._seen: list[Seen] = []
        # Its chance is not the platform's: what the one decides changes nothing of the other.
        self._deaths = Deaths(Random(seed), dies=self._dies)
        self._resting_ms = self._time.now_ms
        self._broke_ms = self._time.now_ms  # the world's time after the last fault
        self._rested = False
        self._machine = Machine(self._time)
        self._path = directory / "world.db"
        self._channel = PlatformChannel(self._platform, self._time, seen=self._seen, limit=limit)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_unless_died)
        self._loop.run_until_complete(self._begin())
        self._loop.run_until_complete(self._settle())

    # ---- the World port ----------------------------------------------------------------------

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once."""
        self._rested = False
        self._loop.run_until_complete(self._act(stimulus))

    def rest(self) -> None:
        """No more faults: all requests end well, time passes until nobody waits for an answer."""
        self._deaths.clear()
        self._disk.fails = False
        self._platform.moods.clear()
        self._resting_ms = self._process.host.now_ms()
        self._loop.run_until_complete(self._come_to_rest())
        self._rested = True

    def evidence(self) -> Evidence:
        """What there is to judge so far; valid until the world is closed."""
        return Evidence(
            logs=(self._process.store,),
            seen=tuple(self._seen),
            flows={str(self.flow.ref): self.flow},
            idempotent=self._platform.idempotent,
            limit=self._limit,
            faults_end_ms=self._faults_end_ms() if self._rested else None,
            resting_ms=self._resting_ms if self._rested else None,
            rested_ms=self._process.host.now_ms() if self._rested else None,
            lines=partial(self._process.store.lines, after=0, limit=LINES_MAX),
        )

    def _faults_end_ms(self) -> int:
        """Log time after the last fault or user message."""
        return self._process.host.now_ms() - (self._time.now_ms - self._broke_ms)

    def close(self) -> None:
        """End the process and the loop."""
        self._loop.run_until_complete(self._process.bury())
        self._loop.close()

    def __enter__(self) -> "EmbeddedWorld":
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
        self._time.advance(self._time.now_ms + 1)  # what is due now comes after what happens now
        if not isinstance(stimulus, stimuli.QUIET):
            self._broke_ms = self._time.now_ms
        match stimulus:
            case stimuli.Say():
                message = self._scene.say(stimulus, now_ms=self._process.host.now_ms())
                self._seen.append(message.wrote)
                await self._hand_over(message)
            case stimuli.Again(j=j) if (repeated := self._scene.again(j)) is not None:
                await self._hand_over(repeated)
            case stimuli.Outcome() if self._calls.pending:
                self._end(stimulus)
            case stimuli.Frame():
                self._frame(stimulus)
            case stimuli.Late(i=i) if self._calls.ended:
                request = self._calls.ended[i % len(self._calls.ended)]
                late, seen = self._scene.late(request, now_ms=self._process.host.now_ms())
                self._seen += seen
                await self._submit(Taken(late))
            case stimuli.Wait(ms=ms):
                await self._wait(ms)
            case stimuli.Operator() | stimuli.Stop() | stimuli.Feedback():
                await self._ask(stimulus)
            case stimuli.Redrive(i=i):
                await self._redrive(i)
            case _:
                await self._fault(stimulus)
        self._process.wake()
        await self._settle()

    async def _fault(self, stimulus: AnyStimulus) -> None:
        match stimulus:
            case stimuli.Platform(how=how):
                self._platform.moods.append(how)
                self._note(f"the platform is {how}")
            case stimuli.Disk():
                self._disk.fails = True
                self._note("the next commit fails")
            case stimuli.Crash(point=point):
                self._deaths.armed.append(point)
            case stimuli.Move():
                self._note("restarted", new_owner=True)
                await self._restart()
            case stimuli.Skew(ms=ms):
                self._machine.jump(ms)
                self._note(f"the wall clock jumps by {ms} ms")
            case _:
                pass

    async def _ask(self, what: stimuli.Operator | stimuli.Stop | stimuli.Feedback) -> None:
        session = self._session(self._scene.session_of(what.user))
        if session is not None:
            now_ms = self._process.host.now_ms()
            taken, asked = self._scene.asked(what, session, seen=self._seen, now_ms=now_ms)
            self._seen.append(asked)
            if await self._may_be_asked(session):
                await self._submit(taken)
                self._told(asked)
            else:
                self._told(asked, Rejected)

    async def _may_be_asked(self, session: Session) -> bool:
        """Operators find who is in their hands: the host has a door of its own for them."""
        found = {one.session_id for one in await self._process.host.operator_sessions()}
        return session.id in found or not in_a_persons_hands(self.flow, session.state)

    async def _redrive(self, i: int) -> None:
        letters = self._process.store.dead_letters()
        if not letters:
            return
        letter, now_ms = letters[i % len(letters)], self._process.host.now_ms()
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
        self._seen.append(asked)
        self._deaths.from_outside.add(asked.event_id)
        await self._until_told(lambda: self._redriven(f"0:{letter.offset}"))
        self._told(asked)

    async def _redriven(self, number: str) -> None:
        with suppress(Refused):  # it was taken by the try before, whose answer was lost
            await self._process.host.redrive(number, operator=OPERATOR)

    def _told(
        self, asked: Asked, entry: type[Acknowledged] | type[Rejected] = Acknowledged
    ) -> None:
        self._seen.append(told(asked, entry, now_ms=self._process.host.now_ms()))

    async def _hand_over(self, message: Message) -> None:
        """The platform hands it over until it is told what became of it."""
        entry: type[Acknowledged] | type[Rejected] = Acknowledged
        try:
            ingress = self._scene.ingress
            incoming = message.incoming
            await self._submitted(lambda now_ms: ingress.message(incoming, now_ms=now_ms))
        except Refused:
            entry = Rejected
        self._seen.append(told(message.wrote, entry, now_ms=self._process.host.now_ms()))

    async def _submit(self, taken: Taken) -> None:
        await self._submitted(lambda now_ms: taken)

    async def _submitted(self, taken: Callable[[int], Taken]) -> None:
        await self._until_told(lambda: self._submits(taken))

    async def _submits(self, taken: Callable[[int], Taken]) -> None:
        host = self._process.host
        one = taken(host.now_ms())
        self._deaths.from_outside.add(one.append.event_id)
        await host.submit(one)

    async def _until_told(self, tries: Callable[[], Awaitable[None]]) -> None:
        """Until it is durable: who was not told tries again, with a new process where one died."""
        for _ in range(TRIES_MAX):
            try:
                await tries()
                return
            except Unavailable:
                await self._settle()
        raise AssertionError(f"nothing was taken in {TRIES_MAX} tries")

    def _end(self, how: stimuli.Outcome) -> None:
        requests = list(self._calls.pending.values())
        request = requests[how.i % len(requests)]
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
            now_ms = self._process.host.now_ms()
            self._seen += last_words(request.effect_id, outcome, now_ms=now_ms)
        self._calls.end(request.effect_id, outcome)

    def _frame(self, frame: stimuli.Frame) -> None:
        calls = [one for one in self._calls.pending.values() if isinstance(one, ModelRequest)]
        if calls:
            effect_id = calls[frame.i % len(calls)].effect_id
            text, now_ms = outcomes.half(self._script, frame.variant), self._process.host.now_ms()
            self._seen.append(Said(at_ms=now_ms, effect_id=effect_id, text=text))
            with suppress(Died):  # of the match in it: the process is replaced when all is quiet
                self._calls.shows[effect_id](text)

    # ---- time --------------------------------------------------------------------------------

    async def _wait(self, ms: int | None) -> None:
        if ms is not None:
            await self._pass(ms)
        elif (due_ms := self._due_ms()) is not None:
            await self._pass(max(0, due_ms - self._time.now_ms))

    async def _pass(self, ms: int) -> None:
        """Time passes, and what comes due meanwhile happens."""
        until_ms = self._time.now_ms + max(0, ms)
        for _ in range(WAKES_MAX):
            due_ms = self._due_ms()
            if due_ms is None or due_ms > until_ms:
                break
            await self._advance(due_ms)
        await self._advance(until_ms)

    async def _advance(self, to_ms: int) -> None:
        asleep = self._time.asleep
        self._time.advance(to_ms)
        if self._time.asleep < asleep:  # what made the platform slow ends here
            self._broke_ms = self._time.now_ms
        self._process.wake()
        await self._settle()

    def _due_ms(self) -> int | None:
        """The world's time at which something happens by itself."""
        due_ms, now_ms = self._process.next_ms(), self._time.now_ms
        if due_ms is not None:
            due_ms = max(now_ms, due_ms - self._process.host.now_ms() + now_ms)
        times = (due_ms, self._time.next_ms())
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    async def _settle(self) -> None:
        """Until nothing moves; who died is replaced."""
        quiet, until_s = 0, time.monotonic() + QUIET_WITHIN_S
        while quiet < 3:
            if self._process.is_dead:
                await self._restart()
            stuck = self._process.is_stuck
            await asyncio.sleep(0.001 if stuck else 0)
            quiet = quiet + 1 if self._process.is_quiet(self._time.asleep) else 0
            if time.monotonic() > until_s:
                raise AssertionError(f"the host is not quiet: {self._process.host.fault}")

    async def _come_to_rest(self) -> None:
        for _ in range(ROUNDS_MAX):
            await self._settle()
            if self._calls.pending:
                request = next(iter(self._calls.pending.values()))
                self._ends(request, outcomes.good(self._script, request))
                continue
            due_ms = self._due_ms()
            if due_ms is None or not self._is_awaited():
                return
            await self._advance(due_ms)
        raise AssertionError(f"the world has not come to rest after {ROUNDS_MAX} rounds")

    def _is_awaited(self) -> bool:
        """Whether somebody awaits an answer, or a reply is on its way."""
        store = self._process.store
        if store.undelivered() or self._time.asleep:
            return True
        values = (value for _, value in store.sessions(limit=1_000_000))
        return any(_waits(codec.decode_session(value)) for value in values)

    # ---- processes ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        """A process that cannot write its log ends, and its parent starts the next one.

        So does the parent of one that died while it began.
        """
        while True:
            self._process = Process(
                FailingLog(self._path, self._disk),
                self.flow,
                machine=self._machine,
                calls=self._calls,
                channel=self._channel,
                ingress=self._scene.ingress,
            )
            try:
                await self._process.start(self._deaths)
                return
            except (Unavailable, Died):
                await self._forget()

    async def _restart(self) -> None:
        before_ms = self._process.host.now_ms()
        await self._forget()
        await self._begin()
        if (jumped_ms := self._process.host.now_ms() - before_ms) > 0:
            self._note("the clock of the next process is ahead", lasted_ms=jumped_ms)

    async def _forget(self) -> None:
        await self._process.bury()
        self._calls.pending.clear()
        self._time.forget()

    def _dies(self, point: CrashPoint) -> None:
        self._broke_ms = self._time.now_ms
        death = Fault(
            at_ms=self._process.host.now_ms(),
            what="the process died",
            point=point.value,
            standing=self._deaths.standing,
            new_owner=True,
        )
        self._seen.append(death)
        self._process.kill()

    def _note(self, what: str, *, new_owner: bool = False, lasted_ms: int = 0) -> None:
        self._broke_ms = self._time.now_ms
        at_ms = self._process.host.now_ms()
        fault = Fault(at_ms=at_ms, what=what, new_owner=new_owner, lasted_ms=lasted_ms)
        self._seen.append(fault)

    def _began(self, request: RunnerRequest) -> None:
        self._seen.append(Began(at_ms=self._process.host.now_ms(), request=request))

    def _session(self, session_id: str) -> Session | None:
        value = self._process.store.get(session_id)
        return None if value is None else codec.decode_session(value)


def _waits(session: Session) -> bool:
    awaits = any(pending.kind != "timer" for pending in session.pending)
    return awaits or bool(session.unanswered or session.postponed)


def _unless_died(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that died with its process has nothing to say."""
    if not isinstance(context.get("exception"), Died):
        loop.default_exception_handler(context)
