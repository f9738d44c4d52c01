"""The egress hop by itself: order, marks, retries, withdrawals, frames, and its account's limit."""

import pytest
from msgspec.structs import replace

from engine import codec
from engine.effects import CloseReply, Withdraw
from engine.errors import InvalidRecord
from engine.events import Event, ReplyUndelivered
from engine.limits import MARK_TO_CALL_MAX_MS
from engine.ports import Append, Delivery, Frame, Receipt
from streams.egress import ATTEMPTS_MAX, ERROR_CHARS_MAX, MAY_HAVE_ARRIVED, RETRY_MS_MAX
from streams.limiter import MARGIN_MS, Limiter
from streams.wire import delivery_of
from tests.hop_tests.replies import KEY, SESSION, egress, marked, order, send

OTHER = "webchat:web:k1:y"


def told(append: Append | None) -> ReplyUndelivered:
    """What the session is told."""
    assert append is not None
    event: Event = codec.decode_event(append.value)
    assert isinstance(event.body, ReplyUndelivered)
    return event.body


def test_a_sessions_replies_go_one_after_the_other_and_sessions_side_by_side() -> None:
    hop = egress()
    for reply in ("1", "2"):
        send(hop, reply)
    send(hop, "other", session="webchat:web:k1:y")
    assert marked(hop, 0) == ["1", "other"]
    assert marked(hop, 0) == []
    sent = hop.sent("1", Receipt(), now_ms=5)
    assert sent is not None
    assert (sent.state, sent.attempt, sent.receipted_ms) == ("sent", 1, 5)
    assert marked(hop, 5) == ["2"]


def test_what_did_not_arrive_is_tried_again_with_growing_pauses_and_then_fails() -> None:
    hop = egress()
    send(hop, "1")
    now_ms, pauses = 0, []
    for attempt in range(1, ATTEMPTS_MAX + 1):
        assert marked(hop, now_ms) == ["1"]
        ended = hop.unavailable("1", "away", now_ms=now_ms)
        assert ended is not None
        delivery, event = ended
        if attempt == ATTEMPTS_MAX:
            assert (delivery.state, delivery.attempt) == ("failed", ATTEMPTS_MAX)
            assert event is not None
            break
        assert (delivery.state, event) == ("queued", None)
        next_ms = hop.next_ms(now_ms)
        assert next_ms is not None
        assert marked(hop, next_ms - 1) == []
        pauses.append(next_ms - now_ms)
        now_ms = next_ms
    assert pauses == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
    assert hop.waiting == 0


def test_a_delivery_with_any_number_of_attempts_waits_no_longer_than_others() -> None:
    hop = egress()
    many = replace(send(egress(), "1"), attempt=2**53 - 1)
    assert hop.recover([many], now_ms=0) == ([], [])
    assert hop.next_ms(0) == RETRY_MS_MAX
    for attempt in (-5, 2**53):
        with pytest.raises(InvalidRecord):
            delivery_of(codec.encode(replace(many, attempt=attempt)))


def test_what_was_called_for_without_an_answer_is_unknown_and_the_next_goes() -> None:
    hop = egress()
    for reply in ("1", "2"):
        send(hop, reply)
    marked(hop, 0)
    ended = hop.unknown("1", "no answer within 30 s", now_ms=9)
    assert ended is not None
    delivery, event = ended
    assert (delivery.state, delivery.receipted_ms) == ("unknown", 9)
    assert (told(event).state, told(event).detail) == ("unknown", "no answer within 30 s")
    assert marked(hop, 9) == ["2"]
    assert hop.unknown("1", "again", now_ms=10) is None


def test_a_platform_that_names_its_pause_gets_it() -> None:
    hop = egress()
    send(hop, "1")
    marked(hop, 0)
    hop.unavailable("1", "too many", now_ms=0, retry_after_ms=60_000)
    assert hop.next_ms(0) == 60_000


