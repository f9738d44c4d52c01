"""Flow coverage: what a flow can do is derived, what was seen is counted, and both are told."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from engine.crash_points import CrashPoint
from engine.effects import FallbackStrategy
from engine.events import Event
from engine.session import StepRecord
from statemachines.assistant import Assistant
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest
from testkit import coverage, coverage_report, coverage_svg, stimuli
from testkit.coverage import Coverage
from testkit.coverage_universe import KINDS, universe
from testkit.generate import script_of
from testkit.script import Script
from testkit.simulator import Simulator
from tests.histories import files

FLOW = LeaveRequest()


def recorded(name: str) -> tuple[Flow, list[StepRecord], dict[str, Event]]:
    """A recorded history: its flow, its step records, and its events by id."""
    history = files.read(name)
    flow = files.flows_of(history)[-1]
    assert isinstance(flow, Flow)
    records = [msgspec.json.decode(one, type=StepRecord) for one in history.records]
    return flow, records, {event.id: event for event in history.events}


def measured(name: str) -> Coverage:
    flow, records, events = recorded(name)
    return coverage.of(flow, records, event_of=events.get)


@pytest.mark.parametrize("name", [n for n in files.names() if not n.startswith("table")])
def test_what_was_recorded_is_what_the_flow_can_do(name: str) -> None:
    found = measured(name)
    assert [entry.what for entry in found.entries if not entry.possible] == []
    assert 0 < found.percent() < 100
    assert found.percent("pair") < found.percent("row")


def test_every_row_of_a_microstep_is_counted_as_row_cell_condition_and_pair() -> None:
    flow, records, events = recorded("leave_request_1")
    found = coverage.of(flow, records, event_of=events.get)
    microsteps = [microstep for record in records for microstep in record.path]
    assert sum(found.counts("row").values()) == len(microsteps)
    moves = [e.count for e in found.of_kind("cell") if e.key[2] == "moves"]
    assert sum(moves) == len(microsteps)
    considered = sum(len(microstep.considered) for microstep in microsteps)
    failed = [e.count for e in found.of_kind("condition") if e.key[1]]
    assert sum(failed) == considered
    assert sum(found.counts("pair").values()) == len(microsteps) - 1


def test_an_ignored_event_is_a_cell_only_where_the_event_can_be_read() -> None:
    flow, records, events = recorded("assistant_1_queue")
    ignored = [
        e for e in coverage.of(flow, records, event_of=events.get).of_kind("cell") if e.count
    ]
    assert "feedback_given in new: ignored" in {entry.what for entry in ignored}
    blind = [e for e in coverage.of(flow, records).of_kind("cell") if e.count]
    assert {entry.key[2] for entry in blind} == {"moves"}


def test_a_postponed_message_and_a_full_queue_are_cells_of_their_own() -> None:
    found = {thing.what for thing in universe(recorded("assistant_1_queue")[0])}
    assert "message_received in bot.working: postponed" in found
    assert "message_received in bot.working: refused, queue full" in found


def test_what_cannot_be_is_not_asked_for() -> None:
    cells = {thing.key[:2] for thing in universe(FLOW) if thing.kind == "cell"}
    assert not cells & set(FLOW.report.impossible)
    assert ("form.kind", "gave_up") in cells
    assert ("new", "gave_up") not in cells
    pairs = {thing.key for thing in universe(FLOW) if thing.kind == "pair"}
    assert (0, 1) in pairs  # the form begins with the kind
    assert (0, 8) not in pairs


def test_without_fallback_strategies_nothing_escalates() -> None:
    def escalating(flow: Flow) -> set[str]:
        return {thing.kind for thing in universe(flow) if "escalated" in thing.what}

    strategy = FallbackStrategy(pattern="OOM", action="escalate_to_human")
    assert escalating(Assistant()) == set()
    with_one = Assistant(Assistant.Config(fallback_strategies=(strategy,)))
    assert escalating(with_one) >= {"row", "cell", "pair", "crash"}
    bare = coverage.of(Assistant(), [])
    drawn = coverage_svg.picture(coverage_svg.sketch(Assistant()), bare)
    assert "escalated: bot → person — cannot be" in drawn


def test_merging_adds_counts_and_keeps_what_there_is_to_see() -> None:
    one = measured("leave_request_1")
    both = one.merge(one)
    assert both.percent() == one.percent()
    assert both.steps == 2 * one.steps
    assert [e.count for e in both.entries] == [2 * e.count for e in one.entries]
    with pytest.raises(ValueError, match="is not of"):
        one.merge(measured("assistant_1_queue"))


def test_coverage_goes_through_json() -> None:
    one = measured("leave_request_1")
    assert Coverage.from_json(one.to_json()) == one
    written = msgspec.json.encode(coverage_report.document([one]))
    assert coverage_report.read(written) == (one,)
    assert json.loads(written)["flows"][0]["parts"]["row"]["of"] == len(FLOW.table.rows)


def test_records_of_another_configuration_count_where_their_moves_fit() -> None:
    flow, records, events = recorded("leave_request_1")
    other = LeaveRequest(LeaveRequest.Config(language="zh"))
    found = coverage.of(other, records, event_of=events.get)
    assert found.counts("row") == coverage.of(flow, records, event_of=events.get).counts("row")
    assert [(o.flow, o.counted) for o in found.others] == [(str(flow.ref), len(records))]


def test_records_of_another_flow_are_told_and_not_counted() -> None:
    _, records, events = recorded("assistant_1_queue")
    found = coverage.of(FLOW, records, event_of=events.get)
    assert found.steps == 0
    assert [(other.steps, other.counted) for other in found.others] == [(len(records), 0)]


def test_what_users_do_and_no_test_does_is_told_most_used_first() -> None:
    flow, records, events = recorded("leave_request_1")
    live = coverage.of(flow, records, event_of=events.get)
    half = coverage.of(flow, records[: len(records) // 2], event_of=events.get)
    found = coverage_report.untested(live, half)
    assert found
    assert [e.count for e in found] == sorted((e.count for e in found), reverse=True)
    tested = {(e.kind, e.key) for e in half.entries if e.count}
    assert not tested & {(entry.kind, entry.key) for entry in found}
    assert coverage_report.untested(half, live) == ()


def test_the_report_names_what_was_not_seen() -> None:
    told = "\n".join(coverage_report.told(measured("leave_request_1")))
    assert "rows               14 of   16   87.5 %" in told
    assert "row 7 (message_received: form.dates.until -> None)" in told
    assert "feedback_given (ignored)" in told
    assert "step-commit: rows 0, 1, 2" in told
    bare = coverage_report.told(measured("leave_request_1"), crashes=False, named=())
    assert "not seen" not in "\n".join(bare)


def test_the_picture_shows_rows_never_taken_in_red() -> None:
    flow, _, _ = recorded("leave_request_1")
    written = msgspec.json.encode(coverage_svg.sketch(flow))
    sketch = msgspec.json.decode(written, type=coverage_svg.Sketch)
    drawn = coverage_svg.picture(sketch, measured("leave_request_1"))
    texts = ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    red = {(text.text or "").split()[0] for text in texts if "row cold" in text.get("class", "")}
    assert red == {"2", "7"}
    assert "— never" in drawn


def test_a_crash_counts_at_the_row_that_it_hit() -> None:
    world = Simulator(FLOW, script=script_of(FLOW), seed=1, partitions=1, workers=2)
    world.act(stimuli.Say(0, "chat"))
    world.act(stimuli.Crash(CrashPoint.STEP_COMMIT))
    world.act(stimuli.Say(0, "chat"))
    world.rest()
    found = coverage.of_evidence(FLOW, world.evidence())
    assert found.counts("crash")["step-commit", 2] == 1
    assert sum(entry.count for entry in found.of_kind("crash")) == 1


def test_nothing_is_noted_before_anybody_measures() -> None:
    world = Simulator(FLOW, script=Script(), seed=1)
    world.act(stimuli.Say())
    world.rest()
    code = "from testkit import coverage; assert coverage.noted() == ()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(KINDS) == {thing.kind for thing in universe(FLOW)}


# ---- the pytest plugin ---------------------------------------------------------------------------

TESTS = """
import pytest

