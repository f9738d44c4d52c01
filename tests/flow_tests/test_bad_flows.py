"""What is wrong with a flow is found when it is loaded, and named with its row and its fix."""

import textwrap
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import pytest

from engine.errors import InvalidRecord, Refused
from engine.turn import Turn
from statemachines.flow import Flow, FlowConfig, FlowData, FlowError

QUIET = ["operator_said", "handed_back", "stop_requested", "feedback_given", "reply_undelivered"]
MESSAGE = dict(trigger="message_received", source="new", dest=None, before="answer")
ALSO = dict(trigger="message_received", source="also", dest="new", before="answer")


class Good(Flow):
    """The smallest flow that loads; each case spoils one thing of it."""

    name, version, initial = "good", 1, "new"
    states = ["new"]
    transitions = [MESSAGE]
    ignore = {"new": QUIET}

    class Config(FlowConfig, frozen=True, kw_only=True):
        wait_s: int = 30

    def answer(self, turn: Turn) -> None:
        turn.say("hello")

    def ask(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=turn.config.wait_s)

    def ask_late(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=turn.config.late_s)

    def ask_at_once(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=0)

    def ask_sometime(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=len(turn.text))

    def ask_elsewhere(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=5, scope="also")

    def ask_anywhere(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=5, scope=turn.state)

    def ask_by_name(self, turn: Turn) -> None:
        getattr(turn, "call_model")(turn.text, within_s=5)  # noqa: B009

    def ask_by_other_name(self, turn: Turn) -> None:
        other = turn
        other.say("hello")

    def ask_by_method(self, turn: Turn) -> None:
        call = turn.call_model
        call(turn.text, within_s=5)

    def write_on_it(self, turn: Turn) -> None:
        turn.state = "also"

    def cancel_all(self, turn: Turn) -> None:
        turn.new_dialog()

    def ask_far_away(self, turn: Turn) -> None:
        textwrap.dedent(turn)  # type: ignore[arg-type]

    def is_long(self, turn: Turn) -> bool:
        return len(turn.text) > 9

    def says_it_is_long(self, turn: Turn) -> bool:
        turn.say("it is")
        return True

    def keep_still(self, turn: Turn) -> None:
        turn.set()

    def wants_more(self, turn: Turn, more: str) -> None: ...


def row(**given: Any) -> dict[str, Any]:
    return dict(trigger="message_received", source="new", dest=None, before="answer") | given


