"""The transcript's bounds, and a request's form for a runner."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.effects import (
    Effect,
    IntentRequest,
    ModelRequest,
    PromptLine,
    SendMessage,
    SkillRequest,
)
from engine.limits import TRANSCRIPT_BYTES_MAX, TRANSCRIPT_TURNS_MAX
from engine.session import Session, TranscriptTurn
from engine.transcript import NO_TURNS, bounded, digest, expand
from tests.engine_laws.strategies import Outcome, Play, Say, Stimulus, Wait
from tests.engine_laws.table_flow import TableFlow

texts = st.builds(
    lambda unit, times: unit * times, st.sampled_from(["a", "é", "字", "😀"]), st.integers(0, 9_000)
)
turns = st.lists(st.builds(TranscriptTurn, n=st.just(1), user=texts, bot=texts), max_size=30)


@given(turns=turns)
def test_the_newest_turns_stay_within_both_bounds(turns: list[TranscriptTurn]) -> None:
    kept = bounded(turns)
    assert list(kept) == turns[len(turns) - len(kept) :]
    assert len(kept) <= TRANSCRIPT_TURNS_MAX
    assert len(kept) <= 1 or _size(kept) <= TRANSCRIPT_BYTES_MAX
    assert bool(kept) == bool(turns)
    more = turns[-len(kept) - 1 :]
    assert (
        len(more) == len(kept)
        or len(more) > TRANSCRIPT_TURNS_MAX
        or (_size(tuple(more)) > TRANSCRIPT_BYTES_MAX)
    )


def _size(turns: tuple[TranscriptTurn, ...]) -> int:
    return len(msgspec.json.encode(turns))  # as they are stored


def _last_request(*stimuli: Stimulus) -> tuple[Session, Effect]:
    play = Play([TableFlow()]).play(stimuli)
    return play.session, play.steps[-1].record.effects[-1]


def test_a_model_request_has_the_answered_turns_and_the_prompt() -> None:
    session, call = _last_request(Say("one"), Wait(None), Outcome(0), Say("two"), Wait(None))
    request = expand(session, call)
    assert isinstance(request, ModelRequest)
    assert request.lines == (
        PromptLine(role="system", text="be brief"),
        PromptLine(role="user", text="one"),
        PromptLine(role="assistant", text="an answer to turn 1"),
        PromptLine(role="user", text="two"),
    )
    assert (request.max_tokens, request.stream) == (64, True)
    assert request.expires_ms == session.now_ms + 45_000
    assert request.fallbacks[0].pattern == "^ERROR"
    assert request.request_digest == digest([session.transcript[0]])


def test_expanding_later_gives_the_same_request() -> None:
    play = Play([TableFlow()]).play([Say("steer"), Wait(None)])
    call = play.steps[-1].record.effects[-1]
    at_once = expand(play.session, call)
    play.play([Say("and this"), Say("and that")])
    assert expand(play.session, call) == at_once
    assert at_once.request_digest == NO_TURNS  # type: ignore[union-attr]


def test_a_turn_that_has_left_the_transcript_is_left_out() -> None:
    session, call = _last_request(Say("one"), Wait(None), Outcome(0), Say("two"), Wait(None))
    request = expand(replace(session, transcript=session.transcript[1:]), call)
    assert isinstance(request, ModelRequest)
    assert [line.text for line in request.lines] == ["be brief", "two"]


def test_a_skill_and_an_intent_are_expanded_with_their_deadlines() -> None:
    session, run = _last_request(Say("skill"), Wait(None))
    request = expand(session, run)
    assert isinstance(request, SkillRequest)
    assert (request.skill, request.text, request.effect_id) == ("sum", "skill", run.id)
    session, find = _last_request(Say("which"), Wait(None))
    assert expand(session, find) == IntentRequest(
        effect_id=find.id,
        session_id=session.id,
        text="which",
        expires_ms=session.now_ms + 3_000,
    )


def test_an_order_has_nothing_to_expand() -> None:
    session, call = _last_request(Say("hi"), Wait(None))
    order = replace(call, body=SendMessage(reply_id="r", text="x"))
    with pytest.raises(TypeError):
        expand(session, order)
