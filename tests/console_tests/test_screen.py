"""The chat in a terminal: answers as they grow, without cursor tricks."""

import pytest

from adapters.channels.webchat_wire import ErrorFrame, FrameFrame, LineFrame, StateFrame
from console.screen import Screen

REPLY = "session/reply"


def frame(n: int, text: str, *, attempt: int = 1) -> FrameFrame:
    return FrameFrame(conversation="c", reply=REPLY, attempt=attempt, n=n, text=text, html="")


def line(text: str, *, author: str = "bot", line_id: str = REPLY, how: str = "") -> LineFrame:
    return LineFrame(
        conversation="c", n=1, id=line_id, author=author, text=text, html="", at_ms=0, how=how
    )


def state(*, busy: bool, person: bool = False) -> StateFrame:
    return StateFrame(conversation="c", state="s", busy=busy, person=person)


Shown = pytest.CaptureFixture[str]


def test_an_answer_grows_on_its_line(capsys: Shown) -> None:
    screen = Screen()
    for seen in (frame(1, "The"), frame(2, "The sky"), line("The sky is blue.")):
        screen.see(seen)
    assert capsys.readouterr().out == "assistant> The sky is blue.\n"


def test_a_second_attempt_replaces_the_first_on_a_new_line(capsys: Shown) -> None:
    screen = Screen()
    for seen in (frame(1, "The old"), frame(1, "A new", attempt=2), line("A new one.")):
        screen.see(seen)
    assert capsys.readouterr().out == "assistant> The old\nassistant> A new one.\n"


def test_another_line_ends_an_open_answer(capsys: Shown) -> None:
    screen = Screen()
    for seen in (frame(1, "The"), line("Wait.", author="operator", line_id="o"), line("The end.")):
        screen.see(seen)
    assert capsys.readouterr().out == "assistant> The\noperator> Wait.\nassistant> The end.\n"


def test_what_was_typed_here_is_not_shown_again(capsys: Shown) -> None:
    screen = Screen()
    screen.typed("m1")
    screen.see(line("mine", author="user", line_id="m1"))
    screen.see(line("from the page", author="user", line_id="m2"))
    assert capsys.readouterr().out == "you> from the page\n"


def test_an_answer_that_was_stopped_says_so(capsys: Shown) -> None:
    Screen().see(line("The sk", how="stopped"))
    assert capsys.readouterr().out == "assistant> The sk\n(stopped)\n"


@pytest.mark.parametrize("kept", ["The sky", "The"])
def test_an_interrupted_answer_is_shown_once(capsys: Shown, kept: str) -> None:
    screen = Screen()
    for seen in (frame(1, "The sky"), line(kept, how="cancelled")):
        screen.see(seen)
    assert capsys.readouterr().out == "assistant> The sky\n(cancelled)\n"


def test_an_answer_that_is_noted_after_the_next_has_begun_is_not_shown_again(capsys: Shown) -> None:
    screen = Screen()
    new = FrameFrame(conversation="c", reply="new", attempt=1, n=1, text="Now", html="")
    for seen in (frame(1, "The sky"), new, line("The sky", how="cancelled")):
        screen.see(seen)
    assert capsys.readouterr().out == (
        "assistant> The sky\nassistant> Now\n·> cancelled: The sky\n"
    )


def test_the_prompt_stands_once_and_nothing_is_printed_behind_it(capsys: Shown) -> None:
    screen = Screen()
    screen.prompt()
    screen.prompt()
    screen.see(line("Hello.", author="operator"))
    screen.prompt()
    screen.entered()
    screen.see(frame(1, "Good"))
    assert capsys.readouterr().out == "you> \noperator> Hello.\nyou> assistant> Good"


def test_a_message_that_came_too_late_says_that_nobody_answers_it(capsys: Shown) -> None:
    screen = Screen()
    screen.typed("m1")
    screen.see(line("typed here", author="user", line_id="m1", how="expired"))
    screen.see(line("from the page", author="user", line_id="m2", how="expired"))
    assert capsys.readouterr().out == (
        "·> not answered, more than a day late: typed here\n"
        "you> from the page\n"
        "·> not answered, more than a day late: from the page\n"
    )


def test_a_person_taking_over_and_errors_are_told(capsys: Shown) -> None:
    screen = Screen()
    for seen in (state(busy=True), state(busy=False, person=True)):
        screen.see(seen)
    screen.see(ErrorFrame(code="refused", text="too many", conversation="c", id="m"))
    assert capsys.readouterr().out == "·> a person will answer you here\nerror> too many\n"


def test_an_answer_plays_no_tricks_on_the_terminal(capsys: Shown) -> None:
    Screen().see(line("\x1b[31mred\x1b[0m"))
    assert "\x1b" not in capsys.readouterr().out
