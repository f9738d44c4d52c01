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
    "抱歉.*(不能|无法)帮(您|你)?",
    "抱歉.{0,20}无法.{0,20}回答",
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
    "抱歉.*无法.*回答",  # cubic in the text's length
    "a.{0,200}b.{0,200}c",  # and so is this, with a bound of its own
    "a?" * 40 + "a" * 40,  # 2^40 ways to match forty letters
    "(a|a)" * 30,
    ".*a{150}b",
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


opened = st.lists(st.one_of(atoms, st.sampled_from(["$", " "])), min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["a*", ".+", "(ab)*", ".*?"]).map(
        lambda repeat: "".join([*parts, repeat, *parts])
    )
)
whole = bounded.map("".join)


@given(patterns=st.lists(st.one_of(whole, opened), min_size=1, max_size=3), text=st.text("ab \n"))
@example(patterns=[r"ab\B"], text="abb")
@example(patterns=["ab$"], text="ab\n")
@example(patterns=["ab.*"], text="ab" * 150)
def test_a_gate_never_shows_a_character_of_a_match(patterns: list[str], text: str) -> None:
    gate, shown, compiled = _gate(*patterns), "", [re.compile(p) for p in patterns]
    for end in range(len(text) + 1):
        so_far, finished = text[:end], end == len(text)
        if gate.match(so_far, finished=finished) is not None:
            begins = min(m.start() for p in compiled if (m := p.search(so_far)))
            assert len(shown) <= begins
            return
        shown = gate.shown(so_far)
        assert so_far.startswith(shown)
    # Open repeats are bounded in a gate, and no text here is as long as that.
    assert not any(p.search(text) for p in compiled)


@given(
    patterns=st.lists(whole, min_size=1, max_size=3), text=st.text("ab \n"), more=st.text("ab\n")
)
@example(patterns=["^ab$"], text="ab", more="b")
@example(patterns=["ab$"], text="ab\n", more="b")
@example(patterns=[r"ab\b"], text="ab", more="b")
def test_a_match_in_an_unfinished_text_is_never_undone_by_what_follows(
    patterns: list[str], text: str, more: str
) -> None:
    if _gate(*patterns).match(text, finished=False) is not None:
        assert _gate(*patterns).match(text + more) is not None


@given(
    patterns=st.lists(st.one_of(whole, opened), min_size=1, max_size=3),
    parts=st.lists(st.text("ab \n", max_size=9)),
)
def test_a_text_that_grows_is_searched_as_if_it_came_at_once(
    patterns: list[str], parts: list[str]
) -> None:
    gate, text = _gate(*patterns), ""
    for part in parts:
        text += part
        found = gate.match(text, finished=False)
        assert found == _gate(*patterns).match(text, finished=False)
        if found is not None:
            return
    assert gate.match(text) == _gate(*patterns).match(text)


def test_a_match_that_nothing_can_undo_counts_at_once() -> None:
    assert _gate("^系统错误").match("系统错误", finished=False) is not None
    assert _gate("^系统错误$").match("系统错误", finished=False) is None
    assert _gate(r"(?:x|no\b)").match("no", finished=False) is None
    assert _gate(r"(?:x|no\b)").match("no, I", finished=False) is not None


def test_a_text_that_begins_anew_is_searched_from_its_beginning() -> None:
    gate = _gate("^no")
    assert gate.match("x" * 99, finished=False) is None
    assert gate.match("no" + "x" * 99, finished=False) == "do ^no"


def test_an_open_repeat_takes_no_more_than_is_held_back() -> None:
    gate = _gate("a.*b")
    assert gate.shown("x" * (HELD_BACK_CHARS_MAX + 8)) == "x" * 5
    assert gate.match("a" + "x" * HELD_BACK_CHARS_MAX + "b") == "do a.*b"
    assert gate.match("a" + "x" * (HELD_BACK_CHARS_MAX + 1) + "b") is None
    assert _gate("(?:abcd)*").shown("x" * 209) == "x" * 8
    assert _gate("[a-z]{300}").shown("x" * 305) == "x" * 4


@pytest.mark.parametrize("pattern", TAKEN)
def test_what_a_pattern_may_cost_has_a_bound_whatever_the_text(pattern: str) -> None:
    # The bound itself is computed: this only shows that a long text of near misses comes to an end.
    gate = _gate(pattern)
    for piece in ("a", "ab", "抱歉", "抱歉无法", "error 12"):
        gate.match(piece * (24_000 // len(piece)))


def test_without_strategies_everything_is_shown_and_nothing_matches() -> None:
    assert _gate().shown("all of it") == "all of it"
    assert _gate().match("all of it") is None


def test_the_first_strategy_that_matches_decides() -> None:
    assert _gate("b", "a").match("ab") == "do b"
