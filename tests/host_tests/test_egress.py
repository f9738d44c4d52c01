"""The egress hop by itself: order, marks, retries, withdrawals, frames, and its account's limit."""

from hypothesis import given
from hypothesis import strategies as st

from engine.effects import CloseReply, Effect, EffectBody, SendMessage, Withdraw
from engine.events import Address
from engine.ports import Delivery, Frame, Receipt
from streams.egress import ATTEMPTS_MAX, Account, Egress
from streams.limiter import MARGIN_MS, Limiter
from streams.sessions import Order

KEY = ("webchat", "web")
ADDRESS = Address(channel="webchat", account="web", conversation="c", sender="s")
SESSION = "webchat:web:k1:x"


def egress(*, idempotent: bool = True, limiter: Limiter | None = None) -> Egress:
    account = Account(idempotent=idempotent, limiter=limiter)
    return Egress({KEY: account}, jitter=lambda: 1.0)


def order(body: EffectBody, *, cause: str = "event-1", session: str = SESSION) -> Order:
    effect = Effect(id=f"{session}/e", session_id=session, epoch=1, cause=cause, body=body)
    return Order(effect, ADDRESS)


def send(hop: Egress, reply: str, *, now_ms: int = 0, session: str = SESSION) -> Delivery:
    body = SendMessage(reply_id=reply, text=f"text of {reply}")
    (queued,) = hop.order(order(body, session=session), now_ms=now_ms)
    return queued


def marked(hop: Egress, now_ms: int) -> list[str]:
    return [delivery.reply_id for delivery in hop.mark(now_ms, limit=100)]


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


def test_a_platform_that_names_its_pause_gets_it() -> None:
    hop = egress()
    send(hop, "1")
    marked(hop, 0)
    hop.unavailable("1", "too many", now_ms=0, retry_after_ms=60_000)
    assert hop.next_ms(0) == 60_000


def test_only_what_is_not_marked_yet_is_withdrawn() -> None:
    hop = egress()
    for reply in ("marked", "waiting", "named"):
        send(hop, reply)
    marked(hop, 0)
    (named,) = hop.order(order(Withdraw(reply_id="named")), now_ms=1)
    assert (named.reply_id, named.state) == ("named", "withdrawn")
    # Without a name: all that an earlier step ordered, and nothing of this one.
    gone = hop.order(order(Withdraw(), cause="event-2"), now_ms=1)
    assert [delivery.reply_id for delivery in gone] == ["waiting"]
    assert hop.order(order(Withdraw(reply_id="marked")), now_ms=1) == []
    hop.sent("marked", Receipt(), now_ms=2)
    assert (hop.waiting, hop.next_ms(2)) == (0, None)


def frame(reply: str, n: int, attempt: int = 1) -> Frame:
    return Frame(reply_id=reply, session_id=SESSION, attempt=attempt, n=n, text=f"{attempt}.{n}")


def test_the_greatest_attempt_and_number_of_a_frame_wins_and_none_follows_the_end() -> None:
    hop = egress()
    assert [hop.show(frame("r", n)) for n in (1, 3, 2, 3)] == [True, True, False, False]
    assert hop.show(frame("r", 1, attempt=2))  # a later process begins anew
    assert not hop.show(frame("r", 9))
    (closed,) = hop.order(order(CloseReply(reply_id="r", how="stopped")), now_ms=0)
    assert (closed.text, closed.state) == ("2.1", "queued")  # what was last shown stays
    assert not hop.show(frame("r", 2, attempt=2))
    assert hop.frames(SESSION) == ()


def test_a_reply_that_ends_before_anything_was_shown_leaves_a_receipt() -> None:
    hop = egress()
    (closed,) = hop.order(order(CloseReply(reply_id="r", how="cancelled")), now_ms=7)
    assert (closed.state, closed.text, closed.receipted_ms) == ("closed", None, 7)
    assert not hop.show(frame("r", 1))
    assert (hop.waiting, marked(hop, 7)) == (0, [])


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


def test_a_new_owner_begins_with_an_empty_limit() -> None:
    hop = egress(limiter=Limiter(2, period_ms=1_000, full_at_ms=0))
    send(hop, "1")
    assert marked(hop, 0) == []
    assert hop.next_ms(0) == 1_000 + MARGIN_MS
    assert marked(hop, 1_000 + MARGIN_MS) == ["1"]


@given(
    st.integers(1, 5),
    st.integers(1, 2_000),
    st.lists(st.integers(0, 400), min_size=1, max_size=60),
)
def test_no_sliding_period_ever_holds_more_than_the_limit(
    most: int, period_ms: int, steps: list[int]
) -> None:
    limiter = Limiter(most, period_ms=period_ms)
    now_ms, sent = 0, []
    for step_ms in steps:
        now_ms += step_ms
        while limiter.wait_ms(now_ms) == 0:
            limiter.take(now_ms)
            sent.append(now_ms)
        assert limiter.wait_ms(now_ms + limiter.wait_ms(now_ms)) == 0
    for start in sent:
        assert sum(start <= at < start + period_ms for at in sent) <= most
