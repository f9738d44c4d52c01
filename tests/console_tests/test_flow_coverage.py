"""`flow coverage`: what users did with a flow, and what of that no test does."""

import json
import shlex
from pathlib import Path

import msgspec
import pytest

from adapters.logs.sqlite import SqliteLog
from console.exit_codes import ExitCode
from engine import codec
from engine.ports import SessionRow, StepRow
from statemachines.leave_request import LeaveRequest
from streams.embedded import data_dir
from testkit import coverage, fuzz
from testkit.coverage_report import document
from tests.console_tests.conftest import Say
from tests.doc_tests import pages
from tests.flow_tests.dialog import Dialog

PAGE = "docs/flow-coverage.md"
TESTED = ("hello",)
SAID = ("hello", "sick", "what?", "cancel")


def talked(*texts: str) -> Dialog:
    dialog = Dialog(LeaveRequest())
    for text in texts:
        dialog.says(text)
    return dialog


@pytest.fixture
def data(home: Path) -> Path:
    """A data directory with one conversation, and one record that cannot be read."""
    folder = home / "data"
    data_dir.prepare(folder)
    dialog = talked(*SAID)
    log = SqliteLog(folder / data_dir.LOG_FILE)
    rows = [StepRow("s", r.seq, r.event_id, 0, codec.encode(r)) for r in dialog.records]
    with log.transaction(log.claim(0)) as batch:
        batch.put_sessions([SessionRow("s", codec.encode(dialog.session))])
        batch.put_steps([*rows, StepRow("s", 9, "s/9", 0, b"{}")], at_ms=1)
    log.close()
    return folder


@pytest.fixture
def tests_file(home: Path) -> Path:
    """What `pytest --flow-coverage-json` writes."""
    found = coverage.of(LeaveRequest(), talked(*TESTED).records)
    path = home / "tests.json"
    path.write_bytes(msgspec.json.encode(document([found])))
    return path


def test_live_traffic_is_measured_from_the_log(ai: Say, data: Path) -> None:
    result = ai("flow", "coverage", "leave_request", "--from-log", "--data", str(data))
    assert result.exit_code == ExitCode.OK, result.output
    assert "seen in 4 steps of 1 session" in result.stdout
    assert "rows                4 of   16" in result.stdout
    assert "row 2 (message_received: form.kind -> None)" in result.stdout
    assert "crashes" not in result.stdout
    assert "1 step records cannot be read" in result.stderr


def test_what_users_do_that_no_test_does(ai: Say, data: Path, tests_file: Path) -> None:
    laid_over = ("--from-log", "--data", str(data), "--tests", str(tests_file))
    result = ai("flow", "coverage", "leave_request", *laid_over)
    assert result.exit_code == ExitCode.OK, result.output
    assert "1 ×  row 4 (message_received: form.dates.since -> None)" in result.stdout
    assert "×  row 0 (message_received: new -> form)\n" not in result.stdout
    shown = json.loads(ai("flow", "coverage", "leave_request", *laid_over, "--json").stdout)
    assert {entry["kind"] for entry in shown["untested"]} == {"row", "condition", "cell", "pair"}
    assert shown["live"]["percent"] > shown["tests"]["percent"]


def test_the_picture_is_written_where_it_is_asked_for(ai: Say, data: Path, home: Path) -> None:
    file = home / "flow.svg"
    asked = ("--from-log", "--data", str(data), "--svg", str(file))
    assert ai("flow", "coverage", "leave_request", *asked).exit_code == ExitCode.OK
    assert "— never" in file.read_text(encoding="utf-8")


def test_traffic_of_another_flow_is_told(ai: Say, data: Path) -> None:
    result = ai("flow", "coverage", "assistant", "--from-log", "--data", str(data))
    assert "records of other flow refs:\n  leave_request@1#" in result.stdout
    assert ": 4 steps, 0 counted" in result.stdout


def test_tests_alone_are_told_too(ai: Say, tests_file: Path) -> None:
    result = ai("flow", "coverage", "leave_request", "--tests", str(tests_file))
    assert "rows                1 of   16" in result.stdout
    wrong = ai("flow", "coverage", "assistant", "--tests", str(tests_file))
    assert wrong.exit_code == ExitCode.FAILED
    assert "it has: leave_request@1#" in wrong.output


def test_what_is_wrong_on_the_command_line_is_said(ai: Say, home: Path) -> None:
    assert ai("flow", "coverage", "leave_request").exit_code == ExitCode.USAGE
    assert "no log in" in ai("flow", "coverage", "leave_request", "--from-log").output
    (home / "bad.json").write_text("{}", encoding="utf-8")
    bad = ai("flow", "coverage", "leave_request", "--tests", "bad.json")
    assert bad.exit_code == ExitCode.FAILED
    assert "no file that --flow-coverage-json wrote" in bad.output


def test_the_commands_of_the_page_run(
    ai: Say, data: Path, tests_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.laws, "check", lambda evidence: [])
    written = "\n".join(snippet.text for snippet in pages.snippets(PAGE)).splitlines()
    lines = [shlex.split(line) for line in written if line.startswith("ai-assistant ")]
    assert len(lines) == 3
    stands_for = {"assistant": "leave_request", "flows.json": str(tests_file), "60": "0"}
    for _, *words in lines:
        here = [stands_for.get(word, word) for word in words]
        result = ai(*here, AI_ASSISTANT_DATA=str(data))
        assert result.exit_code == ExitCode.OK, result.output
