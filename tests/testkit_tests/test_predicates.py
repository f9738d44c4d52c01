"""What an author says of dialogs, and how it is judged: beside the laws, whatever it is called."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from statemachines.assistant import Assistant
from testkit import laws
from testkit.dialog_tests import DialogTests, always, texts, within
from testkit.dialogs import Dialog, Message
from testkit.judging import WORLDS, Broken, run
from testkit.laws.reading import Found, Reading
from testkit.predicates import predicates_of
from testkit.script import Script
from testkit.shrunk import as_text
from testkit.stimuli import Move, Say, Skew, Wait
from testkit.strategies import Plan
from testkit.worlds import NOWHERE, Fault, Wrote
from tests.testkit_tests.desk import Desk

DAY_MS = 86_400_000


class Served(DialogTests):
    @within(60)
    def it_ends(self, d: Dialog, message: Message) -> bool:
        return message.disposition is not None


def test_a_message_is_given_its_time_again_when_nobody_was_there_to_wake() -> None:
    lasted = []
    for seed in range(40):
        verdict = run(
            Assistant(),
            Script(),
            plan=Plan(stimuli=(Say(kind="chat"), Wait(DAY_MS)), seed=seed),
            predicates=[one.of(Served()) for one in predicates_of(Served)],
        )
        assert verdict.broken == ()
        lasted += [seen.lasted_ms for seen in verdict.evidence.seen if isinstance(seen, Fault)]
    assert max(lasted) >= DAY_MS - 45_000  # since the model was to have answered


class Shadowing(DialogTests):
    """Its predicate is called as a law is."""

    flow, says = Assistant, texts(chat=["hi"])
    settings = settings(max_examples=10, derandomize=True, database=None)
    __test__ = False

    @always
    def heard(self, d: Dialog) -> bool:
        return True


def test_a_predicate_that_is_called_as_a_law_does_not_switch_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(reading: Reading) -> Iterator[Found]:
        for seen in reading.evidence.seen:
            if isinstance(seen, Wrote):
                yield Found("nobody heard it", session_id=seen.session_id)

    monkeypatch.setitem(laws.WHOLE_LAWS, "heard", broken)  # type: ignore[arg-type]
    tests: Any = Shadowing()
    with pytest.raises(Broken, match="heard: nobody heard it") as error:
        getattr(tests, "test_laws[pure]")()
    assert error.value.finding.kind == "law"
    getattr(tests, "test_heard[pure]")()


class Careless(DialogTests):
    @always
    def it_asks_for_a_typing_error(self, d: Dialog) -> bool:
        return not d.bot_replied_while("opne")

    @always
    def it_does_not_call(self, d: Dialog) -> bool:
        return d.is_in  # type: ignore[return-value]

    @always
    def it_counts(self, d: Dialog) -> bool:
        return len(d.messages)  # type: ignore[return-value]

    @always
    def it_looks_where_it_may(self, d: Dialog) -> bool:
        return d.is_in("open") or d.visited("open.thinking") or d.state == "new"


def test_what_is_asked_of_a_dialog_is_checked() -> None:
    verdict = run(
        Desk(),
        Script(),
        plan=Plan(stimuli=(Say(kind="chat"),)),
        world="pure",
        predicates=[one.of(Careless()) for one in predicates_of(Careless)],
        by_laws=False,
    )
    assert [str(found.error) for found in verdict.broken] == [
        "it_asks_for_a_typing_error: there is no state 'opne'; "
        "there are: new, open, open.listening, open.thinking",
        "it_does_not_call returned a method; call it: return True or False",
        "it_counts returned no bool, 1: return True or False",
    ]


class ForEver(Desk):
    """It asks again at each answer."""

    name = "for_ever"
    transitions = [
        {**row, "source": "open.thinking", "dest": "=", "before": "ask"}
        if row["trigger"] == "model_replied"
        else row
        for row in Desk.transitions
    ]


@pytest.mark.parametrize("world", [*WORLDS])
def test_a_flow_that_never_rests_is_one_finding_told_in_a_few_lines(world: str) -> None:
    plan = Plan(stimuli=(Say(kind="chat"),))
    verdict = run(
        ForEver(),
        Script(),
        plan=plan,
        world=world,
        predicates=[one.of(Served()) for one in predicates_of(Served)],
    )
    (found,) = verdict.broken
    assert (found.kind, found.name) == ("law", "comes to rest")
    assert found.what == "its dialog in open.thinking goes on asking or waiting without end"
    told = as_text(verdict, found).splitlines()
    assert 40 < len(told) <= 65
    assert any("more lines" in line for line in told)


class Soon(DialogTests):
    @within(20)
    def it_ends(self, d: Dialog, message: Message) -> bool:
        return message.disposition is not None


@pytest.mark.parametrize(("partition", "excused"), [(0, True), (1, False)])
def test_only_what_breaks_where_a_dialog_is_gives_it_more_time(
    partition: int, excused: bool
) -> None:
    """The model has 30 s, in the middle of which its partition, or the other one, moves."""
    wait = Wait(10_000)
    plan = (Say(user=0, kind="chat"), wait, Move(partition), wait, Move(partition), wait, wait)
    found = 0
    for seed in range(8):
        verdict = run(
            Desk(),
            Script(),
            plan=Plan(stimuli=plan, seed=seed),
            predicates=[one.of(Soon()) for one in predicates_of(Soon)],
        )
        # By chance a time-out wakes nobody in time: that is a fault where the dialog is.
        found += bool(verdict.broken)
    assert (found == 0) if excused else (found >= 4)


def test_a_clock_that_jumps_is_a_fault_where_its_owner_takes_over_and_nowhere_else() -> None:
    for seed in range(8):
        plan = (Say(user=0, kind="chat"), Skew(i=1, ms=100_000), Move(0), Wait(1), Wait(1))
        verdict = run(
            Desk(),
            Script(),
            plan=Plan(stimuli=plan, seed=seed),
            predicates=[one.of(Soon()) for one in predicates_of(Soon)],
        )
        assert verdict.broken == ()
        jumps = [seen for seen in verdict.evidence.seen if isinstance(seen, Fault)]
        where = [(fault.partition, fault.lasted_ms >= 99_000) for fault in jumps[:3]]
        assert where == [(NOWHERE, False), (0, False), (0, True)]
