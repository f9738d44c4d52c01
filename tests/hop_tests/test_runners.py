"""The runners hop by itself: what is started, what is shown, the one outcome of each request."""

import pytest

from engine import codec
from engine.effects import FallbackStrategy, IntentRequest, ModelRequest, PromptLine, SkillRequest
from engine.events import (
    Event,
    IntentFound,
    ModelFailed,
    ModelReplied,
    Outcome,
    SkillDone,
    SkillFailed,
)
from engine.ids import derive, outcome_event_id
from engine.limits import REPLY_TEXT_BYTES_MAX
from engine.ports import Append, Frame
from streams.runners import FRAME_EVERY_MS, Matched, Runners

SESSION = "webchat:web:k1:x"
BROKEN = FallbackStrategy(pattern="^系统错误", action="escalate_to_human")


def asked(n: int = 1, *, expires_ms: int = 60_000, fallbacks: tuple = (), stream: bool = True):
    """A model request."""
    return ModelRequest(
        effect_id=derive(SESSION, "effect", n),
        session_id=SESSION,
        reply_id=derive(SESSION, "reply", n),
        lines=(PromptLine(role="user", text="hi"),),
        max_tokens=10,
        stream=stream,
        expires_ms=expires_ms,
        fallbacks=fallbacks,
    )


def hop(*requests: object, calls_max: int = 2, attempt: int = 1) -> Runners:
    """A hop with these requests started."""
    made = Runners("model", calls_max=calls_max, attempt=attempt)
    for request in requests:
        made.put(request)
    made.start(0)
    return made


def event(append: Append | None) -> Event:
    assert append is not None
    found = codec.decode_event(append.value)
    assert (append.event_id, append.session_id) == (found.id, SESSION)
    return found


def outcome(append: Append | None) -> Outcome:
    return event(append).body  # type: ignore[return-value]


def test_no_more_calls_are_made_at_once_than_are_allowed_and_none_twice() -> None:
    runners = Runners("model", calls_max=2)
    for n in (1, 2, 3, 1):
        runners.put(asked(n))
    started, expired = runners.start(0)
    assert [r.effect_id for r in started] == [asked(1).effect_id, asked(2).effect_id]
    assert (expired, runners.in_flight, runners.waiting) == ([], 2, 1)
    runners.put(asked(1))
    runners.done(asked(1).effect_id, ModelReplied(text="hello"), now_ms=1)
    assert [r.effect_id for r in runners.start(1)[0]] == [asked(3).effect_id]


def test_what_expired_is_dropped_unstarted_and_says_so() -> None:
    runners = Runners("model", calls_max=2)
    runners.put(asked(1, expires_ms=50))
    started, (expired,) = runners.start(50)
    assert started == []
    assert outcome(expired) == ModelFailed(reason="expired", detail="not started in time")
    assert event(expired).effect == asked(1).effect_id


def test_a_request_has_one_outcome_whoever_reports_it_and_however_often() -> None:
    runners = hop(asked())
    first = event(runners.done(asked().effect_id, ModelReplied(text="hello"), now_ms=1))
    assert first.id == outcome_event_id(asked().effect_id)
    assert runners.done(asked().effect_id, ModelReplied(text="again"), now_ms=2) is None
    assert runners.crashed(asked().effect_id, ValueError(), now_ms=2) is None
    assert runners.said(asked().effect_id, "more", now_ms=9_999) is None


def test_a_cancelled_request_is_forgotten_whether_it_waits_or_runs() -> None:
    runners = Runners("model", calls_max=1)
    for n in (1, 2):
        runners.put(asked(n))
    runners.start(0)
    assert not runners.cancel(asked(2).effect_id)  # it waits: there is nobody to stop
    assert runners.cancel(asked(1).effect_id)
    assert not runners.cancel(asked(1).effect_id)
    assert runners.start(0) == ([], [])


