"""The tutorial, followed to the letter: its files, its failure, its fix."""

import re
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

GUIDE = Path(__file__).parents[2] / "docs" / "testing-flows.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(kind: str) -> list[str]:
    """All blocks of one kind, in order."""
    found = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    return [text for of_kind, text in found if of_kind == kind]


def patched(text: str, change: str) -> str:
    """The text with one change: lines of `+` for lines of `-`, between lines that stay."""
    lines = change.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, before
    return text.replace(before, after)


def test_the_tutorial_finds_the_lost_message_and_its_fix_mends_it(
    pytester: pytest.Pytester, request: pytest.FixtureRequest
) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    known = {name for name, _ in request.config.pluginmanager.list_name_plugin()}
    pytester.plugins = [] if "ai-assistant-testkit" in known else ["testkit.plugin"]
    for code in blocks("python"):
        name = code.splitlines()[0].removeprefix("# ")
        (pytester.path / name).write_text(code, encoding="utf-8")

    (told,) = blocks("text")
    done = pytester.runpytest_subprocess("-k", "everyone_is_served and simulator or loads")
    done.assert_outcomes(passed=1, failed=1)
    wanted = [line for line in told.splitlines() if line]
    shown = [line for line in done.outlines if line in wanted]
    assert shown == wanted
    saved = "dialogs/test_desk.TestDesk.everyone_is_served-simulator.chat"
    assert saved in GUIDE.read_text(encoding="utf-8")
    assert (pytester.path / saved).is_file()

    flow = (pytester.path / "desk.py").read_text(encoding="utf-8")
    for change in blocks("diff"):
        flow = patched(flow, change)
    (pytester.path / "desk.py").write_text(flow, encoding="utf-8")
    done = pytester.runpytest_subprocess("-k", "everyone_is_served or loads or saved")
    done.assert_outcomes(passed=4)


def test_what_the_tutorial_says_of_a_dialog_is_there() -> None:
    from testkit.dialogs import Dialog, Message, Moment, Said

    text = GUIDE.read_text(encoding="utf-8")
    tables = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")}
    named = {word for cell in tables for word in re.findall(r"`(\w+)", cell)}
    public = {name for name in vars(Dialog) if not name.startswith("_")}
    assert public - {"until", "came", "set_aside"} <= named
    for record, words in (
        (Message, ("text", "kind", "user", "at_ms", "disposition", "waited_s")),
        (Said, ("text", "author", "at_ms")),
        (Moment, ("event", "before", "after", "said", "at_ms", "record")),
    ):
        assert [word for word in words if not hasattr(record, word)] == []
