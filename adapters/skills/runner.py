"""The SkillRunner port: skills in warm worker processes, each call bounded, each hang killed.

Between the runners hop, which hands it requests and appends the outcomes, and `crew.py`. A call is
killed at its deadline, or when its task is cancelled, and its worker is replaced in the background;
`spare` warm workers stand by, so that a call after many hanging ones finds one ready. What it never
does: raise for what a skill did, or put a word of a skill's text or exception into a detail.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from adapters.skills import wire
from adapters.skills.crew import Crew, Hand, WorkerDied
from adapters.skills.metadata import SkillCard
from engine.effects import SkillRequest
from engine.errors import InvalidRecord, Refused
from engine.events import FailureReason, MadeBy, SkillDone, SkillFailed

MODEL_MARGIN_S = 0.3
"""A model call ends this long before its skill is killed, so that the skill can do without."""

MODEL_TOKENS_MAX = 4_096
"""Of one model call of a skill, whatever it asks for."""

CallModel = Callable[[str, int, int], Awaitable[str]]
"""Asks the model: prompt, most new tokens, deadline (milliseconds since the epoch, UTC). What it
raises becomes `ModelUnavailable` inside the skill; it is cancelled with the skill's call."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SkillSettings:
    """`workers`: calls at once, 1 to 32. `spare`: warm processes beyond, 1 to 32.

    `limit_ms`: of one call, from its start, 100 to 600 000; a request may allow less. `own`: each
    skill's own settings by its entry, plain. `model_languages`: what the model speaks (`en`).
    """

    cards: tuple[SkillCard, ...]
    workers: int = 3
    spare: int = 2
    limit_ms: int = 30_000
    own: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    model_languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (("workers", 1, 32), ("spare", 1, 32), ("limit_ms", 100, 600_000)):
            if not low <= (found := getattr(self, name)) <= high:
                raise Refused(f"skills: {name} is {found}; allowed are {low} to {high}")


