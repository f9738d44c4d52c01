"""The runners' suites notice what is wrong: each test fails for a runner that is broken there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.scripted import ScriptedIntents
from testkit.conformance import (
    FailingModelSuite,
    HopelessModelSuite,
    IntentRunnerSuite,
    ModelRunnerSuite,
    SkillRunnerSuite,
    intent_runner,
    model_runner,
    skill_runner,
)
from tests.conformance import broken_runners as broken
from tests.conformance.failing import fails, names_of

Broken = dict[str, list[type]]


class PassingSkills(SkillRunnerSuite):
    good, fails, hangs = "good", ("fails",), "hangs"


MODEL: Broken = {
    "a_request_is_answered_and_the_answer_can_be_recorded": [broken.Unmarked],
    "what_is_shown_is_the_whole_text_so_far": [broken.Pieces, broken.Stutters],
    "a_request_that_does_not_stream_is_answered_too": [broken.OnlyStreams],
    "whatever_was_written_ends_in_an_outcome": [broken.Delicate],
    "many_calls_at_once_end_each_in_its_own_outcome": [broken.OneAtATime],
    "a_call_that_cannot_be_shown_costs_no_other": [broken.DiesOfIt],
    "a_cancelled_call_ends_at_once_and_shows_nothing_more": [broken.Uncancelled],
    "nothing_decodes_for_a_cancelled_call": [broken.Decodes],
    "a_call_that_is_cancelled_before_it_says_anything_leaves_nothing": [broken.CutShort],
    "closing_ends_calls_in_hand_as_outcomes": [broken.Forsakes],
    "closing_leaves_no_process_and_twice_is_no_error": [broken.ClosesOnce, broken.Leaves],
    "a_runner_that_was_never_started_is_closed": [broken.NeedsStart],
    "a_call_of_a_closed_runner_is_an_outcome": [broken.RaisesClosed],
}
FAILING: Broken = {
    "a_call_that_fails_is_an_outcome_with_a_reason": [broken.FailsAloud, broken.Quotes],
    "a_failing_call_costs_no_other": [broken.FailsThenRaises],
}
HOPELESS: Broken = {
    "start_refuses_in_one_line_and_leaves_nothing": [broken.Hopeful, broken.Rambles],
}
INTENTS: Broken = {
    "an_intent_is_found_or_the_failure_named": [broken.SilentIntents],
    "whatever_was_written_ends_in_an_outcome": [broken.DelicateIntents],
    "the_same_text_means_the_same_however_many_ask": [broken.Moody],
    "a_cancelled_look_up_ends_at_once": [broken.Deaf],
}
SKILLS: Broken = {
    "a_skill_answers_and_the_answer_can_be_recorded": [broken.UnmarkedSkills],
    "a_skill_that_fails_is_an_outcome_without_what_was_said": [broken.QuotingSkills],
    "a_skill_that_nobody_knows_is_an_outcome": [broken.PickySkills],
    "whatever_was_written_ends_in_an_outcome": [broken.DelicateSkills],
    "what_has_expired_is_not_started": [broken.LateSkills],
    "no_call_outlives_its_request_and_its_processes_are_killed": [broken.Patient, broken.Orphans],
    "cancelling_kills_what_the_call_runs_in": [broken.Orphans],
    "many_calls_at_once_are_all_answered": [broken.OneSkillAtATime],
    "closing_ends_calls_in_hand_and_every_process": [broken.ForsakingSkills],
    "a_runner_that_was_never_started_is_closed": [broken.NeedStart],
    "a_call_of_a_closed_runner_is_an_outcome": [broken.OpenAfterAll],
}
SUITES: list[tuple[type, type, Broken]] = [
    (ModelRunnerSuite, broken.Model, MODEL),
    (FailingModelSuite, broken.Failing, FAILING),
    (HopelessModelSuite, broken.Hopeless, HOPELESS),
    (IntentRunnerSuite, ScriptedIntents, INTENTS),
    (PassingSkills, broken.Skills, SKILLS),
]
CASES = [
    pytest.param(suite, test, passing, runner, id=f"{test}-{runner.__name__}")
    for suite, passing, tests in SUITES
    for test, runners in tests.items()
    for runner in runners
]


@pytest.fixture(autouse=True)
def _children() -> Iterator[None]:
    yield
    broken.end_children()


@pytest.mark.parametrize(("suite", "test", "passing", "runner"), CASES)
def test_it_is_noticed(
    suite: type,
    test: str,
    passing: type,
    runner: type,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for module in (intent_runner, model_runner, skill_runner):
        monkeypatch.setattr(module, "WITHIN_S", 0.5)
    for module in (intent_runner, model_runner):
        monkeypatch.setattr(module, "AT_ONCE_S", 0.2)
    monkeypatch.setattr(model_runner, "LOOKS", 2)
    monkeypatch.setattr(skill_runner, "EXPIRES_MS", 300)
    monkeypatch.setattr(skill_runner, "KILLED_WITHIN_S", 0.3)
    (tmp_path / "passing").mkdir()
    assert not fails(suite(), test, **as_fixtures(passing()), tmp_path=tmp_path / "passing")
    assert fails(suite(), test, **as_fixtures(runner()), tmp_path=tmp_path)


def as_fixtures(runner: Any) -> dict[str, Any]:
    return dict.fromkeys(("runner", "endless", "failing", "hopeless"), runner)


def test_each_test_of_the_suites_has_a_runner_that_it_fails_for() -> None:
    for suite, _, tests in SUITES:
        assert set(names_of(suite)) == set(tests)
