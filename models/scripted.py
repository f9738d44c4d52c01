"""Runners that answer from a table: for tests, benches and simulation.

Place in the data path: behind the ports `ModelRunner` and `IntentRunner`, where a real model would
be. The same request always gets the same answer, at no cost that a bench could feel.

What it never does: read a clock, or draw by chance. Latency is slept, so whoever simulates time
asks `scripted` and `recognised` instead of `run`, and does the waiting itself.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.effects import IntentRequest, ModelRequest
from engine.events import (
    FailureReason,
    IntentFailed,
    IntentFound,
    MadeBy,
    ModelFailed,
    ModelReplied,
    Outcome,
)

MADE_BY = MadeBy(runner="scripted")

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is said to a prompt whose last line `pattern` is found in.

    `text` None repeats that line. `failure` ends the request so instead. `frames`: texts shown
    before the end, spread evenly over `latency_ms`. `latency_ms` None: it never ends by itself.
    """

    pattern: str = ""
    text: str | None = None
    cut: bool = False
    failure: FailureReason | None = None
    detail: str = ""
    frames: tuple[str, ...] = ()
    latency_ms: int | None = 0


ECHO = Rule()

WAITS = tuple(
    Rule(pattern=rf"^wait {ms}\b", frames=("…", "… …"), latency_ms=ms) for ms in (20, 100, 400)
)
"""The rules where settings choose this runner: who asks it to waits for the echo."""


class ScriptedModel:
    """The `ModelRunner` that answers by the first rule that fits; else it repeats what was said."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._playing: set[asyncio.Timeout] = set()

    async def start(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """End the calls that still wait: as `ModelFailed(died)`."""
        for call in self._playing:
            call.reschedule(0)

    def rule(self, request: ModelRequest) -> Rule:
        """Return the rule for this request: its frames and its latency."""
        if self._rules:
            asked = request.lines[-1].text
            for pattern, rule in self._rules:
                if pattern.search(asked):
                    return rule
        return ECHO

    def scripted(self, request: ModelRequest) -> Outcome:
        """Return the outcome, without showing frames or waiting."""
        rule = self.rule(request)
        if rule.failure is not None:
            return ModelFailed(reason=rule.failure, detail=rule.detail, made_by=MADE_BY)
        text = request.lines[-1].text if rule.text is None else rule.text
        return ModelReplied(text=text, cut=rule.cut, made_by=MADE_BY)

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        """Answer; see `ModelRunner`."""
        rule = self.rule(request)
        if (rule.frames or rule.latency_ms != 0) and not await self._played(rule, show):
            return ModelFailed(reason="died", detail="the runner was closed", made_by=MADE_BY)
        return self.scripted(request)

    async def _played(self, rule: Rule, show: Show) -> bool:
        """Show the rule's frames and let its latency pass; False where `close` came before."""
        call = asyncio.timeout(None)
        self._playing.add(call)
        try:
            async with call:
                await _play(rule, show)
        except TimeoutError:
            if not call.expired():  # whoever is shown raised it
                raise
            return False
        finally:
            self._playing.discard(call)
        return True


@dataclass(frozen=True, kw_only=True)
class IntentRule:
    """What a text that `pattern` is found in means: an intent, or a failure."""

    pattern: str
    intent: str = ""
    score_permille: int = 1000
    failure: FailureReason | None = None
    latency_ms: int = 0


class ScriptedIntents:
    """The `IntentRunner` that recognises by the first rule that fits; else it is `otherwise`."""

    def __init__(self, rules: Sequence[IntentRule] = (), *, otherwise: str = "other") -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._otherwise = IntentRule(pattern="", intent=otherwise)

    def rule(self, request: IntentRequest) -> IntentRule:
        """Return the rule for this request."""
        for pattern, rule in self._rules:
            if pattern.search(request.text):
                return rule
        return self._otherwise

    def recognised(self, request: IntentRequest) -> Outcome:
        """Return the outcome, without waiting."""
        rule = self.rule(request)
        if rule.failure is not None:
            return IntentFailed(reason=rule.failure, made_by=MADE_BY)
        return IntentFound(intent=rule.intent, score_permille=rule.score_permille, made_by=MADE_BY)

    async def run(self, request: IntentRequest) -> Outcome:
        """Recognise; see `IntentRunner`."""
        latency_ms = self.rule(request).latency_ms
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        return self.recognised(request)


async def _play(rule: Rule, show: Show) -> None:
    """Show the rule's frames and let its latency pass."""
    pause_s = (rule.latency_ms or 0) / 1000 / (len(rule.frames) + 1)
    for frame in rule.frames:
        await asyncio.sleep(pause_s)
        show(frame)
    if rule.latency_ms is None:
        await asyncio.Event().wait()
    await asyncio.sleep(pause_s)