from statemachines.leave_request import LeaveRequest
from testkit import coverage, stimuli
from testkit.script import Script
from testkit.simulator import Simulator

FLOW = LeaveRequest()


@pytest.mark.parametrize("text", ["hello", "cancel", "sick", "annual"])
def test_a_dialog(text):
    world = Simulator(FLOW, script=Script(says={"all": [text]}), seed=1)
    world.act(stimuli.Say())
    world.rest()
    coverage.note(FLOW, world.evidence())
"""


def run_pytest(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_dialogs.py").write_text(TESTS, encoding="utf-8")
    plugins = ("-p", "testkit.coverage_plugin", "-p", "xdist", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_pytest_measures_alike_with_and_without_workers(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone.json", tmp_path / "shared.json"
    first = run_pytest(tmp_path, "--flow-coverage", f"--flow-coverage-json={alone}")
    assert "flow leave_request@1#" in first.stdout
    assert first.returncode == 0, first.stdout
    second = run_pytest(
        tmp_path, "-n2", f"--flow-coverage-json={shared}", f"--flow-coverage-svg={tmp_path}"
    )
    assert second.returncode == 0, second.stdout
    (one,), (two,) = map(coverage_report.read, (alone.read_bytes(), shared.read_bytes()))
    assert one == two
    assert one.counts("row")[0,] == 3
    assert "<svg" in next(tmp_path.glob("leave_request@1-*.svg")).read_text(encoding="utf-8")


def test_pytest_fails_where_less_was_seen_than_is_required(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, "--flow-coverage-fail-under=90")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "90 % are required" in result.stdout
    assert run_pytest(tmp_path, "--flow-coverage-fail-under=1").returncode == 0