def test_at_most_ten_frames_a_second_are_shown_and_only_what_is_new() -> None:
    runners = hop(asked(), attempt=7)
    shown = [
        runners.said(asked().effect_id, "x" * (1 + at_ms // 10), now_ms=at_ms)
        for at_ms in range(0, 1_000, 10)
    ]
    frames = [f for f in shown if isinstance(f, Frame)]
    assert [f.n for f in frames] == list(range(1, 11))
    assert {f.attempt for f in frames} == {7}
    assert runners.said(asked().effect_id, frames[-1].text, now_ms=5_000) is None
    assert runners.said(asked().effect_id, "", now_ms=6_000) is None


def test_nothing_that_a_fallback_strategy_may_match_is_shown_before_it_is_clear() -> None:
    runners = hop(asked(fallbacks=(BROKEN,)))
    effect = asked().effect_id
    assert runners.said(effect, "系统", now_ms=0) is None
    matched = runners.said(effect, "系统错误\ud800: 5", now_ms=FRAME_EVERY_MS)
    assert isinstance(matched, Matched)
    assert outcome(matched.outcome) == ModelReplied(
        text="系统错误\N{REPLACEMENT CHARACTER}: 5", fallback="escalate_to_human"
    )
    assert runners.in_flight == 0


@pytest.mark.parametrize("pattern", ["(", "", "(a+)+$", "x" * 5_000])
def test_a_request_whose_pattern_nobody_may_match_fails_and_the_next_one_starts(
    pattern: str,
) -> None:
    """It came from somebody else's record: a flow's patterns are checked when it is loaded."""
    alien = FallbackStrategy(pattern=pattern, action="escalate_to_human")
    skill = SkillRequest(
        effect_id=derive(SESSION, "effect", 9),
        session_id=SESSION,
        skill="s",
        text="t",
        locale="",
        expires_ms=9,
        fallbacks=(BROKEN, alien),
    )
    runners = Runners("model", calls_max=2)
    for request in (asked(1, fallbacks=(alien,)), skill, asked(2)):
        runners.put(request)
    started, ended = runners.start(0)
    assert [r.effect_id for r in started] == [asked(2).effect_id]
    model, skills = map(outcome, ended)
    assert isinstance(model, ModelFailed)
    assert isinstance(skills, SkillFailed)
    assert {model.reason, skills.reason} == {"refused"}
    assert model.detail.startswith("fallback pattern: ")
    assert (runners.in_flight, runners.waiting) == (1, 0)


def test_an_answer_that_matches_only_as_a_whole_is_marked_too() -> None:
    runners = hop(asked(fallbacks=(BROKEN,), stream=False))
    ended = runners.done(asked().effect_id, ModelReplied(text="系统错误"), now_ms=1)
    assert outcome(ended) == ModelReplied(text="系统错误", fallback="escalate_to_human")


def test_a_pattern_for_a_whole_answer_does_not_end_one_that_only_begins_like_it() -> None:
    whole = FallbackStrategy(pattern="^系统错误$", action="escalate_to_human")
    effect, answer = asked().effect_id, "系统错误代码的含义是服务器内部错误"
    runners, shown = hop(asked(fallbacks=(whole,))), []
    for end in range(len(answer) + 1):
        found = runners.said(effect, answer[:end], now_ms=end * FRAME_EVERY_MS)
        assert not isinstance(found, Matched)
        shown += [found.text] if found else []
    assert shown[-1] == answer[:-5]
    ended = runners.done(effect, ModelReplied(text=answer), now_ms=9_999)
    assert outcome(ended) == ModelReplied(text=answer)
    runners = hop(asked(fallbacks=(whole,)))
    for now_ms, text in enumerate(("系统", "系统错误", "系统错误 \n", "系统错误 \n\n")):
        assert runners.said(effect, text, now_ms=now_ms * FRAME_EVERY_MS) is None
    ended = runners.done(effect, ModelReplied(text="系统错误 \n\n"), now_ms=9_999)
    assert outcome(ended) == ModelReplied(text="系统错误", fallback="escalate_to_human")


def test_patterns_are_asked_when_a_frame_is_due_never_for_each_token() -> None:
    never = FallbackStrategy(pattern="never said", action="escalate_to_human")
    runners, effect = hop(asked(fallbacks=(never,))), asked().effect_id
    call = runners._calls[effect]
    assert call.gate is not None
    texts, match = [], call.gate.match
    call.gate.match = lambda text, *, finished: texts.append(text) or match(text, finished=finished)  # type: ignore[method-assign, func-returns-value]
    for at_ms in range(1_000):
        runners.said(effect, "x" * (1 + at_ms), now_ms=at_ms)
    assert len(texts) == 10


def test_what_matched_between_two_frames_is_found_with_the_next_and_was_not_shown() -> None:
    runners, effect = hop(asked(fallbacks=(BROKEN,))), asked().effect_id
    assert runners.said(effect, "系", now_ms=0) is None
    assert runners.said(effect, "系统错误" + "x" * 50, now_ms=1) is None
    assert isinstance(runners.said(effect, "系统错误" + "x" * 99, now_ms=FRAME_EVERY_MS), Matched)


def test_what_is_too_long_is_cut_between_characters_and_says_so() -> None:
    runners = hop(asked())
    ended = outcome(runners.done(asked().effect_id, ModelReplied(text="字" * 20_000), now_ms=1))
    assert isinstance(ended, ModelReplied)
    assert ended.cut
    assert len(ended.text.encode()) <= REPLY_TEXT_BYTES_MAX
    assert set(ended.text) == {"字"}


def test_an_answer_without_text_is_a_failure() -> None:
    runners = hop(asked())
    ended = outcome(runners.done(asked().effect_id, ModelReplied(text=" \x00\n"), now_ms=1))
    assert ended == ModelFailed(reason="empty")


def test_a_failure_names_the_kind_of_its_request_and_no_content() -> None:
    skill = SkillRequest(
        effect_id=derive(SESSION, "effect", 9),
        session_id=SESSION,
        skill="s",
        text="t",
        locale="",
        expires_ms=9,
    )
    runners = hop(skill)
    ended = outcome(runners.crashed(skill.effect_id, ValueError("a secret"), now_ms=1))
    assert ended == SkillFailed(reason="error", detail="ValueError")
    runners = hop(skill)
    assert outcome(runners.done(skill.effect_id, SkillDone(text=" "), now_ms=1)) == SkillFailed(
        reason="empty"
    )
    intent = IntentRequest(
        effect_id=derive(SESSION, "effect", 8), session_id=SESSION, text="t", expires_ms=9
    )
    runners = hop(intent)
    found = IntentFound(intent="leave")
    assert outcome(runners.done(intent.effect_id, found, now_ms=1)) == found
