"""The set of taken ids: what it keeps, for how long, and what of it is in a session's line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import seen
from engine.limits import SEEN_KEPT_MS, SEEN_MAX, SEEN_OTHERS_MAX
from tests.engine_laws.strategies import HOUR_MS, START_MS

FULL = SEEN_MAX + SEEN_OTHERS_MAX
gaps = st.lists(st.sampled_from([0, 1, 60_000, HOUR_MS, 7 * HOUR_MS, 30 * HOUR_MS]), max_size=200)


@given(gaps=gaps)
def test_an_id_is_known_for_25_hours_and_forgotten_soon_after(gaps: list[int]) -> None:
    taken: dict[str, int] = {}
    kept, now_ms = b"", START_MS
    for number, gap in enumerate(gaps):
        now_ms += gap
        assert not seen.contains(kept, f"s/{number}")
        kept = seen.add(kept, f"s/{number}", now_ms=now_ms)
        taken[f"s/{number}"] = now_ms
        for identity, at_ms in taken.items():
            if now_ms - at_ms <= SEEN_KEPT_MS:
                assert seen.contains(kept, identity)
    # A bucket is dropped when the next one begins: at most two hours more than promised.
    recent = sum(now_ms - at_ms <= SEEN_KEPT_MS + 2 * HOUR_MS for at_ms in taken.values())
    assert seen.full(kept, 1, now_ms=now_ms) == bool(taken)
    assert not seen.full(kept, recent + 1, now_ms=now_ms)


def test_a_full_set_is_no_longer_full_when_its_hours_have_passed_though_nothing_was_added() -> None:
    kept = b""
    for number in range(100):
        kept = seen.add(kept, f"s/{number}", now_ms=START_MS)
    assert seen.full(kept, 100, now_ms=START_MS)
    assert not seen.full(kept, 101, now_ms=START_MS)
    assert not seen.full(kept, 100, now_ms=START_MS + SEEN_KEPT_MS + HOUR_MS)


def test_only_the_newest_bucket_and_a_digest_are_in_the_line() -> None:
    kept = b""
    for number in range(4_000):
        kept = seen.add(kept, f"s/{number}", now_ms=START_MS + number * 1_000)
        assert seen.newest_bytes(kept) <= 6 + 64 * 8 + 16
    assert len(kept) < 33_000
    assert all(seen.contains(kept, f"s/{number}") for number in range(4_000))


def test_a_flood_makes_it_forget_the_oldest_and_never_less_full() -> None:
    kept = b""
    for number in range(9_000):
        kept = seen.add(kept, f"s/{number}", now_ms=START_MS)
        if number >= FULL and not number % 50:
            assert seen.full(kept, FULL, now_ms=START_MS)
            assert len(kept) < (FULL + 128) * 8 + 2_000
    assert all(seen.contains(kept, f"s/{number}") for number in range(9_000 - FULL, 9_000))
    assert not seen.contains(kept, "s/0")


def test_two_sets_with_equal_lines_are_equal() -> None:
    one, other = b"", b""
    for number in range(300):
        one = seen.add(one, f"s/{number}", now_ms=START_MS)
        other = seen.add(other, f"s/{number if number else 'another'}", now_ms=START_MS)
    assert one[: seen.newest_bytes(one)] != other[: seen.newest_bytes(other)]


def test_bytes_that_lie_across_two_hashes_are_no_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = seen.add(seen.add(b"", "s/1", now_ms=START_MS), "s/2", now_ms=START_MS)
    across = kept[6 + 4 : 6 + 12]
    assert across in kept
    monkeypatch.setattr(seen, "_hash", lambda _: across)
    assert not seen.contains(kept, "any")
    monkeypatch.setattr(seen, "_hash", lambda _: kept[6:14])
    assert seen.contains(kept, "any")


def test_log_time_that_stands_still_or_an_empty_set_is_no_trouble() -> None:
    assert not seen.contains(b"", "s/1")
    assert not seen.full(b"", 1, now_ms=0)
    assert seen.newest_bytes(b"") == 0
    assert seen.contains(seen.add(b"", "s/1", now_ms=0), "s/1")
