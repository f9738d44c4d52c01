"""The machine: `transitions` chooses and makes every move, and tells what it did."""

from dataclasses import replace
from typing import Any

import pytest
from transitions.extensions.nesting import NestedTransition

from engine.events import ClockReached, Event
from engine.flow import Moved
from engine.session import Considered
from engine.step import new_session
from engine.turn import Turn, TurnIsReadOnly
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig
from statemachines.flow import Flow, FlowData
from statemachines.leave_request import LeaveRequest
from statemachines.machine import Machine
from statemachines.table import Definition, parse
from tests.flow_tests.dialog import Dialog

ROWS = [
    dict(trigger="go", source="box.one", dest="box.two", conditions=["yes", "no"]),
    dict(trigger="go", source="box.one", dest="box.two", unless="yes"),
    dict(trigger="go", source="box", dest="out", before="note", after="note"),
    dict(trigger="stay", source="box", dest=None, before="note"),
    dict(trigger="again", source="box.one", dest="="),
    dict(trigger="begin", source="box", dest="box", restart=True),
    dict(trigger="enter", source="out", dest="box"),
    dict(trigger="jump", source="out", dest="box.deep.two", before="note"),
    dict(trigger="choose", source="out", dest="box", conditions="no"),
    dict(trigger="spoil", source="out", dest="box", conditions="writes"),
    dict(trigger="break", source="out", dest="box", before=["note", "breaks"]),
    dict(trigger="word", source="out", dest="box", conditions="text"),
]
STATES = [
    "out",
    dict(
        name="box",
        initial="one",
        on_exit="left",
        on_enter="came",
        children=["one", "two", dict(name="deep", initial="one", children=["one", "two"])],
    ),
]


QUIET = ["operator_said", "handed_back", "stop_requested", "feedback_given", "reply_undelivered"]


FLOWS: list[Flow] = [
    LeaveRequest(),
    *(Assistant(AssistantConfig(busy=b, settle_s=2, recogniser=True)) for b in ("merge", "steer")),
]


