"""`flow test`: generated dialogs from the command line, and a finding that can be repeated."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from console.commands import flow_test
from console.exit_codes import ExitCode
from statemachines.leave_request import LeaveRequest
from testkit import fuzz, generate, stimuli
from testkit.laws import Violation
from testkit.worlds import Evidence
from tests.console_tests.conftest import Say

ONE = '[{"do":"say"},{"do":"wait"}]'


def broken_by_two_cancels(evidence: Evidence) -> list[Violation]:
    """A law that no engine keeps: nobody may cancel twice."""
    cancels = [seen for seen in evidence.seen if getattr(seen, "kind", "") == "cancel_requested"]
    if len(cancels) < 2:
        return []
    session_id, at_ms = cancels[1].session_id, cancels[1].at_ms  # type: ignore[union-attr]
    return [Violation(law="one cancel", session_id=session_id, what="there are two", at_ms=at_ms)]


def test_one_dialog_is_run_and_shown(ai: Say) -> None:
    result = ai("flow", "test", "leave_request", "--seed", "1", "--stimuli", ONE)
    assert result.exit_code == ExitCode.OK, result.output
    assert "[new → form.kind]" in result.stdout
    assert "every law holds in this dialog" in result.stdout


def test_a_finding_is_made_short_and_its_command_repeats_it(
    ai: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.laws, "check", broken_by_two_cancels)
    result = ai("flow", "test", "leave_request", "--seconds", "30", "--seed", "3")
    assert result.exit_code == ExitCode.FINDING, result.output
    assert "law 'one cancel' does not hold: there are two" in result.stdout
    command = shlex.split(result.stdout.strip().splitlines()[-1])
    shrunk = stimuli.from_json(command[-1])
    assert [type(one) for one in shrunk] == [stimuli.Say, stimuli.Say]
    again = ai(*command[1:], "--json")
    assert again.exit_code == ExitCode.FINDING
    found = json.loads(again.stdout)["finding"]
    assert found["command"] == shlex.join(command)
    assert found["stimuli"] == json.loads(command[-1])


def test_a_search_tells_what_it_saw(ai: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz.laws, "check", lambda evidence: [])
    monkeypatch.setattr(flow_test, "TOLD_EVERY_S", 0.0)
    result = ai("flow", "test", "leave_request", "--seconds", "0", "--seed", "3")
    assert result.exit_code == ExitCode.OK, result.output
    assert "every law holds in 1 dialog with" in result.stdout
    assert "0 of 0 s: 1 dialog, " in result.stderr
    shown = json.loads(ai("flow", "test", "leave_request", "--seconds", "0", "--json").stdout)
    assert shown["finding"] is None
    assert shown["coverage"]["parts"]["cell"]["seen"] > 0


DEFECT = """
from engine.turn import Turn
from statemachines.leave_request import LeaveRequest

ASKED = []
remember = ASKED.append  # whose list that is, nobody sees in it


class Careless(LeaveRequest):
    name = "careless"

    def ask_since(self, turn: Turn) -> None:
        remember(turn.text)
        turn.say(f"From which day? You are the {len(ASKED)}th to ask.")