def test_what_is_not_marked_yet_is_withdrawn_at_once() -> None:
    hop = egress()
    for reply in ("marked", "waiting", "named"):
        send(hop, reply)
    marked(hop, 0)
    (named,) = hop.order(order(Withdraw(reply_id="named")), now_ms=1)
    assert (named.reply_id, named.state, named.receipted_ms) == ("named", "withdrawn", 1)
    # Without a name: all that an earlier step ordered, and nothing of this one.
    gone = hop.order(order(Withdraw(), cause="event-2"), now_ms=2)
    assert [(d.reply_id, d.state) for d in gone] == [
        ("marked", "sending"),
        ("waiting", "withdrawn"),
    ]
    assert hop.waiting == 1
    sent = hop.sent("marked", Receipt(), now_ms=3)
    assert sent is not None
    assert (sent.state, sent.withdrawn_ms) == ("sent", 2)  # it was too late for that one
    assert (hop.waiting, hop.next_ms(3)) == (0, None)
    assert hop.order(order(Withdraw(), cause="event-2"), now_ms=4) == []


def test_a_withdrawal_spares_what_its_own_step_orders() -> None:
    hop = egress()
    send(hop, "1")
    assert hop.order(order(Withdraw()), now_ms=1) == []
    assert marked(hop, 1) == ["1"]


def test_the_pause_of_a_withdrawn_reply_does_not_hold_up_the_next_one() -> None:
    hop = egress()
    send(hop, "1")
    marked(hop, 0)
    hop.unavailable("1", "away", now_ms=0, retry_after_ms=60_000)
    send(hop, "2", now_ms=1)
    assert marked(hop, 1) == []
    hop.order(order(Withdraw(reply_id="1")), now_ms=2)
    assert marked(hop, 2) == ["2"]


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_was_withdrawn_while_its_call_was_under_way_is_not_called_again(
    idempotent: bool,
) -> None:
    hop = egress(idempotent=idempotent)
    send(hop, "stale")
    marked(hop, 0)
    assert hop.called("stale", 1)
    (asked_back,) = hop.order(order(Withdraw(), cause="event-2"), now_ms=2)
    ended = hop.unavailable("stale", "down", now_ms=3)
    assert ended is not None
    delivery, event = ended
    assert (delivery.state, delivery.receipted_ms, delivery.error) == ("withdrawn", 3, "down")
    assert (event, marked(hop, 100_000), hop.waiting) == (None, [], 0)
    # A later process finds the mark, and that nobody wants the reply any more.
    later = egress(idempotent=idempotent)
    (unknown,), (event,) = later.recover([asked_back], now_ms=9)
    assert (unknown.state, told(event).state) == ("unknown", "unknown")
    assert marked(later, 100_000) == []


def test_what_was_withdrawn_between_mark_and_call_is_not_called() -> None:
    hop = egress()
    send(hop, "stale")
    marked(hop, 0)
    hop.order(order(Withdraw(), cause="event-2"), now_ms=1)
    assert not hop.called("stale", 2)
    ended = hop.uncalled("stale", now_ms=3)
    assert ended is not None
    assert (ended.state, hop.waiting) == ("withdrawn", 0)


def test_a_refusal_is_told_to_the_session_without_what_no_record_may_hold() -> None:
    hop = egress()
    send(hop, "1")
    marked(hop, 0)
    refused = hop.refused("1", "\x00no " * 1_000, now_ms=1)
    assert refused is not None
    delivery, event = refused
    assert (delivery.state, told(event).state) == ("failed", "failed")
    assert len(delivery.error) <= ERROR_CHARS_MAX
    assert "\x00" not in told(event).detail


def test_what_is_not_on_its_way_has_no_end() -> None:
    hop = egress()
    send(hop, "1")
    for reply in ("1", "nobody's"):
        assert not hop.called(reply, 0)
        assert hop.uncalled(reply, now_ms=0) is None
        assert hop.sent(reply, Receipt(), now_ms=0) is None
        assert hop.refused(reply, "no", now_ms=0) is None
        assert hop.unavailable(reply, "away", now_ms=0) is None
    assert marked(hop, 0) == ["1"]


# ---- marks and calls -----------------------------------------------------------------------------


