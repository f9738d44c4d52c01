"""The turns of a dialog, for prompts: bounded, named by range and digest, expanded on demand.

`CallModel` names its turns instead of copying them into the log; `expand` makes the request that a
runner gets from the session and the effect, purely, at any time while the request is pending.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from engine.effects import (
    CallModel,
    Effect,
    FindIntent,
    IntentRequest,
    ModelRequest,
    PromptLine,
    RunnerRequest,
    RunSkill,
    SkillRequest,
)
from engine.limits import TRANSCRIPT_BYTES_MAX, TRANSCRIPT_TURNS_MAX
from engine.session import Session, TranscriptTurn

_encode = msgspec.json.Encoder().encode
NO_TURNS = blake2b(b"", digest_size=8).hexdigest()


def bounded(turns: list[TranscriptTurn]) -> tuple[TranscriptTurn, ...]:
    """The last 20 turns and at most 32 KiB of them, as they are stored; the newest always stays."""
    kept = turns[-TRANSCRIPT_TURNS_MAX:]
    if len(_encode(kept)) > TRANSCRIPT_BYTES_MAX:
        sizes = [len(_encode(turn)) + 1 for turn in kept]
        total = sum(sizes) + 1
        first = 0
        while total > TRANSCRIPT_BYTES_MAX and first < len(kept) - 1:
            total -= sizes[first]
            first += 1
        kept = kept[first:]
    return tuple(kept)


def digest(turns: Sequence[TranscriptTurn]) -> str:
    """BLAKE2b-8 of the turns' canonical bytes, hex."""
    return blake2b(_encode(turns), digest_size=8).hexdigest() if turns else NO_TURNS


def expand(session: Session, effect: Effect) -> RunnerRequest:
    """The form of a request that goes to a runner.

    Turns that have left the transcript since (only a session that kept talking past a pending call
    loses any) are left out; the request's digest says which prompt was really used.
    """
    body = effect.body
    expires_ms = effect.expires_ms or 0
    match body:
        case CallModel():
            lines = _lines(session, body)
            return ModelRequest(
                effect_id=effect.id,
                session_id=effect.session_id,
                reply_id=body.reply_id,
                lines=lines,
                max_tokens=body.max_tokens,
                stream=body.stream,
                expires_ms=expires_ms,
                fallbacks=body.fallbacks,
                request_digest=body.digest,
            )
        case RunSkill():
            return SkillRequest(
                effect_id=effect.id,
                session_id=effect.session_id,
                skill=body.skill,
                text=body.text,
                locale=body.locale,
                expires_ms=expires_ms,
                fallbacks=body.fallbacks,
            )
        case FindIntent():
            return IntentRequest(
                effect_id=effect.id,
                session_id=effect.session_id,
                text=body.text,
                expires_ms=expires_ms,
            )
        case _:
            raise TypeError(f"{type(body).__name__} is an order: there is nothing to expand")


def _lines(session: Session, call: CallModel) -> tuple[PromptLine, ...]:
    lines = [PromptLine(role="system", text=call.system)] if call.system else []
    for turn in session.transcript:
        if call.first <= turn.n <= call.last:
            if turn.user:
                lines.append(PromptLine(role="user", text=turn.user))
            if turn.bot:
                lines.append(PromptLine(role="assistant", text=turn.bot))
    lines.append(PromptLine(role="user", text=call.prompt))
    return tuple(lines)
