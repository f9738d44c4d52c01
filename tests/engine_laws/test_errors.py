"""What a log line says of an error: its class and its place, and the text of our own only."""

import pytest

from engine.errors import TRACED_MAX, Refused, trace_of

SECRET = "the vault opens at noon"


def _fail(text: str) -> None:
    raise ValueError(text)


def _caught(text: str, *, refuse: str = "") -> BaseException:
    try:
        try:
            _fail(text)
        except ValueError as error:
            if refuse:
                raise Refused(refuse) from error
            raise
    except Exception as error:
        return error
    raise AssertionError


def test_an_error_is_told_by_its_class_and_its_frames_and_not_by_its_text() -> None:
    told = trace_of(_caught(SECRET))
    assert told.startswith("ValueError by way of _caught (")
    assert "_fail (" in told
    assert "test_errors.py:" in told
    assert SECRET not in told


def test_our_own_error_is_told_with_its_text_and_what_it_came_of() -> None:
    told = trace_of(_caught(SECRET, refuse="the disk is full"))
    assert told.startswith("Refused: the disk is full by way of _caught (")
    assert "; it came of ValueError by way of " in told
    assert SECRET not in told


def test_an_error_of_endless_depth_is_told_in_a_line() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert trace_of(caught.value).count("deeper (") == TRACED_MAX
    assert trace_of(ValueError(SECRET)) == "ValueError by way of nothing"
