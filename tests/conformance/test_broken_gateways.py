"""The gateway's suites notice what is wrong: each test fails for a gateway that is broken there."""

import pytest

from testkit.conformance import (
    FailingGatewaySuite,
    GatewaySuite,
    LinesGatewaySuite,
    RestartedGatewaySuite,
    gateway_abilities,
)
from testkit.conformance.channel_gateway import SuiteGateway
from tests.conformance import broken_gateways as broken
from tests.conformance.failing import fails, names_of

Broken = dict[str, list[type[SuiteGateway]]]

GATEWAY: Broken = {
    "a_message_is_durable_when_it_is_accepted": [broken.AcksFirst, broken.OwnSessions],
    "a_repeated_message_is_no_error_and_is_taken_once": [broken.TakesAgain, broken.RefusesAgain],
    "a_message_that_comes_many_times_at_once_is_taken_once": [broken.Races],
    "the_same_id_in_another_conversation_is_another_message": [broken.KnowsOnlyIds],
    "who_hangs_up_and_asks_again_has_said_it_once": [broken.MarksFirst],
    "a_message_without_text_is_refused": [broken.TakesEmpty],
    "what_is_too_long_is_refused_by_name_and_what_just_fits_is_taken": [
        broken.Cuts,
        broken.LosesQuotes,
        broken.Quotes,
        broken.Stingy,
    ],
    "whatever_is_sent_is_taken_or_refused": [broken.Delicate, broken.RecordsAnything],
    "each_person_has_a_session_in_each_conversation": [broken.Joins],
    "another_account_is_refused": [broken.AnyAccount],
    "a_session_id_names_its_account_and_hides_the_person": [broken.Plain, broken.NamesNoAccount],
    "a_repeated_stop_counts_once": [broken.CountsAll],
    "a_repeated_verdict_counts_once_and_a_later_one_holds": [broken.CountsAll, broken.FirstHolds],
    "an_equal_verdict_without_a_request_id_is_one": [broken.CountsAll, broken.NeedsRequestIds],
    "a_verdict_that_is_none_is_refused": [broken.AnyVerdict],
    "a_press_where_nobody_wrote_is_refused_and_makes_no_session": [broken.MakesSessions],
    "a_press_for_an_unknown_reply_is_taken_or_refused": [
        broken.TrustsReplies,
        broken.EncodesReplies,
    ],
    "time_never_goes_back": [broken.BackInTime],
}
LINES: Broken = {
    "before_the_first_message_there_is_nothing_to_read": [
        broken.KnowsEverybody,
        broken.FailsForStrangers,
    ],
    "a_person_reads_what_they_wrote_as_it_was_written": [broken.OneLine, broken.OtherClock],
    "lines_are_numbered_without_gaps_and_never_change": [broken.FromZero, broken.Newest],
    "a_page_begins_after_a_line_and_ends_at_the_limit": [broken.NoLimit, broken.FromThere],
    "a_repeated_message_has_one_line": [broken.WritesAgain],
    "a_line_holds_no_control_characters_and_no_halves": [broken.RawLines],
    "nobody_reads_another_s_lines": [broken.OneRoom],
    "what_was_sent_too_long_ago_is_read_as_too_late": [broken.NeverLate],
    "the_view_is_the_session_as_its_person_may_see_it": [broken.OtherView],
}
RESTARTED: Broken = {
    "what_was_taken_is_there_and_is_not_taken_again": [broken.Forgets, broken.ForgetsWhatItTook],
    "a_press_from_before_is_not_counted_again": [broken.ForgetsWhatItTook],
    "lines_and_time_go_on_where_they_were": [broken.ForgetsLines, broken.StartsItsClockAnew],
}
FAILING: Broken = {
    "what_cannot_become_durable_is_unavailable_and_is_taken_once_later": [
        broken.TakesAnyway,
        broken.RefusesInstead,
        broken.Breaks,
        broken.TakesWhatItDenies,
        broken.LosesWhatItDenies,
    ],
}
SUITES: list[tuple[type, Broken]] = [
    (GatewaySuite, GATEWAY),
    (LinesGatewaySuite, LINES),
    (RestartedGatewaySuite, RESTARTED),
    (FailingGatewaySuite, FAILING),
]
CASES = [
    pytest.param(suite, test, gateway, id=f"{test}-{gateway.__name__}")
    for suite, tests in SUITES
    for test, gateways in tests.items()
    for gateway in gateways
]


@pytest.mark.parametrize(("suite", "test", "gateway"), CASES)
def test_it_is_noticed(
    suite: type, test: str, gateway: type[SuiteGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_abilities, "WITHIN_S", 0.2)
    monkeypatch.setattr(gateway_abilities, "TOLD_WITHIN_S", 1.0)
    assert not fails(suite(), test, host=broken.BrokenHost())
    assert fails(suite(), test, host=broken.BrokenHost(gateway))


def test_each_test_of_the_suites_has_a_gateway_that_it_fails_for() -> None:
    for suite, tests in SUITES:
        assert set(names_of(suite)) == set(tests)
