"""What simulated runners answer: the words of a `Script`, as outcomes of requests.

Used by the simulated workers in the place where a host would run a model, a skill or a recogniser.
"""

from collections.abc import Sequence

from engine.effects import IntentRequest, ModelRequest, RunnerRequest
from engine.events import FailureReason, IntentFound, ModelReplied, Outcome, SkillDone
from streams.runners import failure
from testkit.script import FAILURES, Script

REASONS: tuple[FailureReason, ...] = FAILURES  # type: ignore[assignment]  # a test compares them
NOT_EMPTY = "ok"


def said(script: Script, request: RunnerRequest, *, variant: int) -> Outcome:
    """The `variant`-th answer to this request, which may be an empty text."""
    match request:
        case ModelRequest():
            return ModelReplied(text=_nth(script.model, variant))
        case IntentRequest():
            return IntentFound(intent=_intent(script, request.text, variant))
        case _:
            return SkillDone(text=_nth(script.skill, variant))


def good(script: Script, request: RunnerRequest) -> Outcome:
    """The first answer that has a text: how a request ends when nothing is amiss."""
    match request:
        case ModelRequest():
            return ModelReplied(text=next(filter(None, script.model), NOT_EMPTY))
        case IntentRequest():
            return IntentFound(intent=_intent(script, request.text, 0))
        case _:
            return SkillDone(text=next(filter(None, script.skill), NOT_EMPTY))


def failed(request: RunnerRequest, variant: int) -> Outcome:
    """The `variant`-th way in which a runner says that it failed."""
    return failure(request, REASONS[variant % len(REASONS)], detail="simulated")


def half(script: Script, variant: int) -> str:
    """What a model has said when it is half-way through its `variant`-th answer."""
    text = _nth(script.model, variant)
    return text[: (len(text) + 1) // 2]


def _nth(texts: Sequence[str], variant: int) -> str:
    return texts[variant % len(texts)] if texts else NOT_EMPTY


def _intent(script: Script, text: str, variant: int) -> str:
    """The intent of the class that the text, or its last line, is of; else any."""
    kind = script.kind_of(text) or script.kind_of(text.rpartition("\n")[2])
    known = [*script.intents.values()] or [*script.says]
    return script.intents.get(kind) or known[variant % len(known)]
