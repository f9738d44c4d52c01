"""Runs requests: the event loop around the runners hop, one task for each call.

Between the pump, which hands it durable requests and cancels, and the runners of `models/` and
`adapters/skills/`. Each request ends in one outcome event, given to `outcome`; frames go to `show`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from engine.effects import IntentRequest, ModelRequest, RunnerRequest, SkillRequest
from engine.events import Outcome
from engine.ports import Frame, IntentRunner, ModelRunner, SkillRunner
from streams.ingress import Taken
from streams.runners import AllRunners, Matched, Runners, Started, failure


class Performers:
    """All runners of one process.

    `attempt`: greater than that of any earlier process. `calls_max`: calls of one kind at once.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        attempt: int,
        calls_max: int,
        model: ModelRunner | None = None,
        skills: SkillRunner | None = None,
        intents: IntentRunner | None = None,
    ) -> None:
        self._now_ms = now_ms
        self._model = model
        self._skills = skills
        self._intents = intents
        self._runners = AllRunners(calls_max=calls_max, attempt=attempt)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._outcome: Callable[[Taken], None] = lambda taken: None
        self._show: Callable[[Frame], None] = lambda frame: None

    async def start(self, outcome: Callable[[Taken], None], show: Callable[[Frame], None]) -> None:
        """Make the runners ready. Raises Refused where one of them can never work."""
        self._outcome, self._show = outcome, show
        if self._model is not None:
            await self._model.start()
        if self._skills is not None:
            await self._skills.start()

    async def close(self) -> None:
        """Stop all work; what was not finished is in the log, and goes on at the next start."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        if self._model is not None:
            await self._model.close()
        if self._skills is not None:
            await self._skills.close()

    def begin_anew(self, attempt: int) -> None:
        """What starts from now on may have been worked on elsewhere before: its frames win."""
        self._runners.begin_anew(attempt)

    @property
    def in_flight(self) -> int:
        """Requests being worked on or waiting for it."""
        return self._runners.in_flight

    def put(self, requests: Sequence[RunnerRequest], *, now_ms: int) -> None:
        """Work on these; those already here are not started twice."""
        self._begin(self._runners.put(requests, now_ms=now_ms))

    def cancel(self, effect_id: str) -> None:
        """Nobody awaits it any more."""
        begun = self._runners.cancel(effect_id, now_ms=self._now_ms())
        if begun is not None:
            task = self._tasks.pop(effect_id, None)
            if task is not None:
                task.cancel()
            self._begin(begun)

    def _begin(self, begun: Started) -> None:
        for append in begun.ended:
            self._outcome(Taken(append))
        for request in begun.requests:
            task = asyncio.create_task(self._perform(self._runners.of(request), request))
            self._tasks[request.effect_id] = task

    async def _perform(self, hop: Runners, request: RunnerRequest) -> None:
        effect_id = request.effect_id
        try:
            outcome = await self._run(hop, request)
            append = hop.done(effect_id, outcome, now_ms=self._now_ms())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                return
            # Nobody cancelled this: something inside the runner ended itself.
            append = hop.crashed(effect_id, error, now_ms=self._now_ms())
        except Exception as error:  # the runner broke its contract; the session must not wait
            append = hop.crashed(effect_id, error, now_ms=self._now_ms())
        self._tasks.pop(effect_id, None)
        if append is not None:
            self._outcome(Taken(append))
        if hop.waiting:
            self._begin(Started(*hop.start(self._now_ms())))

    def _run(self, hop: Runners, request: RunnerRequest) -> Coroutine[None, None, Outcome]:
        match request:
            case ModelRequest() if self._model is not None:

                def show(text: str) -> None:
                    self._said(hop, request.effect_id, text)

                return self._model.run(request, show)
            case SkillRequest() if self._skills is not None:
                return self._skills.run(request, self._now_ms())
            case IntentRequest() if self._intents is not None:
                return self._intents.run(request)
            case _:
                return _nobody(request)

    def _said(self, hop: Runners, effect_id: str, text: str) -> None:
        found = hop.said(effect_id, text, now_ms=self._now_ms())
        if isinstance(found, Matched):
            task = self._tasks.pop(effect_id, None)
            if task is not None:
                task.cancel()
            self._outcome(Taken(found.outcome))
            self._begin(Started(*hop.start(self._now_ms())))
        elif found is not None:
            self._show(found)


async def _nobody(request: RunnerRequest) -> Outcome:
    return failure(request, "refused", detail="no runner for this is configured")