def test_marks_that_a_slow_disk_made_too_old_are_made_anew_and_are_no_attempts() -> None:
    hop = egress(idempotent=False)
    send(hop, "1")
    now_ms = 0
    for _ in range(2 * ATTEMPTS_MAX):
        (delivery,) = hop.mark(now_ms, limit=1)
        assert delivery.attempt == 1
        now_ms += MARK_TO_CALL_MAX_MS + 1
        assert not hop.called("1", now_ms)
        queued = hop.uncalled("1", now_ms=now_ms)
        assert queued is not None
        assert (queued.state, queued.attempt, queued.sending_ms) == ("queued", 0, None)
    marked(hop, now_ms)
    assert hop.called("1", now_ms + MARK_TO_CALL_MAX_MS)


def test_where_a_repetition_is_recognised_an_old_mark_is_as_good_as_a_new_one() -> None:
    hop = egress(idempotent=True)
    send(hop, "1")
    marked(hop, 0)
    assert hop.called("1", 10 * MARK_TO_CALL_MAX_MS)


def test_under_a_limit_an_old_mark_is_made_anew_since_a_new_owner_may_count_by_now() -> None:
    hop = egress(idempotent=True, limiter=Limiter(2, period_ms=1_000))
    send(hop, "1")
    marked(hop, 0)
    assert not hop.called("1", MARK_TO_CALL_MAX_MS + 1)
    assert hop.uncalled("1", now_ms=MARK_TO_CALL_MAX_MS + 1) is not None


def test_no_more_is_called_in_a_period_than_allowed_though_commits_between_are_slow() -> None:
    hop = egress(limiter=Limiter(2, period_ms=1_000))
    for n in range(4):
        send(hop, str(n), session=f"webchat:web:k1:{n}")
    assert marked(hop, 0) == ["0", "1"]
    assert marked(hop, 1_500) == []  # that commit takes its time, nothing is called yet
    assert hop.called("0", 1_500)
    assert hop.called("1", 1_500)
    assert hop.next_ms(1_501) == 2_500 + MARGIN_MS
    assert marked(hop, 2_500 + MARGIN_MS - 1) == []
    assert marked(hop, 2_500 + MARGIN_MS) == ["2", "3"]


def test_a_rollback_forgets_no_call_and_keeps_no_place_for_a_mark_that_is_not_there() -> None:
    hop = egress(limiter=Limiter(3, period_ms=1_000))
    queued = [send(hop, str(n), session=f"webchat:web:k1:{n}") for n in range(4)]
    assert marked(hop, 0) == ["0", "1", "2"]
    assert hop.called("0", 5)
    hop.sent("0", Receipt(), now_ms=6)
    hop.recover(queued[1:], now_ms=10)  # the marks of the others were not made durable
    assert marked(hop, 10) == ["1", "2"]
    assert hop.next_ms(10) == 1_005 + MARGIN_MS


def test_a_mark_that_led_to_no_call_gives_its_place_to_the_next() -> None:
    hop = egress(idempotent=False, limiter=Limiter(1, period_ms=1_000))
    send(hop, "1")
    send(hop, "2", session=OTHER)
    assert marked(hop, 0) == ["1"]
    late_ms = MARK_TO_CALL_MAX_MS + 1
    assert not hop.called("1", late_ms)
    hop.uncalled("1", now_ms=late_ms)
    assert marked(hop, late_ms) == ["2"]


def test_a_mark_that_is_yet_to_be_called_keeps_its_place_in_a_rollback() -> None:
    hop = egress(limiter=Limiter(1, period_ms=1_000))
    send(hop, "1")
    (mark,) = hop.mark(0, limit=1)
    behind = send(hop, "2", session=OTHER)
    hop.recover([mark, behind], now_ms=1, in_hand=frozenset({"1"}))
    assert marked(hop, 1) == []
    assert hop.called("1", 2)
    assert hop.next_ms(3) == 1_002 + MARGIN_MS


def test_what_ends_a_reply_goes_before_others_where_not_all_may_go() -> None:
    hop = egress(limiter=Limiter(1, period_ms=1_000))
    for n in range(3):
        send(hop, f"message-{n}", session=f"webchat:web:k1:{n}")
    body = CloseReply(reply_id="reply", how="answered", text="the end")
    hop.order(order(body, session=OTHER), now_ms=0)
    assert marked(hop, 0) == ["reply"]


