"""Running conversations: what a failure says, and the two ways to run files."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from console.commands import assistant
from engine.errors import Refused
from streams.chat.parse import read
from testkit.chat_files import run_dialog
from tests.doc_tests import pages

HERE = Path(__file__).parent
CHATS = sorted(HERE.glob("*.chat"))
PAGE = "docs/chat-format.md"
EXAMPLES = [one for one in pages.snippets(PAGE) if one.kind == "chat"]
WRONG = "flow: assistant\n\n## a greeting\nann: hi\nmodel: hello\nbot: hallo\n"

SET_TWICE = """flow: assistant
busy = merge

## as at the top
ann: hi
[bot.answering]

## otherwise
busy = sideways
ann: hi
"""


def failures(text: str) -> list[str]:
    source = read(text, "some.chat")
    return [run_dialog(source, number) for number in range(len(source.chat.dialogs))]


def test_a_failure_shows_the_conversation_and_what_was_expected() -> None:
    (report,) = failures(WRONG)
    assert report.splitlines() == [
        "some.chat:6: a greeting: the conversation went another way",
        "",
        "    ann: hi",
        "     [bot.answering]",
        "    model: hello",
        "     bot: hello",
        "     [bot.listening]",
        "  > bot: hallo",
        "",
        "  expected  hallo",
        "  actual    hello",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("model: hello\nbot says nothing", "actual    bot: hello"),
        ("model: hello\nbot: hello\nmodel: again", "no such request is waiting; there is none"),
        ("bot: hello", "nothing more was said"),
        ("[person]", "actual    [bot.answering]"),
        ("ann's message is answered", "actual    waiting"),
        ("ann's message 2 is answered", "ann has written 1 message"),
        ("model is asked: bye", "actual    hi"),
        ("skill is asked: hi", "no skill request waits for ann"),
        ("operator reads: hi", "nothing more was forwarded"),
        ("crash at step-commit", "faults need `world: simulator`"),
        ("bob stops", "bob has not written yet"),
        ("ann likes it", "ann was told nothing yet"),
        ("late: answer 1", "no request has ended yet"),
        ("ann:", "refused at the door"),
        ("model: a\nann: two\nmodel: b\nbot: a", "> (the end)"),
        ("model for bob: x", "there is model for ann"),
    ],
)
def test_each_line_that_does_not_hold_says_why(said: str, told: str) -> None:
    (report,) = failures(f"flow: assistant\nann: hi\n{said}\n")
    assert report.startswith("some.chat:")
    assert told in report


def test_a_dialog_that_looks_at_nothing_may_leave_answers_unread() -> None:
    assert failures("flow: assistant\nann: hi\nmodel: hello\n") == [""]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_examples_of_the_specification_run(example: pages.Snippet) -> None:
    assert set(failures(example.text)) == {""}


@pytest.mark.parametrize("path", CHATS, ids=lambda path: path.stem)
def test_the_conversations_of_the_shipped_flows_run(path: Path) -> None:
    source = read(path.read_text(encoding="utf-8"), path.name)
    assert [run_dialog(source, number) for number, _ in enumerate(source.chat.dialogs)] == [
        ""
    ] * len(source.chat.dialogs)


def test_the_command_line_runs_files_and_folders() -> None:
    done = CliRunner().invoke(assistant, ["flow", "chat", str(HERE)])
    assert done.exit_code == 0, done.output
    assert "fine  人工.chat: 没有人来" in done.output
    assert done.output.splitlines()[-1].endswith("conversations, all as they are written")


def test_the_command_line_tells_what_went_another_way(tmp_path: Path) -> None:
    path = tmp_path / "wrong.chat"
    path.write_text(WRONG, encoding="utf-8")
    done = CliRunner().invoke(assistant, ["flow", "chat", str(path)])
    assert done.exit_code == 1
    assert "expected  hallo" in done.output
    assert "1 of 1 conversation went another way" in done.output
    path.write_text("flow: nothing\nann: hi", encoding="utf-8")
    done = CliRunner().invoke(assistant, ["flow", "chat", str(path)])
    assert (done.exit_code, "there is no flow 'nothing'" in done.output) == (1, True)


def test_one_wrong_file_does_not_hide_the_others(tmp_path: Path) -> None:
    for name, text in {"a": "flow: assistant\nann hi\n", "b": WRONG, "c": SET_TWICE}.items():
        (tmp_path / f"{name}.chat").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(assistant, ["flow", "chat", str(tmp_path)])
    assert done.exit_code == 1
    assert "a.chat:2: “ann hi”: this is no line of a chat" in done.output
    assert "b.chat:6: a greeting: the conversation went another way" in done.output
    assert "fine  c.chat: as at the top" in done.output
    assert "3 of 4 conversations went another way, or cannot be read" in done.output


def test_a_setting_that_the_flow_does_not_take_is_told_with_its_own_line() -> None:
    source = read(SET_TWICE, "some.chat")
    assert run_dialog(source, 0) == ""
    with pytest.raises(Refused, match=r'^some\.chat:9: busy: found "sideways" .*allowed: "queue"'):
        run_dialog(source, 1)
    unknown = read("flow: assistant\nworld: simulator\nbussy = merge\nann: hi\n", "some.chat")
    with pytest.raises(Refused, match=r"^some\.chat:3: bussy: .*Did you mean busy\?"):
        run_dialog(unknown, 0)


@pytest.mark.parametrize("text", ["flow: assistant\n", "flow: assistant\n\tann: hi\n"])
def test_a_file_without_a_conversation_is_no_test_that_passes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "some.chat"
    path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(assistant, ["flow", "chat", str(path)])
    assert (done.exit_code, "there is no conversation in it" in done.output) == (1, True)
    assert "no conversation in it" in pytest_shows(tmp_path, {"some.chat": text}, code=1)


def test_a_title_with_nothing_under_it_is_no_test_that_passes() -> None:
    with pytest.raises(Refused, match=r"^some\.chat:2: nothing stands under this title"):
        run_dialog(read("flow: assistant\n## to be written\n", "some.chat"), 0)


def test_a_flow_in_a_file_beside_the_chat_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_leave.py").write_text(
        "from statemachines.leave_request import LeaveRequest as Leave", encoding="utf-8"
    )
    Path("mine.chat").write_text("flow: my_leave:Leave\nann: hi\nbot: Which*\n", encoding="utf-8")
    done = CliRunner().invoke(assistant, ["flow", "chat", "mine.chat"])
    assert done.exit_code == 0, done.output


def test_pytest_collects_each_dialog_and_shows_no_traceback(tmp_path: Path) -> None:
    good = "flow: leave_request\n## one\nann: hi\nbot: Which*\n"
    shown = pytest_shows(tmp_path, {"good.chat": good, "wrong.chat": WRONG}, code=1)
    assert "good.chat::one PASSED" in shown
    assert "wrong.chat:6: a greeting: the conversation went another way" in shown
    assert "  expected  hallo\n" in shown
    assert "1 failed, 1 passed" in shown
    assert ".py" not in shown


def test_pytest_tells_the_line_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    shown = pytest_shows(tmp_path, {"bad.chat": "flow: assistant\nann hi\n"}, code=1)
    assert "bad.chat:2: “ann hi”" in shown
    assert "ann: TEXT" in shown
    assert ".py" not in shown


def pytest_shows(folder: Path, files: dict[str, str], *, code: int) -> str:
    """What a run of pytest in a folder of these files prints."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *_plugin()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.partition("collected")[2]


def _plugin() -> list[str]:
    """The plugin by its module, where this checkout was installed before it had one."""
    known = {entry.value for entry in entry_points(group="pytest11")}
    return [] if "testkit.chat_plugin" in known else ["-p", "testkit.chat_plugin"]