"""


def test_a_finding_comes_again_in_any_process(home: Path) -> None:
    (home / "careless.py").write_text(DEFECT, encoding="utf-8")
    root = str(Path(flow_test.__file__).parents[2])

    def said(*words: str, hash_seed: str) -> "subprocess.CompletedProcess[str]":
        main = [sys.executable, "-P", "-m", "console.main"]
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        return subprocess.run(
            [*main, *words], cwd=home, env=env, capture_output=True, text=True, check=False
        )

    found = said("flow", "test", "careless:Careless", "--seed", "4", hash_seed="0")
    assert found.returncode == ExitCode.FINDING, found.stderr
    assert "law 'fold equals stored' does not hold" in found.stdout
    _, *words = shlex.split(found.stdout.strip().splitlines()[-1])
    again = [said(*words, hash_seed=seed) for seed in ("1", "2")]
    assert {one.returncode for one in again} == {ExitCode.FINDING}
    assert again[0].stdout == again[1].stdout
    assert again[0].stdout.splitlines()[1] == found.stdout.splitlines()[1]


def test_the_command_of_a_finding_builds_the_same_flow_anywhere(
    ai: Say, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.laws, "check", broken_by_two_cancels)
    (home / "config").mkdir()
    (home / "config" / "assistant.toml").write_text(
        '[flow]\nname = "leave_request"\nconfig.language = "zh"\n', encoding="utf-8"
    )
    cancels = '[{"do":"say","kind":"cancel_requested"},{"do":"say","kind":"cancel_requested"}]'
    zone = {"AI_ASSISTANT_FLOW__CONFIG__UTC_OFFSET_MIN": "480"}
    first = ai("flow", "test", "--stimuli", cancels, "--seed", "1", **zone)
    assert first.exit_code == ExitCode.FINDING, first.output
    variable, *words = shlex.split(first.stdout.strip().splitlines()[-1])
    assert variable == "AI_ASSISTANT_FLOW__CONFIG__UTC_OFFSET_MIN=480"
    monkeypatch.chdir("/")
    assert ai(*words[1:], **zone).stdout == first.stdout


def test_what_raises_is_a_finding_too(ai: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(evidence: Evidence) -> list[Violation]:
        if broken_by_two_cancels(evidence):
            raise ZeroDivisionError("in the middle")
        return []

    monkeypatch.setattr(fuzz.laws, "check", check)
    result = ai("flow", "test", "leave_request", "--seconds", "30", "--seed", "3", "--json")
    assert result.exit_code == ExitCode.FINDING, result.output
    found = json.loads(result.stdout)["finding"]
    assert found["law"] == fuzz.NOTHING_IS_RAISED
    assert "ZeroDivisionError at test_flow_test.py:" in found["what"]
    assert len(found["stimuli"]) == 2


def test_ctrl_c_ends_a_search_with_what_it_saw(ai: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = fuzz.Search.next

    def next_or_stop(search: fuzz.Search) -> fuzz.Run:
        if search.runs == 2:
            raise KeyboardInterrupt
        return searched(search)

    monkeypatch.setattr(fuzz.laws, "check", lambda evidence: [])
    monkeypatch.setattr(fuzz.Search, "next", next_or_stop)
    result = ai("flow", "test", "leave_request", "--seed", "3")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "every law holds in 2 dialogs with" in result.stdout


def test_ctrl_c_while_a_finding_is_made_short_keeps_it(
    ai: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fuzz.laws, "check", broken_by_two_cancels)
    monkeypatch.setattr(fuzz, "reduced", stopped)
    result = ai("flow", "test", "leave_request", "--seconds", "30", "--seed", "3")
    assert result.exit_code == ExitCode.FINDING
    command = shlex.split(result.stdout.strip().splitlines()[-1])
    assert len(stimuli.from_json(command[-1])) > 2


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (("no_such_flow",), ExitCode.FAILED, "there are: assistant, leave_request"),
        (("no_such:Flow",), ExitCode.FAILED, "no_such:Flow cannot be imported"),
        (("leave_request", "--seconds", "nan"), ExitCode.USAGE, "--seconds"),
        (("leave_request", "--seconds", "-1"), ExitCode.USAGE, "--seconds"),
        (("leave_request", "--seed", "-1"), ExitCode.USAGE, "--seed"),
        (("leave_request", "--seed", "x"), ExitCode.USAGE, "--seed"),
        (("leave_request", "--stimuli", "say"), ExitCode.USAGE, "--stimuli"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said(
    ai: Say, given: tuple[str, ...], code: ExitCode, told: str
) -> None:
    result = ai("flow", "test", *given)
    assert (result.exit_code, told in result.output) == (code, True), result.output


def test_any_seed_that_a_finding_names_is_taken(ai: Say) -> None:
    last = str(flow_test.SEEDS + 1_000_000)
    result = ai("flow", "test", "leave_request", "--seed", last, "--stimuli", ONE)
    assert result.exit_code == ExitCode.OK, result.output


def test_stimuli_that_are_none_are_told(ai: Say) -> None:
    result = ai("flow", "test", "leave_request", "--stimuli", '[{"do":"fly"}]')
    assert result.exit_code == ExitCode.USAGE
    assert "--stimuli" in result.output


def test_a_field_that_no_stimulus_has_is_told(ai: Say) -> None:
    result = ai("flow", "test", "leave_request", "--stimuli", '[{"do":"say","usr":1}]')
    assert (result.exit_code, "`usr`" in result.output) == (ExitCode.USAGE, True), result.output


FOR_EVER = """
from engine.turn import Turn
from statemachines.flow import Flow