def test_a_channel_that_is_down_costs_nothing_until_somebody_is_due() -> None:
    hop = egress()
    for n in range(1_000):
        send(hop, str(n), session=f"webchat:web:k1:{n}")
    for reply in [d.reply_id for d in hop.mark(0, limit=10_000)]:
        hop.unavailable(reply, "down", now_ms=0, retry_after_ms=1_000 + int(reply))
    assert (hop.waiting, hop.next_ms(5), marked(hop, 999)) == (1_000, 1_000, [])
    assert marked(hop, 1_004) == ["0", "1", "2", "3", "4"]


def test_no_more_is_marked_at_once_than_asked_for() -> None:
    hop = egress()
    for n in range(5):
        send(hop, str(n), session=f"webchat:web:k1:{n}")
    assert [d.reply_id for d in hop.mark(0, limit=3)] == ["0", "1", "2"]
    assert [d.reply_id for d in hop.mark(0, limit=3)] == ["3", "4"]


def test_an_account_that_is_gone_is_marked_too_so_that_its_host_can_refuse_it() -> None:
    hop = egress()
    del hop._accounts[KEY]  # type: ignore[attr-defined]
    send(hop, "1")
    assert marked(hop, 0) == ["1"]


# ---- frames --------------------------------------------------------------------------------------


def frame(reply: str, n: int, attempt: int = 1) -> Frame:
    return Frame(reply_id=reply, session_id=SESSION, attempt=attempt, n=n, text=f"{attempt}.{n}")


def test_the_greatest_attempt_and_number_of_a_frame_wins_and_none_follows_the_end() -> None:
    hop = egress()
    assert [hop.open_replies.show(frame("r", n)) for n in (1, 3, 2, 3)] == [
        True,
        True,
        False,
        False,
    ]
    assert hop.open_replies.show(frame("r", 1, attempt=2))  # a later process begins anew
    assert not hop.open_replies.show(frame("r", 9))
    (closed,) = hop.order(order(CloseReply(reply_id="r", how="stopped")), now_ms=0)
    assert (closed.text, closed.state) == ("2.1", "queued")  # what was last shown stays
    assert not hop.open_replies.show(frame("r", 2, attempt=2))
    hop.confirm()
    assert hop.open_replies.frames(SESSION) == ()


def test_a_reply_that_ends_before_anything_was_shown_leaves_a_receipt() -> None:
    hop = egress()
    (closed,) = hop.order(order(CloseReply(reply_id="r", how="cancelled")), now_ms=7)
    assert (closed.state, closed.text, closed.receipted_ms) == ("closed", None, 7)
    assert not hop.open_replies.show(frame("r", 1))
    assert (hop.waiting, marked(hop, 7)) == (0, [])


def test_a_rollback_takes_nothing_back_that_a_person_has_seen() -> None:
    hop = egress()
    hop.open_replies.show(frame("r", 1))
    hop.open_replies.show(frame("done", 1))
    hop.order(order(CloseReply(reply_id="done", how="answered", text="x")), now_ms=0)
    hop.confirm()
    close = order(CloseReply(reply_id="r", how="stopped"))
    (lost,) = hop.order(close, now_ms=1)
    assert not hop.open_replies.show(frame("r", 2))
    hop.recover([], now_ms=2)  # that it is closed did not become durable
    assert [f.reply_id for f in hop.open_replies.frames(SESSION)] == ["r"]
    assert not hop.open_replies.show(frame("done", 2))
    assert hop.open_replies.show(frame("r", 3))
    (closed,) = hop.order(close, now_ms=3)
    hop.confirm()
    assert (lost.text, closed.text) == ("1.1", "1.3")
    assert hop.open_replies.frames(SESSION) == ()


def test_the_frames_of_a_session_are_its_own() -> None:
    hop = egress()
    hop.open_replies.show(frame("a", 1))
    hop.open_replies.show(frame("b", 1))
    assert [f.reply_id for f in hop.open_replies.frames(SESSION)] == ["a", "b"]
    assert hop.open_replies.frames(OTHER) == ()


