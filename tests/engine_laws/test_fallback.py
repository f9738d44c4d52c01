"""Fallback strategies: which patterns are taken, and that a gate shows nothing of a match."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.effects import FallbackStrategy
from engine.errors import Refused
from engine.fallback import HELD_BACK_CHARS_MAX, PATTERN_CHARS_MAX, Gate, check_pattern

TAKEN = (
    "^系统错误",
    "无法.*回答",
    "(?i)internal server error",
    "抱歉.*(不能|无法).*帮",
    r"\berror \d{3}\b",
    "(ab)*c",
    "[a-z]{300}",
    "colou?r",
    "a|b|cd",
    "(?:x|yz)?w",
)
REFUSED = (
    "",
    "a" * (PATTERN_CHARS_MAX + 1),
    "(a+)+b",
    "(a*)*",
    "((a+)b?)*",
    "(a|a)*b",
    "(a|ab)+$",
    "(a?a)*b",
    "(x(a|bc)y)*",
    "(a{2,3}){2}",
    "(?=a)b",
    "(?<!a)b",
    r"(a)\1",
    "(a)?(?(1)b|c)",
    "(?>(a+)+b)",
    "a*+b",
    "a*b*c*d*",
    "(",
    "[",
    "*",
    "a{2,1}",
    "a{99999999999999999999}",
    "\\",
)


@pytest.mark.parametrize("pattern", TAKEN)
def test_a_pattern_that_re2_would_take_is_taken(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_is_wrong_or_can_run_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        check_pattern(pattern)


# `[[` will mean something else one day: re says so, and that is no error.
@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@given(pattern=st.text(st.sampled_from("ab|()[]{}*+?.^$\\12,:=!<>Bd"), max_size=20))
def test_checking_never_raises_anything_else(pattern: str) -> None:
    try:
        check_pattern(pattern)
    except Refused:
        return
    re.compile(pattern)


def _gate(*patterns: str) -> Gate:
    return Gate(tuple(FallbackStrategy(pattern=p, action=f"do {p}") for p in patterns))


atoms = st.sampled_from(["a", "b", "ab", "[ab]", ".", "a?", "b{1,3}", "(a|bb)", r"\b", r"\B", "^"])
bounded = st.lists(st.one_of(atoms, st.sampled_from(["$", " "])), min_size=1, max_size=5)


@given(patterns=st.lists(bounded.map("".join), min_size=1, max_size=3), text=st.text("ab \n"))
@example(patterns=[r"ab\B"], text="abb")
def test_a_gate_never_shows_a_character_of_a_match(patterns: list[str], text: str) -> None:
    gate = _gate(*patterns)
    shown = ""
    for end in range(len(text) + 1):
        so_far = text[:end]
        if gate.match(so_far) is not None:
            begins = min(m.start() for p in patterns if (m := re.search(p, so_far)))
            assert len(shown) <= begins
            return
        shown = gate.shown(so_far)
        assert so_far.startswith(shown)


def test_a_pattern_without_a_longest_match_holds_back_a_fixed_length() -> None:
    gate = _gate("a.*b")
    assert gate.shown("x" * (HELD_BACK_CHARS_MAX + 5)) == "x" * 5
    assert _gate("[a-z]{300}").shown("x" * 305) == "x" * 5


def test_without_strategies_everything_is_shown_and_nothing_matches() -> None:
    assert _gate().shown("all of it") == "all of it"
    assert _gate().match("all of it") is None


def test_the_first_strategy_that_matches_decides() -> None:
    assert _gate("b", "a").match("ab") == "do b"
