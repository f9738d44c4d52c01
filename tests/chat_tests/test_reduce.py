"""Delta debugging: what is left still fails, and nothing of it can go."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.chat.reduce import reduce


@given(st.lists(st.integers(0, 9), max_size=40), st.sets(st.integers(0, 9), max_size=3))
def test_nothing_of_what_is_left_can_be_left_out(items: list[int], needed: set[int]) -> None:
    def fails(some: Sequence[int]) -> bool:
        return needed <= set(some)

    if not fails(items):
        with pytest.raises(ValueError, match="does not fail"):
            reduce(items, fails)
        return
    kept = reduce(items, fails)
    assert sorted(kept) == sorted(needed)
    assert kept == reduce(items, fails)


def test_two_that_need_each_other_stay_in_order() -> None:
    def fails(some: Sequence[str]) -> bool:
        return "".join(some).find("a") < "".join(some).find("b") if "a" in some else False

    assert reduce(list("xxaxxbxx"), fails) == ["a", "b"]


def test_it_asks_no_more_than_it_may_and_keeps_what_fails() -> None:
    asked = 0

    def fails(some: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return 7 in some

    kept = reduce(range(1_000), fails, calls_max=10)
    assert asked <= 10
    assert 7 in kept
    assert len(kept) < 1_000
