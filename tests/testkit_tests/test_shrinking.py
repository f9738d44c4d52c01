"""What is tried, and what a failure shrinks to: the plainest text, one user, no fault, where that
is enough."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from engine.errors import Refused
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.leave_request import LeaveRequest
from testkit import saved
from testkit.dialog_tests import DialogTests, always
from testkit.dialogs import Dialog, Message, dialogs
from testkit.generate import script_of
from testkit.judging import run
from testkit.script import Script
from testkit.stimuli import FAULTS, AnyStimulus, Frame, Late, Outcome, Say, Wait
from testkit.strategies import Plan, plans, words
from testkit.surroundings import Surroundings
from testkit.worlds import Evidence, Fault

FLOW = Assistant()
SCRIPT = Script(says=words(FLOW, {"chat": ["hi", "why?"], "tale": ["a tale", "another"]}))
SETTINGS = settings(
    max_examples=2_000,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
HI = Say(kind="chat")


def shrunk(holds: Callable[[Evidence], bool]) -> list[AnyStimulus]:
    """What is left of a plan with faults in it, of whose run this holds."""

    def wanted(plan: Plan) -> bool:
        return holds(run(FLOW, SCRIPT, plan=plan, by_laws=False).evidence)

    found = find(plans(FLOW, SCRIPT), wanted, settings=SETTINGS)
    assert (found.seed, found.around) == (0, Surroundings())
    return list(found.stimuli)


def written(evidence: Evidence) -> list[Message]:
    return [message for dialog in dialogs(evidence) for message in dialog.messages]


def talking(evidence: Evidence) -> list[Dialog]:
    return [dialog for dialog in dialogs(evidence) if dialog.messages]


@pytest.mark.parametrize(
    ("holds", "left"),
    [
        (lambda evidence: written(evidence), [HI]),
        (lambda evidence: any(len(one.messages) > 1 for one in dialogs(evidence)), [HI, HI]),
        (lambda evidence: len(talking(evidence)) > 1, [HI, Say(user=1, kind="chat")]),
        (lambda evidence: any(m.kind == "tale" for m in written(evidence)), [Say(kind="tale")]),
        (
            lambda evidence: any(m.text == "another" for m in written(evidence)),
            [Say(kind="tale", variant=1)],
        ),
        (
            lambda evidence: any(m.disposition == "failed" for m in written(evidence)),
            [HI, Wait()],
        ),
    ],
    ids=["a message", "two of one user", "two users", "a class", "a text", "a time-out"],
)
def test_what_is_left_is_what_it_takes(
    holds: Callable[[Evidence], bool], left: list[AnyStimulus]
) -> None:
    assert shrunk(holds) == left


def test_a_fault_is_left_where_it_takes_one() -> None:
    left = shrunk(lambda seen: bool(written(seen)) and any(isinstance(s, Fault) for s in seen.seen))
    assert len(left) == 2
    assert sum(isinstance(one, FAULTS) for one in left) == 1
    assert HI in left


def test_nothing_ends_in_a_flow_that_asks_no_runner() -> None:
    form = LeaveRequest()
    script = Script(says=words(form, {}))

    @settings(SETTINGS, max_examples=50)
    @given(plans(form, script))
    def holds(plan: Plan) -> None:
        assert not any(isinstance(one, Outcome | Frame | Late) for one in plan.stimuli)

    holds()


def test_a_skill_without_trigger_words_has_no_words_of_its_own() -> None:
    silent = SkillTrigger(name="silent", trigger_words=())
    skills = (SkillTrigger(name="sum", trigger_words=("sum",)), silent)
    flow = Assistant(AssistantConfig(skills=skills))
    for says in (words(flow, {}), script_of(flow).says):
        assert says["sum"] == ("sum a text of some words", "sum")
        assert "silent" not in says


class Counted(DialogTests):
    flow = Assistant
    settings = settings(max_examples=60, derandomize=True, database=None)
    __test__ = False
    judged = 0

    @always
    def it_is_counted(self, d: Dialog) -> bool:
        Counted.judged += 1
        return True


def test_all_tests_of_a_class_run_the_same_plans_though_each_steers_by_what_it_saw() -> None:
    first, second = Counted(), Counted()
    getattr(first, "test_laws[pure]")()
    judged = Counted.judged
    getattr(second, "test_it_is_counted[pure]")()
    assert Counted.judged == judged > 0
    assert second._seen == first._seen
    assert first._seen >= {"row (0,)"}


def test_a_saved_file_without_a_dialog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "TestAssistant.laws.chat"
    path.write_text("flow: assistant\nworld: simulator\n", encoding="utf-8")
    with pytest.raises(Refused, match="no dialog in it"):
        saved.read(path)
