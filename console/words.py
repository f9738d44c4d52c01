"""Events and effects in a few words, as `sessions show` and `trace` write them beside the times.

What it never does: quote what a person or a model said; the commands show that where it belongs.
"""

from typing import assert_never

from console.terminal import duration, when
from engine.effects import (
    CallModel,
    Cancel,
    CloseReply,
    Effect,
    FindIntent,
    Forward,
    RunSkill,
    SendMessage,
    Withdraw,
)
from engine.events import (
    ClockReached,
    Event,
    FeedbackGiven,
    FlowActivated,
    HandedBack,
    IntentFailed,
    IntentFound,
    MadeBy,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    OperatorSaid,
    Redriven,
    ReplyUndelivered,
    SkillDone,
    SkillFailed,
    StopRequested,
)
from engine.ports import DeadLetter


def describe_event(event: Event) -> str:
    """What happened, without what was said."""
    body = event.body
    match body:
        case MessageReceived():
            return "a person wrote"
        case ModelReplied() | SkillDone():
            who = "the model" if isinstance(body, ModelReplied) else "the skill"
            cut = ", cut at its limit" if body.cut else ""
            matched = f", matched a fallback strategy: {body.fallback}" if body.fallback else ""
            return f"{who} answered{cut}{matched}{_made_by(body.made_by)}"
        case IntentFound():
            return (
                f"intent {body.intent} ({body.score_permille / 10:.1f} %){_made_by(body.made_by)}"
            )
        case ModelFailed() | SkillFailed() | IntentFailed():
            what = event.type.removesuffix("Failed").lower()
            detail = f": {body.detail}" if body.detail else ""
            return f"the {what} failed ({body.reason}){detail}{_made_by(body.made_by)}"
        case ReplyUndelivered():
            return f"a reply is {body.state}" + (f": {body.detail}" if body.detail else "")
        case ClockReached():
            return "the clock reached a deadline"
        case FlowActivated():
            return f"flow {body.flow} was activated"
        case OperatorSaid():
            return f"{_operator(body.operator)} wrote"
        case HandedBack():
            return f"{_operator(body.operator)} handed the session back"
        case StopRequested():
            return "the person pressed stop"
        case FeedbackGiven():
            return f"the person judged a reply: {body.verdict}"
        case Redriven():
            return "the message was taken again" + (f" by {body.operator}" if body.operator else "")
        case _:
            assert_never(body)


def describe_effect(effect: Effect) -> str:
    """What was asked of the world outside, without any text."""
    body = effect.body
    match body:
        case CallModel():
            turns = body.last - body.first + 1 if body.first <= body.last else 0
            stream = ", streaming" if body.stream else ""
            return f"CallModel, {turns} turns before it, {body.max_tokens} tokens at most{stream}"
        case RunSkill():
            return f"RunSkill {body.skill}"
        case FindIntent():
            return "FindIntent"
        case SendMessage():
            return f"SendMessage by {body.author}"
        case CloseReply():
            return f"CloseReply, {body.how}"
        case Withdraw():
            return "Withdraw what was not sent yet"
        case Forward():
            return "Forward to a person"
        case Cancel():
            return "Cancel a request"
        case _:
            assert_never(body)


def describe_letter(letter: DeadLetter) -> str:
    """That a record was set aside, and why."""
    return f"set aside as dead letter {letter.number}: {letter.error}"


def way_back(letter: DeadLetter, event: Event | None) -> str:
    """How what was set aside is taken again, if it can be. `event` None: it cannot be read."""
    if letter.redriven_ms is not None:
        return f"taken again at {when(letter.redriven_ms)}"
    if event is None or not isinstance(event.body, MessageReceived | Redriven | ClockReached):
        return "it cannot be taken again: only a message or a wake-up that can be read is"
    number = letter.number
    return f"never stepped; `ai-assistant dead-letters redrive {number}` brings it back"


def _operator(name: str) -> str:
    """Who it was; the page knows no names, and says only what they are."""
    return "an operator" if name in ("", "operator") else f"operator {name}"


def _made_by(made_by: MadeBy | None) -> str:
    if made_by is None:
        return ""
    tokens = f", {made_by.tokens} tokens" if made_by.tokens else ""
    attempt = f", attempt {made_by.attempt}" if made_by.attempt > 1 else ""
    return f", by {made_by.runner} in {duration(made_by.latency_ms)}{tokens}{attempt}"
