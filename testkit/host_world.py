"""A world around a real host, whichever it is: the people, runners and time outside of it.

The base of `testkit.embedded` and `testkit.kafka_world`. The host's event loop runs only while a
stimulus is at work and until nothing moves any more; its time is the world's. What a host is made
of, how it dies and how it comes to be quiet, the two worlds say themselves.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from engine import codec
from engine.effects import ModelRequest, RunnerRequest
from engine.errors import Refused, Unavailable
from engine.events import Outcome, Redriven
from engine.flow import Flow
from engine.ports import Delivery
from engine.session import Session
from streams import ingress
from streams.handed_over import in_a_persons_hands
from streams.host_state import HandedOver
from streams.ingress import Taken
from testkit import stimuli
from testkit.embedded_deaths import Deaths, Died
from testkit.embedded_parts import ManualTime
from testkit.scene import OPERATOR, Message, Scene, last_words
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.platform import Platform
from testkit.stimuli import AnyStimulus
from testkit.worlds import (
    Acknowledged,
    Asked,
    Evidence,
    Logged,
    Rejected,
    Said,
    Seen,
    told,
)

TRIES_MAX = 20
"""How often something is handed over before the world gives up: a finding."""
ROUNDS_MAX = 1_000
WAKES_MAX = 1_000
SESSIONS_MAX = 1_000_000


class Calls(Protocol):
    """The requests that runners work on: each ends when it is told to."""

    ended: list[RunnerRequest]

    @property
    def pending(self) -> Sequence[RunnerRequest]:
        """What is worked on, the oldest first."""

    def end(self, effect_id: str, outcome: Outcome | Exception) -> None:
        """The runner comes back with this, or raises it."""

    def show(self, effect_id: str, text: str) -> None:
        """The model has said so much."""


class HostLog(Logged, Protocol):
    """What judges read, and what is on its way."""

    def undelivered(self) -> Sequence[Delivery]:
        """All that are queued or sending."""


class Door(Protocol):
    """What the world asks of the host."""

    async def submit(self, taken: Taken) -> None:
        """Durable on return."""

    async def redrive(self, number: str, *, operator: str) -> None:
        """A dead letter is taken again."""

    async def operator_sessions(self) -> Sequence[HandedOver]:
        """Who is in the operators' hands."""


