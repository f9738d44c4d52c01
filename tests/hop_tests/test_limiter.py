"""The limiter: whatever happens between a reservation and its call, no period holds too many."""

from hypothesis import given
from hypothesis import strategies as st

from engine.limits import MARK_TO_CALL_MAX_MS
from streams.limiter import MARGIN_MS, Limiter

ACTS = st.sampled_from(["reserve", "call", "release", "wait"])


@given(
    st.integers(1, 5),
    st.integers(1, 2_000),
    st.lists(st.tuples(ACTS, st.integers(0, 900)), min_size=1, max_size=150),
    st.none() | st.just(0),
)
def test_no_sliding_period_ever_holds_more_than_the_limit(
    most: int, period_ms: int, acts: list[tuple[str, int]], full_at_ms: int | None
) -> None:
    limiter = Limiter(most, period_ms=period_ms, full_at_ms=full_at_ms)
    called = [] if full_at_ms is None else [full_at_ms] * most
    now_ms = reservations = 0
    reserved: list[str] = []
    for act, number in acts:
        if act == "wait":
            now_ms += number
        elif act == "reserve":
            while limiter.wait_ms(now_ms) == 0:
                reservations += 1
                reserved.append(str(reservations))
                limiter.reserve(reserved[-1])
        elif reserved:
            reply = reserved.pop(number % len(reserved))
            if act == "call":
                limiter.called(reply, now_ms)
                called.append(now_ms)
            else:
                limiter.release(reply)
    for start in called:
        assert sum(start <= at < start + period_ms for at in called) <= most


def test_it_says_how_long_there_is_certainly_nothing_and_gives_it_then() -> None:
    limiter = Limiter(2, period_ms=1_000)
    limiter.reserve("1")
    limiter.reserve("2")
    assert limiter.wait_ms(0) == 1_000 + MARGIN_MS  # a call at once, and then a period
    limiter.called("1", 300)
    assert limiter.wait_ms(400) == 900 + MARGIN_MS
    assert limiter.wait_ms(1_300 + MARGIN_MS - 1) == 1
    assert limiter.wait_ms(1_300 + MARGIN_MS) == 0
    limiter.reserve("3")
    assert limiter.wait_ms(5_000) > 0  # the second place is still kept for the second reply
    limiter.release("2")
    assert limiter.wait_ms(5_000) == 0


def test_a_new_owner_has_nothing_to_give_for_one_period_and_then_all_of_it() -> None:
    limiter = Limiter(3, period_ms=1_000, full_at_ms=500)
    assert limiter.wait_ms(500) == 1_000 + MARGIN_MS
    at_ms = 1_500 + MARGIN_MS
    for reply in "123":
        assert limiter.wait_ms(at_ms) == 0
        limiter.reserve(reply)
    assert limiter.wait_ms(at_ms) > 0


def test_a_new_owner_waits_as_long_as_the_former_one_may_call_for_its_marks() -> None:
    limiter = Limiter.of_new_owner(3, period_ms=1_000, now_ms=500)
    assert limiter.wait_ms(500) == MARK_TO_CALL_MAX_MS + 1_000 + MARGIN_MS


def test_what_was_called_stays_counted_when_reservations_are_given_back() -> None:
    limiter = Limiter(3, period_ms=1_000)
    for reply in "123":
        limiter.reserve(reply)
    limiter.called("1", 0)
    limiter.release("1")
    limiter.keep(frozenset({"2"}))
    assert limiter.wait_ms(0) == 0
    limiter.reserve("4")
    assert limiter.wait_ms(0) == 1_000 + MARGIN_MS
