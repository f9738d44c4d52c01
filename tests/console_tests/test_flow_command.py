"""`flow`: what is said of a flow before anybody talks to it."""

import json

import pytest

from adapters.skills.registry import enabled
from console.commands.flow import FORMATS
from console.exit_codes import ExitCode
from statemachines import drawing
from streams.parts import build_flow
from streams.settings import load
from tests.console_tests.conftest import Say


def test_flow_check_tells_ignored_cells_the_bound_and_the_usual_turn(ai: Say) -> None:
    result = ai("flow", "check")
    assert result.exit_code == ExitCode.OK
    assert "ignored, by state:\n  new: " in result.stdout
    assert "B, how long a message can wait at most: " in result.stdout
    assert "a usual turn has 2 microsteps:" in result.stdout


def test_flow_check_takes_the_configured_flows_own_settings(ai: Say) -> None:
    settling = ai("flow", "check", "--json", AI_ASSISTANT_FLOW__CONFIG__SETTLE_S="3")
    assert "bot.settling" in json.loads(settling.stdout)["leaves"]
    assert "bot.settling" not in json.loads(ai("flow", "check", "--json").stdout)["leaves"]


def test_the_configured_flow_is_the_one_that_run_uses(ai: Say) -> None:
    settings = load(None, {"HOME": "/h", "AI_ASSISTANT_MODEL__KIND": "scripted"})
    flow, _ = build_flow(settings, enabled(settings.skills.enabled))
    for name in ((), ("assistant",)):
        report = json.loads(ai("flow", "check", *name, "--json").stdout)
        assert "bot.working" in report["leaves"]  # a state that is there only where skills are
        assert report["flow"] == str(flow.ref)
        assert str(flow.ref) in ai("flow", "show", *name).stdout
    without = json.loads(ai("flow", "check", "--json", AI_ASSISTANT_SKILLS__ENABLED="[]").stdout)
    assert "bot.working" not in without["leaves"]


def test_flow_check_names_the_flows_there_are(ai: Say) -> None:
    result = ai("flow", "check", "leave_requests")
    assert result.exit_code == ExitCode.FAILED
    assert "there are: assistant, leave_request" in result.output


@pytest.mark.parametrize(
    ("form", "start"), [("text", "leave_request@1#"), ("mermaid", "stateDiagram"), ("svg", "<svg")]
)
def test_flow_show_draws(form: str, start: str, ai: Say) -> None:
    result = ai("flow", "show", "leave_request", "--format", form)
    assert result.exit_code == ExitCode.OK
    assert start in result.stdout[:200]


def test_the_formats_are_those_that_can_be_drawn() -> None:
    assert set(FORMATS) == set(drawing.FORMATS)