# ---- after a restart -----------------------------------------------------------------------------


def test_what_was_on_its_way_at_a_death_is_sent_again_only_where_that_is_recognised() -> None:
    before = egress()
    send(before, "queued", session="webchat:web:k1:y")
    send(before, "sending")
    deliveries = [
        before.mark(0, limit=100)[1],
        send(egress(), "queued", session="webchat:web:k1:y"),
    ]
    again = egress()
    assert again.recover(deliveries, now_ms=9) == ([], [])
    assert sorted(marked(again, 9)) == ["queued", "sending"]
    never = egress(idempotent=False)
    (unknown,), (event,) = never.recover(deliveries, now_ms=9)
    assert (unknown.reply_id, unknown.state) == ("sending", "unknown")
    assert event.session_id == SESSION
    assert marked(never, 9) == ["queued"]


def test_what_may_have_arrived_before_a_death_says_so_when_it_is_withdrawn_after_it() -> None:
    before = egress()
    send(before, "1")
    again = egress()
    again.recover(before.mark(0, limit=1), now_ms=9)
    (withdrawn,) = again.order(order(Withdraw(reply_id="1")), now_ms=10)
    assert (withdrawn.state, withdrawn.error) == ("withdrawn", MAY_HAVE_ARRIVED)


def test_a_new_owner_begins_with_an_empty_limit() -> None:
    hop = egress(limiter=Limiter(2, period_ms=1_000, full_at_ms=0))
    send(hop, "1")
    assert marked(hop, 0) == []
    assert hop.next_ms(0) == 1_000 + MARGIN_MS
    assert marked(hop, 1_000 + MARGIN_MS) == ["1"]


def test_a_mark_that_this_process_made_and_called_on_awaits_its_receipt_after_a_rollback() -> None:
    hop = egress(idempotent=False)
    send(hop, "1")
    (mark,) = hop.mark(0, limit=1)
    behind = send(hop, "2", now_ms=1)
    assert hop.recover([mark, behind], now_ms=9, in_hand=frozenset({"1"})) == ([], [])
    assert (marked(hop, 9), hop.waiting) == ([], 2)
    sent = hop.sent("1", Receipt(platform_ids=("p",)), now_ms=10)
    assert sent is not None
    assert sent.platform_ids == ("p",)
    assert marked(hop, 10) == ["2"]


def test_after_a_restart_what_was_tried_before_waits_again() -> None:
    hop = egress()
    send(hop, "1")
    marked(hop, 0)
    ended = hop.unavailable("1", "away", now_ms=0)
    assert ended is not None
    again = egress()
    again.recover([ended[0]], now_ms=1_000)
    assert (marked(again, 1_499), marked(again, 1_500)) == ([], ["1"])


def test_a_frame_of_a_reply_that_ended_before_the_restart_is_dropped() -> None:
    (ending,) = egress().order(order(CloseReply(reply_id="r", how="answered", text="x")), now_ms=0)
    again = egress()
    again.recover([ending], now_ms=1)
    assert not again.open_replies.show(frame("r", 1, attempt=2))


def test_what_ended_under_another_owner_is_looked_up_once_for_each_reply() -> None:
    (ended,) = egress().order(order(CloseReply(reply_id="r", how="answered", text=None)), now_ms=0)
    asked: list[str] = []

    def delivery(reply_id: str) -> Delivery | None:
        asked.append(reply_id)
        return ended if reply_id == "r" else None

    hop = egress(delivery=delivery)
    shown = [hop.open_replies.show(frame(reply, n)) for n in (1, 2, 3) for reply in ("r", "open")]
    assert shown == [False, True] * 3
    assert asked == ["r", "open"]
    assert [one.reply_id for one in hop.open_replies.frames(SESSION)] == ["open"]


def test_a_recovery_that_is_done_twice_queues_nothing_twice() -> None:
    hop = egress()
    waiting: list[Delivery] = [send(hop, "1"), send(hop, "2")]
    for _ in range(2):
        hop.recover(waiting, now_ms=1)
    assert (hop.waiting, marked(hop, 1)) == (2, ["1"])