QUIET = ["operator_said", "handed_back", "stop_requested", "feedback_given", "reply_undelivered"]


class ForEver(Flow):
    name, version, initial = "for_ever", 1, "new"
    states = ["new", dict(name="open", initial="thinking", children=["thinking"])]
    transitions = [
        dict(trigger="message_received", source="new", dest="open", before="ask"),
        dict(trigger="model_replied", source="open.thinking", dest="=", before="ask"),
        dict(trigger="escalated", source="open", dest="new", before="apologise"),
        dict(trigger="request_failed", source="open", dest="new", before="apologise"),
    ]
    postpone = {"open": ["message_received"]}
    ignore = {"new": QUIET, "open": QUIET}

    def ask(self, turn: Turn) -> None:
        turn.call_model("x", within_s=30)

    def apologise(self, turn: Turn) -> None:
        turn.apologise("sorry")


class Raising(ForEver):
    def build(self, config):
        raise RuntimeError("no such server")
"""


def test_a_flow_that_never_rests_is_found_and_told_in_a_few_lines(ai: Say, home: Path) -> None:
    (home / "asks_for_ever.py").write_text(FOR_EVER, encoding="utf-8")
    result = ai("flow", "test", "asks_for_ever:ForEver", "--seconds", "0", "--seed", "3")
    assert result.exit_code == ExitCode.FINDING, result.output
    assert "law 'comes to rest' does not hold: its dialog in open.thinking goes on" in result.stdout
    assert "more lines\n" in result.stdout
    assert len(result.stdout.splitlines()) < 80
    command = shlex.split(result.stdout.strip().splitlines()[-1])
    assert len(stimuli.from_json(command[-1])) <= 12


def test_a_flow_that_raises_while_it_is_built_is_told(ai: Say, home: Path) -> None:
    (home / "asks_for_ever.py").write_text(FOR_EVER, encoding="utf-8")
    chat = home / "some.chat"
    chat.write_text("flow: asks_for_ever:Raising\nann: hi\n", encoding="utf-8")
    told = "flow asks_for_ever:Raising does not load: RuntimeError: no such server (asks_for_ever"
    for command in (("test", "asks_for_ever:Raising"), ("chat", str(chat))):
        result = ai("flow", *command)
        assert (result.exit_code, told in result.output) == (ExitCode.FAILED, True), result.output


def test_one_seed_gives_one_search() -> None:
    flow = LeaveRequest()
    script = generate.script_of(flow)
    searches = [fuzz.Search(flow, script, seed=5) for _ in range(2)]
    first, second = ([search.next().stimuli for _ in range(20)] for search in searches)
    assert first == second


def test_lists_lean_to_what_was_not_seen() -> None:
    flow = LeaveRequest()
    script = generate.script_of(flow)
    search = fuzz.Search(flow, script, seed=1)
    plain = generate.stimuli(flow, script, rng=Random(1), length=2_000)
    lean = generate.stimuli(flow, script, rng=Random(1), length=2_000, seen=search.coverage())

    def stops(listed: tuple[stimuli.AnyStimulus, ...]) -> int:
        return sum(isinstance(one, stimuli.Stop) for one in listed)

    assert stops(lean) > 1.5 * stops(plain)


def test_words_of_a_flow_are_found_in_its_own_source() -> None:
    says = generate.script_of(LeaveRequest()).says
    assert says["cancel_requested"] == ["cancel", "取消"]
    assert {"annual", "tomorrow", "yes", "no"} <= set(says["words"])


def test_it_needs_neither_pytest_nor_hypothesis(home: Path) -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None; "
        f"sys.argv = ['ai-assistant', 'flow', 'test', 'leave_request', '--stimuli', {ONE!r}]; "
        "from console.main import main; main()"
    )
    root = Path(flow_test.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.OK, done.stderr
