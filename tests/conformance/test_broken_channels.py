"""The channel's suites notice what is wrong: each test fails for a channel that is broken there."""

import pytest

from testkit.conformance import (
    ButtonsChannelSuite,
    CallingChannelSuite,
    ChannelSuite,
    StreamingChannelSuite,
    channel,
    channel_abilities,
    channel_platform,
)
from tests.conformance import broken_channels as broken
from tests.conformance.corner import Corner, CornerChat
from tests.conformance.failing import fails, names_of
from tests.conformance.test_corner import TestCorner as Passing

Broken = dict[str, list[type[CornerChat]]]

IN_AND_OUT: Broken = {
    "it_says_what_it_is": [broken.Nameless],
    "a_message_is_accepted_as_it_was_written": [broken.Trims],
    "messages_and_people_are_told_apart": [broken.SameSender],
    "a_message_that_is_handed_over_again_is_the_same_message": [broken.OwnIds, broken.NowSent],
    "what_is_written_in_a_row_is_accepted_in_that_row": [broken.Overtakes],
    "a_message_is_acknowledged_only_after_the_append": [broken.AcksFirst],
    "what_cannot_be_appended_now_is_not_acknowledged": [broken.AcksAll],
    "what_the_host_refuses_is_told_to_the_person": [broken.Silent],
    "an_error_of_the_host_costs_no_message_and_logs_no_text": [broken.Chatty],
    "a_payload_that_is_no_message_is_refused_with_the_field_named": [
        broken.Endless,
        broken.Vague,
        broken.Chatty,
    ],
    "a_long_message_is_accepted_whole_or_refused": [broken.Cuts],
    "nothing_is_acknowledged_before_the_start_or_after_the_close": [broken.Deaf],
    "a_channel_that_was_never_started_is_closed": [broken.ClosesOnce],
    "a_message_in_hand_is_acknowledged_before_the_close": [broken.LosesAtTheEnd],
    "a_message_that_never_becomes_durable_does_not_hold_up_the_close": [
        broken.Hangs,
        broken.AcksAtTheEnd,
    ],
    "a_reply_arrives_whole_and_the_receipt_has_the_platform_s_ids": [broken.OwnReceipts],
    "each_reply_goes_to_its_own_person": [broken.Broadcasts],
    "a_long_reply_loses_nothing": [broken.Shortens],
    "whatever_a_reply_says_it_is_sent_or_refused": [broken.Raises],
    "a_reply_arrives_without_its_token_or_after_the_token_s_end": [broken.NeedsTokens],
    "a_reply_to_nobody_is_sent_or_refused": [broken.Raises],
    "a_repeated_reply_is_seen_once_where_that_is_claimed": [broken.Repeats],
    "a_send_at_once_waits_for_nothing_where_that_is_claimed": [broken.ClaimsToBeQuick],
    "telling_it_something_never_blocks_and_never_raises": [broken.Told, broken.Blocks],
}
CALLS: Broken = {
    "a_platform_that_is_away_is_unavailable_and_the_reply_arrives_later": [broken.RefusesAll],
    "a_busy_platform_says_when_to_come_back": [broken.Impatient],
    "a_refusal_is_final_and_quotes_nothing_that_was_said": [broken.Quotes],
    "a_cancelled_send_ends_at_once_and_costs_no_other": [broken.Insists, broken.Leaks],
    "a_reply_whose_answer_is_lost_is_never_seen_twice": [broken.TriesAgain],
}
STREAMING: Broken = {
    "a_reply_is_seen_growing_and_ends_as_one_message": [broken.NeverShows, broken.TwoCards],
    "the_greatest_attempt_and_number_win": [broken.LatestCall],
    "a_burst_of_frames_is_coalesced_to_the_latest": [broken.ShowsAll],
    "a_late_frame_changes_no_ended_reply": [broken.Reopens],
    "nobody_sees_another_s_reply": [broken.ShowsOthers],
}
BUTTONS: Broken = {
    "a_press_reaches_the_host_and_a_repetition_is_known": [broken.OwnPresses],
    "a_press_is_answered_as_a_message_is": [broken.AcksPresses],
}
SUITES: list[tuple[type, Broken]] = [
    (ChannelSuite, IN_AND_OUT),
    (CallingChannelSuite, CALLS),
    (StreamingChannelSuite, STREAMING),
    (ButtonsChannelSuite, BUTTONS),
]
CASES = [
    pytest.param(suite, test, chat, id=f"{test}-{chat.__name__}")
    for suite, tests in SUITES
    for test, chats in tests.items()
    for chat in chats
]


@pytest.mark.parametrize(("suite", "test", "chat"), CASES)
def test_it_is_noticed(
    suite: type,
    test: str,
    chat: type[CornerChat],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(channel_platform, "SEEN_WITHIN_S", 0.2)
    monkeypatch.setattr(channel_platform, "WITHIN_S", 1.0)
    monkeypatch.setattr(channel_abilities, "WITHIN_S", 0.5)
    monkeypatch.setattr(channel, "AT_ONCE_S", 0.2)
    monkeypatch.setattr(channel, "CLOSED_WITHIN_S", 1.0)
    made = Passing() if suite is ChannelSuite else suite()
    corner = Corner(chat, keys=chat is not broken.TriesAgain)
    assert fails(made, test, platform=corner, caplog=caplog)


def test_each_test_of_the_suites_has_a_channel_that_it_fails_for() -> None:
    for suite, tests in SUITES:
        assert set(names_of(suite)) == set(tests)