def two(*rows: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Two states, `new` and `also`, all else in order."""
    ignore = given.pop("ignore", {"new": QUIET, "also": QUIET})
    return dict(states=["new", "also"], transitions=list(rows), ignore=ignore) | given


TO_ALSO = row(dest="also")
NESTED = ["new", dict(name="box", initial="one", children=["one", "two"])]
IN_BOX = [
    row(dest="box"),
    row(source="box.one", dest="box.two"),
    row(source="box.two", dest="new"),
]
BOXED = dict(states=NESTED, ignore={"new": QUIET, "box": QUIET})


class Setlike(FlowData, frozen=True, kw_only=True):
    seen: frozenset[str] = frozenset()


class Floating(FlowData, frozen=True, kw_only=True):
    score: float = 0.0


class Choice(FlowData, frozen=True, kw_only=True):
    kind: Literal["annual", "sick"] = "annual"


class Mutable(FlowData, frozen=True, kw_only=True):
    texts: list[str] = []


class Needy(FlowData, frozen=True, kw_only=True):
    text: str


class Soft(msgspec.Struct):
    text: str = ""


class Holder(FlowData, frozen=True, kw_only=True):
    inner: Soft | None = None


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # ---- names and keys
    "no name": ({"name": ""}, "has no `name`", "give it one"),
    "version zero": ({"version": 0}, "version 0", "from 1"),
    "unknown initial": ({"initial": "nwe"}, "begins in 'nwe'", "did you mean 'new'"),
    "a callback that is not there": (
        {"transitions": [row(before="anser")]},
        "row 0 (message_received: new -> None): 'anser' is no method",
        "did you mean 'answer'",
    ),
    "a callback from a module": (
        {"transitions": [row(before="os.getpid")]},
        "'os.getpid' is no method",
        "name a method",
    ),
    "a callback of the engine's": (
        {"transitions": [row(before="migrate")]},
        "'migrate' is no method",
        "write `def migrate",
    ),
    "a callback with two arguments": (
        {"transitions": [row(before="wants_more")]},
        "not a method that takes the turn",
        "def wants_more(self, turn)",
    ),
    "an entry callback that is not there": (
        {"states": [dict(name="new", on_enter="greet")]},
        "state 'new': 'greet' is no method",
        "write `def greet(self, turn)`",
    ),
    "a callable instead of a name": (
        {"transitions": [row(before=print)]},
        "'<built-in function print>' is no method",
        "name a method",
    ),
    "a row without a dest": (
        {"transitions": [dict(trigger="message_received", source="new")]},
        "lacks dest",
        "`dest=None` stays",
    ),
    "a trigger that is no text": (
        {"transitions": [row(trigger=["message_received"])]},
        "`trigger` is ['message_received']",
        "in quotes",
    ),
    "a row that is no dict": ({"transitions": ["go"]}, "lacks trigger, source, dest", "write"),
    "a time-out trigger that is no text": (
        {"states": [dict(name="new", timeout=5, on_timeout=7)]},
        "has the on_timeout 7",
        "in quotes",
    ),
    "a command that is no text": ({"commands": {"help": 5}}, "has an empty text", "whole texts"),
    "an unknown key in a row": ({"transitions": [row(guard="is_long")]}, "`guard`", "one of:"),
    "an unknown key in a state": ({"states": [dict(name="new", final=True)]}, "`final`", "one of"),
    "prepare": ({"transitions": [row(prepare="answer")]}, "`prepare` is forbidden", "`before`"),
    "on_exception": ({"transitions": [row(on_exception="x")]}, "`on_exception`", "step_failed"),
    "parallel states": ({"states": ["new", dict(name="b", parallel=["c"])]}, "`parallel`", "data"),
    "a dot in a name": ({"states": ["new", "a.b"]}, "'a.b'", "`children`"),
    "a state twice": ({"states": ["new", "new"]}, "stands twice", "remove one"),
    "an unknown source": (
        {"transitions": [MESSAGE, row(source="nowhere")]},
        "source 'nowhere' is no state",
        "one of: new",
    ),
    "an unknown dest": ({"transitions": [row(dest="nev")]}, "dest 'nev'", "did you mean 'new'"),
    "a trigger named like a method": (
        two(TO_ALSO, ALSO, row(trigger="answer", source="also", dest="new")),
        "also a method",
        "rename the method",
    ),
    "a trigger that looks made": (
        two(TO_ALSO, ALSO, row(trigger="to_new", source="also", dest="new")),
        "looks like a made name",
        "otherwise",
    ),
    "a method named like one of the engine's": (
        {"path": lambda self, turn: None},
        "has a 'path' of its own",
        "rename it",
    ),
    # ---- state trees and directions
    "children without an initial": (
        {"states": ["new", dict(name="box", children=["one"])]},
        "has children and no `initial`",
        "initial='one'",
    ),
    "an initial that is no child": (
        {"states": ["new", dict(name="box", initial="two", children=["one"])]},
        "begins in 'box.two'",
        "'box.one'",
    ),
    "same on a parent": (
        BOXED | {"transitions": [*IN_BOX, row(trigger="stop_requested", source="box", dest="=")]},
        "`=` on 'box' jumps to its initial child",
        "one row per leaf",
    ),
    "a row to an enclosing state": (
        BOXED | {"transitions": [*IN_BOX[:2], row(source="box.two", dest="box")]},
        "'box' encloses 'box.two'",
        "restart=True",
    ),
    "a restart of nothing": (
        {"transitions": [row(restart=True)]},
        "restarts nothing",
        "remove restart",
    ),
    # ---- time-outs
    "a timeout without a trigger": (
        {"states": [dict(name="new", timeout=5)]},
        "only one of timeout and on_timeout",
        "write both",
    ),
    "a timeout of no field": (
        {"states": [dict(name="new", timeout="wait", on_timeout="waited")]},
        "no field of Config",
        "did you mean 'wait_s'",
    ),
    "a negative timeout": (
        {"states": [dict(name="new", timeout=-1, on_timeout="waited")]},
        "timeout -1",
        "whole seconds",
    ),
    "a cycle without time": (
        two(
            TO_ALSO,
            ALSO,
            row(trigger="a", source="new", dest="also"),
            row(trigger="b", source="also", dest="new"),
            states=[
                dict(name="new", timeout=0, on_timeout="a"),
                dict(name="also", timeout=0, on_timeout="b"),
            ],
        ),
        "cycle of time-outs of 0 s",
        "at least a second",
    ),
    # ---- ignore, postpone, commands
    "a wildcard state": ({"ignore": {"*": QUIET}}, "'*' is no state", "no wildcard"),
    "a wildcard trigger": ({"ignore": {"new": ["*"]}}, "`*` is forbidden", "name each trigger"),
    "a postponed outcome": (
        {"postpone": {"new": ["stop_requested"]}},
        "postpones 'stop_requested'",
        "only message_received",
    ),
    "ignored and postponed": (
        {
            "transitions": [],
            "ignore": {"new": [*QUIET, "message_received"]},
            "postpone": {"new": ["message_received"]},
        },
        "is postponed there, too",
        "keep one",
    ),
    "ignored where a row takes it": (
        {"ignore": {"new": [*QUIET, "message_received"]}},
        "never comes to this",
        "remove one",
    ),
    "ignored after a parent's row": (
        {
            "states": NESTED,
            "transitions": [
                row(dest="box"),
                row(source="box.one", dest="box.two", conditions="is_long"),
                row(source="box", dest="new"),
            ],
            "ignore": {"new": QUIET, "box": QUIET, "box.one": ["message_received"]},
        },
        "of an enclosing state is taken, not this",
        "unconditional row",
    ),
    "an ignored trigger that cannot come": (
        {"ignore": {"new": [*QUIET, "model_replied"]}},
        "'model_replied' can never arrive there",
        "remove it",
    ),
    "an empty command": ({"commands": {"help": "help|"}}, "has an empty text", "whole texts"),
    "two commands with one text": (
        {"commands": {"help": "?", "what": "? "}},
        "is also a text of 'help'",
        "keep one",
    ),
    "a command named like an event": (
        {"commands": {"model_replied": "x"}},
        "is a trigger of the engine",
        "another name",
    ),
    # ---- totality
    "an event without a cell": (
        {"ignore": {"new": QUIET[1:]}},
        "trigger 'operator_said': can arrive in new",
        "in `ignore`",
    ),
    "a command without a cell": ({"commands": {"help": "?"}}, "trigger 'help'", "add a row"),
    "outcomes without cells": (
        {"transitions": [row(before="ask")]},
        "trigger 'model_replied': can arrive in new",
        "add a row",
    ),
    "a timer without a cell": (
        {"states": [dict(name="new", timeout=5, on_timeout="waited")]},
        "trigger 'waited': can arrive in new",
        "add a row",
    ),
    "a last row with conditions": (
        {"transitions": [row(conditions="is_long")]},
        "where its conditions fail",
        "last row without conditions",
    ),
    "a shadowed row": (
        {"transitions": [MESSAGE, row(conditions="is_long")]},
        "is shadowed by row 0",
        "put it before row 0",
    ),
    "a row shadowed by its children": (
        BOXED | {"transitions": [*IN_BOX, row(source="box", dest="new")]},
        "each state below it has an own row",
        "remove it",
    ),
    "a row that nothing triggers": (
        {"transitions": [MESSAGE, row(trigger="mesage_received")]},
        "nothing ever triggers 'mesage_received'",
        "did you mean 'message_received'",
    ),
    "a row for an outcome that cannot come": (
        {"transitions": [MESSAGE, row(trigger="model_replied")]},
        "'model_replied' can never arrive there",
        "make the request",
    ),
    "a state that cannot be reached": (
        two(MESSAGE, ALSO),
        "state 'also': can never be reached",
        "add a row that leads there",
    ),
    "a trap": (
        two(TO_ALSO, row(source="also")),
        "state 'also': is a trap",
        "leads out",
    ),
    "messages postponed for ever": (
        two(
            TO_ALSO,
            row(trigger="stop_requested", source="also", dest="new"),
            postpone={"also": ["message_received"]},
            ignore={"new": QUIET, "also": [q for q in QUIET if q != "stop_requested"]},
        ),
        "postpones messages for ever",
        "give it a timeout",
    ),
    "a message that nobody answers": (
        {"transitions": [row(before="keep_still")]},
        "a message may wait here for ever",
        "turn.say",
    ),
    # ---- what callbacks do
    "a condition that says something": (
        {"transitions": [row(conditions="says_it_is_long"), MESSAGE]},
        "condition 'says_it_is_long' calls turn.say",
        "do it in `before`",
    ),
    "a deadline that cannot be read": (
        {"transitions": [row(before="ask_sometime")]},
        "within_s that can be read",
        "turn.config",
    ),
    "a deadline of no field": (
        {"transitions": [row(before="ask_late")]},
        "within_s is 'late_s'",
        "add the field",
    ),
    "a deadline of nothing": (
        {"transitions": [row(before="ask_at_once")]},
        "less than a second",
        "at least a second",
    ),
    "a scope that does not hold": (
        two(row(dest="new", before="ask_elsewhere"), row(source="also")),
        "scope 'also', which does not hold in 'new'",
        "encloses it",
    ),
    "a scope that is computed": (
        {"transitions": [row(before="ask_anywhere")]},
        "scope that is computed",
        "in quotes",
    ),
    "a request by getattr": (
        {"transitions": [row(before="ask_by_name")]},
        "hands the turn to getattr",
        "plain functions",
    ),
    "a turn under another name": (
        {"transitions": [row(before="ask_by_other_name")]},
        "under another name",
        "directly",
    ),
    "a method taken from the turn": (
        {"transitions": [row(before="ask_by_method")]},
        "takes turn.call_model without calling it",
        "call it",
    ),
    "a turn written on": (
        {"transitions": [row(before="write_on_it")]},
        "changes turn.state itself",
        "turn.set",
    ),
    "a method of the engine's": (
        {"transitions": [row(before="cancel_all")]},
        "uses turn.new_dialog, which is the engine's",
        "one of: address",
    ),
    "a turn given away": (
        {"transitions": [row(before="ask_far_away")]},
        "hands the turn to textwrap.dedent",
        "plain functions",
    ),
    # ---- data
    "a set in the data": ({"Data": Setlike}, "field 'seen'", "tuples"),
    "a float in the data": ({"Data": Floating}, "field 'score'", "int"),
    "a list in the data": ({"Data": Mutable}, "field 'texts'", "tuples"),
    "data without a default": ({"Data": Needy}, "'text' has no default", "default"),
    "a mutable record in the data": ({"Data": Holder}, "Soft is not frozen", "frozen"),
    # ---- migration
    "a migration to nowhere": (
        {"migrate": lambda self, old, state, data: (state, self.new_data())},
        "which is no leaf",
        "for any state",
    ),
    "a migration that raises": (
        {"migrate": lambda self, old, state, data: SimpleNamespace().state},
        "raised AttributeError",
        "return a leaf",
    ),
}


def test_the_flow_that_the_cases_spoil_is_good() -> None:
    assert Good().report.usual_turn == ("message_received: new -> new",)


@pytest.mark.parametrize("case", CASES)
def test_a_bad_flow_is_refused_with_row_and_fix(case: str) -> None:
    spoiled, problem, fix = CASES[case]
    with pytest.raises(FlowError) as caught:
        type("Bad", (Good,), spoiled)()
    shown = [str(finding) for finding in caught.value.findings if problem in str(finding)]
    assert shown, f"not found among:\n{caught.value}"
    assert fix in shown[0].partition("fix:")[2]
    assert isinstance(caught.value, Refused)


def test_all_findings_come_at_once() -> None:
    spoiled = {"transitions": [row(dest="nowhere"), row(source="nobody")], "name": ""}
    with pytest.raises(FlowError) as caught:
        type("Bad", (Good,), spoiled)()
    assert len(caught.value.findings) == 3


def test_a_wrong_name_is_found_when_the_class_is_made() -> None:
    with pytest.raises(FlowError, match="anser"):
        type("Bad", (Good,), {"transitions": [row(before="anser")]})


def test_a_configuration_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(Refused, match="wait_s"):
        Good(Good.Config(wait_s="soon"))


def test_an_error_about_written_data_quotes_nothing_of_it() -> None:
    flow = type("Choosing", (Good,), {"Data": Choice})()
    with pytest.raises(InvalidRecord, match=r"^data of good: .* - at `\$\.kind`$") as caught:
        flow.decode_data(b'{"kind":"what a person wrote"}')
    assert "person" not in str(caught.value)


def test_a_flow_holds_nothing() -> None:
    flow = Good()
    with pytest.raises(AttributeError, match=r"turn\.set"):
        flow.count = 1
    with pytest.raises(AttributeError):
        del flow.config


def test_a_dialog_that_never_ends_is_a_warning() -> None:
    flow = type(
        "Endless",
        (Good,),
        two(
            TO_ALSO,
            row(source="also", dest="third"),
            row(source="third", dest="also"),
            states=["new", "also", "third"],
            ignore=dict.fromkeys(["new", "also", "third"], QUIET),
        ),
    )()
    (warning,) = flow.report.warnings
    assert "the dialog never ends" in warning.problem