class SkillPool:
    """Performs skill requests in `workers + spare` processes, never more."""

    def __init__(self, settings: SkillSettings, model: CallModel | None = None) -> None:
        """Starts nothing. `model` None: a skill that asks is told that there is none."""
        self._settings = settings
        self._model = model
        self._cards = {card.name: card for card in settings.cards}
        self._own = {
            card.name: msgspec.json.encode(settings.own.get(card.source.entry, {}))
            for card in settings.cards
        }
        targets = {card.name: card.source.target for card in settings.cards}
        self._crew = Crew(targets, settings.workers + settings.spare)
        self._seats = asyncio.Semaphore(settings.workers)
        # Where there are several skills, one that hangs leaves a seat to the others.
        each = settings.workers if len(targets) == 1 else max(1, settings.workers - 1)
        self._lanes = {name: asyncio.Semaphore(each) for name in targets}
        self._calls = 0

    async def start(self) -> None:
        """Return when the first worker is warm. Raises Unavailable where none comes up."""
        if self._cards:
            await self._crew.start()

    async def close(self) -> None:
        """Kill every process; calls in hand end as `died`."""
        await self._crew.close()

    async def run(self, request: SkillRequest, now_ms: int) -> SkillDone | SkillFailed:
        """Run it, `now_ms` being the log's time; no longer than the request and `limit_ms` allow.

        Fails as `refused` (no such skill, or the skill refuses), `expired` (no worker became free
        in time), `timeout`, `died` or `error`.
        """
        card = self._cards.get(request.skill)
        if card is None:
            return self._failed(request, "refused", "there is no such skill")
        if now_ms >= request.expires_ms:
            return self._failed(request, "expired", "it came too late to be started")
        began_s = asyncio.get_running_loop().time()
        expires_s = began_s + (request.expires_ms - now_ms) / 1000
        started = False
        try:
            async with (
                asyncio.timeout_at(expires_s) as bound,
                self._lanes[card.name],
                self._seats,
            ):
                hand = await self._crew.take()
                started = True
                starts_s = asyncio.get_running_loop().time()
                ends_s = min(expires_s, starts_s + self._settings.limit_ms / 1000)
                bound.reschedule(ends_s)
                deadline_ms = now_ms + round((ends_s - began_s) * 1000)
                call = _Call(request, card, hand, deadline_ms, starts_s, ends_s)
                return await self._perform(call)
        except TimeoutError:
            if not started:
                return self._failed(request, "expired", "no worker was free in time")
            return self._failed(request, "timeout", "killed at its deadline")

    async def _perform(self, call: "_Call") -> SkillDone | SkillFailed:
        in_order = False
        try:
            end = await self._converse(call)
            in_order = True
        except WorkerDied:
            return self._failed(call.request, "died", "its process died")
        except InvalidRecord:
            return self._failed(call.request, "refused", "its text is too long, or no UTF-8")
        finally:  # on a cancel and at the deadline too: what hangs is killed here
            (self._crew.back if in_order else self._crew.dismiss)(call.hand)
        if isinstance(end, wire.Done):
            return SkillDone(text=end.text, made_by=self._made_by(call))
        detail = f"{end.where} raised {end.exception[:80]}"
        return self._failed(call.request, "refused" if end.refused else "error", detail)

    async def _converse(self, call: "_Call") -> wire.Done | wire.Failed:
        """From the call to its end, answering what the skill asks. Raises WorkerDied."""
        self._calls += 1
        n = self._calls
        await call.hand.send(self._frame(call, n))
        while True:
            match await call.hand.receive():
                case wire.Ask() as ask if ask.n == n:
                    await call.hand.send(await self._answer(call, ask))
                case (wire.Done() | wire.Failed()) as end if end.n == n:
                    return end
                case _:
                    raise WorkerDied

    def _frame(self, call: "_Call", n: int) -> wire.Call:
        request = call.request
        return wire.Call(
            n=n,
            skill=request.skill,
            text=request.text,
            settings=self._own[request.skill],
            session_id=request.session_id,
            request_id=request.effect_id,
            deadline_ms=call.deadline_ms,
            within_ms=call.left_ms(),
            locale=request.locale,
            model_languages=self._settings.model_languages if self._model else (),
            has_model=self._model is not None,
        )

    async def _answer(self, call: "_Call", ask: wire.Ask) -> wire.Answer:
        """What the model says to a skill's prompt, or why it says nothing."""
        if self._model is None:
            return wire.Answer(n=ask.n, text=None, reason="no_model")
        left_ms = call.left_ms()
        within_ms = min(ask.within_ms, left_ms - round(MODEL_MARGIN_S * 1000))
        if within_ms <= 0:
            return wire.Answer(n=ask.n, text=None, reason="deadline")
        deadline_ms = call.deadline_ms - left_ms + within_ms
        tokens = max(1, min(ask.max_tokens, MODEL_TOKENS_MAX))
        try:
            async with asyncio.timeout(within_ms / 1000):
                text = await self._model(ask.prompt, tokens, deadline_ms)
        except TimeoutError:
            return wire.Answer(n=ask.n, text=None, reason="deadline")
        except Exception as error:  # whatever went wrong, the skill is told and goes on
            _log.warning("skill %s: the model failed: %s", call.card.name, type(error).__name__)
            return wire.Answer(n=ask.n, text=None, reason="failed")
        if not text.strip():
            return wire.Answer(n=ask.n, text=None, reason="failed")
        # Characters: four bytes each at the most, which a frame has room for. A lone surrogate is
        # the model's slip, and no reason to kill the skill.
        said = text[: wire.TEXT_BYTES_MAX].encode(errors="replace").decode()
        return wire.Answer(n=ask.n, text=said)

    @staticmethod
    def _made_by(call: "_Call") -> MadeBy:
        latency_ms = round((asyncio.get_running_loop().time() - call.starts_s) * 1000)
        return MadeBy(runner=f"skill {call.card.name} {call.card.version}", latency_ms=latency_ms)

    def _failed(self, request: SkillRequest, reason: FailureReason, why: str) -> SkillFailed:
        card = self._cards.get(request.skill)
        made_by = MadeBy(runner=f"skill {request.skill} {card.version if card else ''}".strip())
        return SkillFailed(reason=reason, detail=f"skill {request.skill}: {why}", made_by=made_by)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call in hand: `deadline_ms` in log time is `ends_s` on the loop's clock."""

    request: SkillRequest
    card: SkillCard
    hand: Hand
    deadline_ms: int
    starts_s: float
    ends_s: float

    def left_ms(self) -> int:
        """Until the kill."""
        return round((self.ends_s - asyncio.get_running_loop().time()) * 1000)
