"""What is printed is aligned, and plays no tricks on a terminal."""

import pytest

from console.terminal import columns, duration, one_line, plain, print_table, size, when
from console.words import describe_event
from engine.events import Event, HandedBack


def test_escape_sequences_are_made_visible() -> None:
    assert plain("a\x1b[2Jb\x07\u202ec\n d\r") == "a�[2Jb��c\n d�"


def test_chinese_characters_take_two_columns() -> None:
    assert columns("你好a") == 5
    assert one_line("你好世界" * 20, 11) == "你好世界你…"


def test_a_long_text_becomes_one_line() -> None:
    assert one_line("a\n b   c", 10) == "a b c"
    assert one_line("abcdefghij", 10) == "abcdefghij"
    assert one_line("abcdefghijk", 10) == "abcdefghi…"


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("你好", "x"), ("abcde", "y")])
    assert capsys.readouterr().out == "A      B\n你好   x\nabcde  y\n"


@pytest.mark.parametrize(
    ("ms", "told"),
    [(0, "0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (180_000, "3 min"), (9_000_000, "2 h 30 min")],
)
def test_a_duration_has_the_unit_that_a_person_would_take(ms: int, told: str) -> None:
    assert duration(ms) == told


def test_sizes_and_moments_are_readable() -> None:
    assert (size(98_362_432), size(12)) == ("98.4 MB", "12 bytes")
    assert when(None) == "-"
    assert when(1_700_000_000_123).endswith(".123")


@pytest.mark.parametrize(
    ("operator", "told"),
    [("operator", "an operator handed the session back"), ("ann", "operator ann handed")],
)
def test_an_operator_is_named_once(operator: str, told: str) -> None:
    body = HandedBack(operator=operator)
    event = Event(id="s/1", session_id="s", at_ms=1, source="operator", body=body)
    assert describe_event(event).startswith(told)
