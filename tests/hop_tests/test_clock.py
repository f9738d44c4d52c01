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


def woken(deadlines: Deadlines, now_ms: int) -> list[tuple[str, int]]:
    """The ids and times of what is woken then."""
    events = [codec.decode_event(one.value) for one in deadlines.reached(now_ms, limit=10)]
    return [(e.id, e.body.due_ms) for e in events if isinstance(e.body, ClockReached)]


def test_a_wake_up_that_was_set_aside_comes_again_later_each_time_and_not_for_ever() -> None:
    deadlines = Deadlines()
    deadlines.put("a", 1_000)
    now_ms, told, pauses = 1_000, [], []
    while (wakes_ms := deadlines.next_ms()) is not None:
        assert deadlines.wakes_ms("a") == wakes_ms
        pauses.append(wakes_ms - now_ms)
        now_ms = wakes_ms + 5
        ((event_id, due_ms),) = woken(deadlines, now_ms)
        told.append(event_id)
        deadlines.set_aside("a", due_ms, at_ms=now_ms)
    assert pauses == [0, *(60_000 * 4**n for n in range(5))]
    assert len(set(told)) == len(told) == 6  # an id at which a process died is not told again
    assert deadlines.wakes_ms("a") is None
    deadlines.put("a", now_ms)  # it was stepped: its new deadline begins anew
    assert [due_ms for _, due_ms in woken(deadlines, now_ms)] == [now_ms]
    deadlines.set_aside("a", now_ms, at_ms=now_ms)
    assert deadlines.next_ms() == now_ms + 60_000


def test_who_begins_anew_from_the_letters_wakes_as_who_set_them_aside() -> None:
    lived, letters = Deadlines(), []
    lived.put("a", 1_000)
    for _ in range(3):
        now_ms = (lived.next_ms() or 0) + 7
        ((_, due_ms),) = woken(lived, now_ms)
        letters.append((due_ms, now_ms))
        lived.set_aside("a", due_ms, at_ms=now_ms)
        began = Deadlines()
        began.put("a", 1_000)
        for due_ms, at_ms in letters:
            began.set_aside("a", due_ms, at_ms=at_ms)
        assert began.next_ms() == lived.next_ms()


def test_a_letter_about_a_deadline_that_is_no_more_changes_nothing() -> None:
    deadlines = Deadlines()
    deadlines.set_aside("nobody", 5, at_ms=6)
    deadlines.put("a", 100)
    deadlines.put("a", 2_000)  # it was stepped, beside the wake-up that was set aside
    deadlines.set_aside("a", 100, at_ms=150)
    assert deadlines.next_ms() == 2_000
    deadlines.put("a", None)
    deadlines.set_aside("a", 100, at_ms=160)
    assert deadlines.next_ms() is None