class HostWorld(ABC):
    """One run of `flow`. Close it, or use it as a context manager.

    `limit`: max requests and period ms of the account.
    """

    _untold: ClassVar[tuple[type[BaseException], ...]] = (Unavailable,)
    """After these nobody knows whether it was taken: it is handed over again."""

    def __init__(
        self,
        flow: Flow,
        *,
        script: Script,
        seed: int,
        idempotent: bool,
        limit: tuple[int, int] | None,
    ) -> None:
        self.flow = flow
        self._limit = limit
        self._script = script
        self._scene = Scene(script)
        self._platform = Platform(Random(seed), idempotent=idempotent)
        self._resting_ms = 0
        self._rested = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._unheard)

    # ---- what a host is made of --------------------------------------------------------------

    _seen: list[Seen]
    _time: ManualTime
    _deaths: Deaths
    _calls: Calls
    _broke_ms: int
    """The world's time after the last fault."""

    @property
    @abstractmethod
    def _log(self) -> HostLog: ...

    @property
    @abstractmethod
    def _door(self) -> Door: ...

    @abstractmethod
    def _log_ms(self) -> int:
        """The log's time."""

    @abstractmethod
    def _door_ms(self) -> int:
        """The time of whoever takes messages in."""

    @abstractmethod
    def _runners_ms(self) -> int: ...

    @abstractmethod
    def _due_ms(self) -> int | None:
        """The world's time at which something happens by itself."""

    @abstractmethod
    async def _settle(self) -> None:
        """Until nothing moves; who died is replaced."""

    @abstractmethod
    async def _advance(self, to_ms: int) -> None:
        """It is this late now; until nothing moves."""

    @abstractmethod
    async def _after(self) -> None:
        """All that follows at once of a stimulus."""

    @abstractmethod
    async def _late(self, request: RunnerRequest) -> None:
        """Another runner did it, too: its outcome is in the log as any other's."""

    @abstractmethod
    async def _fault(self, stimulus: AnyStimulus) -> None: ...

    @abstractmethod
    def _mend(self) -> None:
        """Nothing of the host is broken any more."""

    @abstractmethod
    async def _end(self) -> None:
        """End all processes."""

    def _is_wanted(self, error: object) -> bool:
        """An error of a task that says nothing new: it died with its process."""
        return isinstance(error, Died)

    # ---- the World port ----------------------------------------------------------------------

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once."""
        self._rested = False
        self._loop.run_until_complete(self._act(stimulus))

    def rest(self) -> None:
        """No more faults: all requests end well, time passes until nobody waits for an answer."""
        self._deaths.clear()
        self._mend()
        self._platform.moods.clear()
        self._resting_ms = self._log_ms()
        self._loop.run_until_complete(self._come_to_rest())
        self._rested = True

    def evidence(self) -> Evidence:
        """What there is to judge so far; valid until the world is closed."""
        return Evidence(
            logs=(self._log,),
            seen=tuple(self._seen),
            flows={str(self.flow.ref): self.flow},
            idempotent=self._platform.idempotent,
            limit=self._limit,
            faults_end_ms=self._faults_end_ms() if self._rested else None,
            resting_ms=self._resting_ms if self._rested else None,
            rested_ms=self._log_ms() if self._rested else None,
        )

    def _faults_end_ms(self) -> int:
        """Log time after the last fault or user message."""
        return self._log_ms() - (self._time.now_ms - self._broke_ms)

    def close(self) -> None:
        """End all processes and the loop."""
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def __enter__(self) -> Self:
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
                message = self._scene.say(stimulus, now_ms=self._door_ms())
                self._seen.append(message.wrote)
                await self._hand_over(message)
            case stimuli.Again(j=j) if (repeated := self._scene.again(j)) is not None:
                await self._hand_over(repeated)
            case stimuli.Outcome() if pending := self._calls.pending:
                self._end_call(stimulus, pending[stimulus.i % len(pending)])
            case stimuli.Frame():
                self._frame(stimulus)
            case stimuli.Late(i=i) if ended := self._calls.ended:
                await self._late(ended[i % len(ended)])
            case stimuli.Wait(ms=ms):
                await self._wait(ms)
            case stimuli.Operator() | stimuli.Stop() | stimuli.Feedback():
                await self._ask(stimulus)
            case stimuli.Redrive(i=i):
                await self._redrive(i)
            case _:
                await self._fault(stimulus)
        await self._after()

    # ---- people ------------------------------------------------------------------------------

    async def _ask(self, what: stimuli.Operator | stimuli.Stop | stimuli.Feedback) -> None:
        session = self._session(self._scene.session_of(what.user))
        if session is None:
            return
        now_ms = self._door_ms()
        taken, asked = self._scene.asked(what, session, seen=self._seen, now_ms=now_ms)
        self._seen.append(asked)
        if await self._may_be_asked(session):
            await self._submitted(lambda now_ms: taken)
            self._told(asked)
        else:
            self._told(asked, Rejected)

    async def _may_be_asked(self, session: Session) -> bool:
        """Operators find who is in their hands: the host has a door of its own for them."""
        found = {one.session_id for one in await self._door.operator_sessions()}
        return session.id in found or not in_a_persons_hands(self.flow, session.state)

    async def _redrive(self, i: int) -> None:
        letters = self._log.dead_letters()
        if not letters:
            return
        letter, now_ms = letters[i % len(letters)], self._door_ms()
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
            await self._door.redrive(number, operator=OPERATOR)

    def _told(
        self, asked: Asked, entry: type[Acknowledged] | type[Rejected] = Acknowledged
    ) -> None:
        self._seen.append(told(asked, entry, now_ms=self._door_ms()))

    async def _hand_over(self, message: Message) -> None:
        """The platform hands it over until it is told what became of it."""
        entry: type[Acknowledged] | type[Rejected] = Acknowledged
        hop, incoming = self._scene.ingress, message.incoming
        try:
            await self._submitted(lambda now_ms: hop.message(incoming, now_ms=now_ms))
        except Refused:
            entry = Rejected
        self._seen.append(told(message.wrote, entry, now_ms=self._door_ms()))

    async def _submitted(self, taken: Callable[[int], Taken]) -> None:
        await self._until_told(lambda: self._submits(taken))

    async def _submits(self, taken: Callable[[int], Taken]) -> None:
        one = taken(self._door_ms())
        self._deaths.from_outside.add(one.append.event_id)
        await self._door.submit(one)

    async def _until_told(self, tries: Callable[[], Awaitable[None]]) -> None:
        """Until it is durable: who was not told tries again, with a new process where one died."""
        for _ in range(TRIES_MAX):
            try:
                await tries()
                return
            except self._untold:
                await self._settle()
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
            self._seen += last_words(request.effect_id, outcome, now_ms=now_ms)
        self._calls.end(request.effect_id, outcome)

    def _frame(self, frame: stimuli.Frame) -> None:
        calls = [one for one in self._calls.pending if isinstance(one, ModelRequest)]
        if calls:
            effect_id = calls[frame.i % len(calls)].effect_id
            text, now_ms = outcomes.half(self._script, frame.variant), self._runners_ms()
            self._seen.append(Said(at_ms=now_ms, effect_id=effect_id, text=text))
            with suppress(Died):  # of the match in it: the process is replaced when all is quiet
                self._calls.show(effect_id, text)

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
        if ms > 0:
            await self._advance(until_ms)

    async def _come_to_rest(self) -> None:
        for _ in range(ROUNDS_MAX):
            await self._settle()
            if pending := self._calls.pending:
                self._ends(pending[0], outcomes.good(self._script, pending[0]))
                continue
            due_ms = self._due_ms()
            if due_ms is None or not self._is_awaited():
                return
            await self._advance(due_ms)
        raise AssertionError(f"the world has not come to rest after {ROUNDS_MAX} rounds")

    def _is_awaited(self) -> bool:
        """Whether somebody awaits an answer, or a reply is on its way."""
        if self._log.undelivered() or self._time.asleep:
            return True
        values = (value for _, value in self._log.sessions(limit=SESSIONS_MAX))
        return any(_waits(codec.decode_session(value)) for value in values)

    def _session(self, session_id: str) -> Session | None:
        value = self._log.get(session_id)
        return None if value is None else codec.decode_session(value)

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._is_wanted(context.get("exception")):
            loop.default_exception_handler(context)


def _waits(session: Session) -> bool:
    awaits = any(pending.kind != "timer" for pending in session.pending)
    return awaits or bool(session.unanswered or session.postponed)
