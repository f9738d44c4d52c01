"""The clock hop by itself: each deadline is told once, the newest of a session counts."""

from hypothesis import given
from hypothesis import strategies as st

from engine import codec
from engine.events import ClockReached
from streams.clock import Deadlines

SESSIONS = st.sampled_from([f"webchat:web:k1:{n}" for n in range(5)])


def test_a_newer_deadline_replaces_the_older_and_none_takes_it_away() -> None:
    deadlines = Deadlines()
    deadlines.put("a", 100)
    deadlines.put("b", 50)
    deadlines.put("a", 200)
    assert (len(deadlines), deadlines.next_ms()) == (2, 50)
    deadlines.put("b", None)
    assert deadlines.next_ms() == 200
    (woken,) = deadlines.reached(1_000, limit=10)
    event = codec.decode_event(woken.value)
    assert (event.session_id, event.at_ms, event.body) == ("a", 1_000, ClockReached(due_ms=200))
    assert deadlines.reached(1_000, limit=10) == []
    assert deadlines.next_ms() is None


def test_after_an_outage_sessions_come_in_turn_the_longest_due_first() -> None:
    deadlines = Deadlines()
    for n in range(10):
        deadlines.put(f"s{n}", 1_000 - n)
    first = [append.session_id for append in deadlines.reached(5_000, limit=4)]
    assert first == ["s9", "s8", "s7", "s6"]
    assert len(deadlines.reached(5_000, limit=100)) == 6


@given(st.lists(st.tuples(SESSIONS, st.none() | st.integers(0, 500)), max_size=200))
def test_what_is_told_is_what_was_put_last(puts: list[tuple[str, int | None]]) -> None:
    deadlines = Deadlines()
    for session, due_ms in puts:
        deadlines.put(session, due_ms)
    last = dict(puts)
    told = {append.session_id for append in deadlines.reached(250, limit=1_000)}
    assert told == {s for s, due_ms in last.items() if due_ms is not None and due_ms <= 250}
    assert len(deadlines) == sum(due_ms is not None for due_ms in last.values()) - len(told)


def test_a_deadline_that_is_put_twice_is_told_once_and_a_late_one_with_its_own_time() -> None:
    deadlines = Deadlines()
    for _ in range(3):
        deadlines.put("a", 100)
    (woken,) = deadlines.reached(9_000, limit=10)
    assert codec.decode_event(woken.value).body == ClockReached(due_ms=100)
    assert (deadlines.reached(9_000, limit=10), deadlines.next_ms()) == ([], None)
    deadlines.put("a", 100)  # still due after its step: told again, as the same event
    (again,) = deadlines.reached(9_001, limit=10)
    assert again.event_id == woken.event_id


def test_what_was_replaced_often_does_not_pile_up() -> None:
    deadlines = Deadlines()
    deadlines.put("b", 5)
    for due_ms in range(10_000):
        deadlines.put("a", due_ms)
    assert len(deadlines._heap) < 100
    assert [a.session_id for a in deadlines.reached(10_000, limit=10)] == ["b", "a"]