class Callbacks:
    """What the rows name; `seen` is what ran, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def yes(self, turn: Turn) -> bool:
        return True

    def no(self, turn: Turn) -> bool:
        return False

    def text(self, turn: Turn) -> str:
        return "a text is true"

    def note(self, turn: Turn) -> None:
        self.seen.append("note")

    def came(self, turn: Turn) -> None:
        self.seen.append("came")

    def left(self, turn: Turn) -> None:
        self.seen.append("left")

    def writes(self, turn: Turn) -> bool:
        turn.say("no")
        return True

    def breaks(self, turn: Turn) -> None:
        raise ZeroDivisionError("the callback's own")


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks()


@pytest.fixture
def machine(callbacks: Callbacks) -> Machine:
    definition = Definition(states=STATES, transitions=ROWS, ignore={}, postpone={}, commands={})
    table, findings = parse(definition)
    assert findings == []
    names = [name for name in dir(callbacks) if callable(getattr(callbacks, name))]
    return Machine(table, {name: getattr(callbacks, name) for name in names})


def turn_in(state: str) -> Turn:
    flow = LeaveRequest()
    event = Event(id="s/1", session_id="s", at_ms=1, source="t", body=ClockReached(due_ms=1))
    turn = Turn(flow, new_session(flow, "s"), event=event, now_ms=1)
    turn.state = state
    return turn


def test_a_childs_failing_rows_fall_to_the_parent_and_all_is_told(machine: Machine) -> None:
    moved = machine.move(turn_in("box.one"), "go")
    assert moved == Moved(
        row=2,
        source="box.one",
        dest="out",
        exited=("box.one", "box"),
        entered=("out",),
        considered=(Considered(row=0, failed="no"), Considered(row=1, failed="not yes")),
    )


def test_callbacks_run_in_the_librarys_order(machine: Machine, callbacks: Callbacks) -> None:
    machine.move(turn_in("box.one"), "go")
    assert callbacks.seen == ["note", "left", "note"]


def test_none_stays_and_leaves_nothing(machine: Machine) -> None:
    moved = machine.move(turn_in("box.deep.two"), "stay")
    assert moved is not None
    assert (moved.dest, moved.exited, moved.entered) == ("box.deep.two", (), ())


def test_same_leaves_and_enters_the_leaf_only(machine: Machine) -> None:
    moved = machine.move(turn_in("box.one"), "again")
    assert moved is not None
    assert (moved.exited, moved.entered) == (("box.one",), ("box.one",))


def test_a_restart_leaves_and_enters_the_enclosing_state(machine: Machine) -> None:
    moved = machine.move(turn_in("box.deep.two"), "begin")
    assert moved is not None
    assert moved.exited == ("box.deep.two", "box.deep", "box")
    assert moved.entered == ("box", "box.one")


def test_a_parent_is_entered_before_its_children(machine: Machine) -> None:
    entered = machine.move(turn_in("out"), "enter")
    deep = machine.move(turn_in("out"), "jump")
    assert entered is not None
    assert deep is not None
    assert entered.entered == ("box", "box.one")
    assert deep.entered == ("box", "box.deep", "box.deep.two")
    assert deep.dest == "box.deep.two"


def test_no_move_where_all_conditions_fail(machine: Machine) -> None:
    assert machine.move(turn_in("out"), "choose") is None


def test_a_condition_passes_by_truth(machine: Machine) -> None:
    assert machine.move(turn_in("out"), "word") is not None


def test_the_turn_is_read_only_while_conditions_run(machine: Machine) -> None:
    turn = turn_in("out")
    with pytest.raises(TurnIsReadOnly):
        machine.move(turn, "spoil")
    assert turn.sealed is False
    assert turn.effects == []


def test_a_callbacks_error_goes_through_and_leaves_no_trace(machine: Machine) -> None:
    turn = turn_in("out")
    with pytest.raises(ZeroDivisionError, match="the callback's own"):
        machine.move(turn, "break")
    assert turn.state == "out"
    assert machine.move(turn, "enter") is not None


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.ref))
def test_the_checks_expect_what_the_library_does(flow: Flow) -> None:
    """What is precomputed for checks and drawings agrees with the moves, row by row."""
    table = flow.table
    states = table.states.values()
    unguarded = {name: (lambda turn: None) for s in states for name in (*s.on_enter, *s.on_exit)}
    for row in table.rows:
        plain = replace(row, conditions=(), unless=(), before=(), after=())
        machine = Machine(replace(table, rows=(plain,)), unguarded)
        for source in row.sources:
            for leaf in table.below(source):
                moved = machine.move(turn_in(leaf), row.trigger)
                assert moved is not None
                assert (moved.exited, moved.entered) == table.changes(row, leaf)
                assert moved.dest == table.target(row, leaf)


def test_every_move_of_a_flow_is_made_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    execute = NestedTransition.execute

    def counted(row: Any, event_data: Any) -> bool:
        taken = execute(row, event_data)
        if taken:
            made.append(row.index)
        return taken

    monkeypatch.setattr(NestedTransition, "execute", counted)
    dialog = Dialog(Assistant(AssistantConfig(settle_s=2, busy="steer", greeting="Hello")))
    for _ in range(3):
        dialog.says("hi")
        dialog.wait(2)
        dialog.says("more")
        dialog.model_says("hello")
        dialog.model_says("more of it")
    dialog.says("human")
    dialog.operator_says("yes?")
    dialog.wait_through(4_000)
    form = Dialog(LeaveRequest())
    for text in ("hi", "sick", "today", "today", "flu", "no", "cancel"):
        form.says(text)
    path = [step for d in (dialog, form) for record in d.records for step in record.path]
    assert len(path) > 20
    assert [step.row for step in path] == made


class Entering(Flow):
    """Callbacks of states ask, too."""

    name, version, initial = "entering", 1, "new"
    states = ["new", dict(name="busy", on_enter="ask", on_exit="thank")]
    transitions = [
        dict(trigger="message_received", source="new", dest="busy"),
        dict(trigger="message_received", source="busy", dest=None, before="thank"),
        dict(trigger="model_replied", source="busy", dest="new", before="thank"),
        dict(trigger="escalated", source="busy", dest="new"),
        dict(trigger="request_failed", source="busy", dest="new"),
    ]
    ignore = {"new": QUIET, "busy": QUIET}

    class Data(FlowData, frozen=True, kw_only=True):
        thanked: int = 0

    def ask(self, turn: Turn) -> None:
        turn.call_model("hi", within_s=5)

    def thank(self, turn: Turn) -> None:
        turn.say("thank you")


def test_a_request_made_on_entry_belongs_to_the_state() -> None:
    dialog = Dialog(Entering())
    record = dialog.says("hi")
    assert [effect.scope for effect in record.effects] == ["busy"]
    dialog.model_says("hello")
    assert dialog.state == "new"
