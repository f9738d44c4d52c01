"""Words that were lost, doubled or misdirected, and laws that once let them pass."""

from collections.abc import Callable
from dataclasses import replace as but
from typing import Any

import pytest
from msgspec.structs import replace

import streams.egress
import streams.embedded.pipeline
from adapters.logs.memory import MemoryLog
from engine import scratch, transcript
from engine.effects import SendMessage
from engine.session import Pending
from engine.turn import Turn
from statemachines.flow import Flow
from streams import runners
from testkit.laws import STEP_LAWS, check
from testkit.laws.reading import Stepped, read
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import (
    AnyStimulus,
    Feedback,
    Frame,
    Late,
    Operator,
    Outcome,
    Say,
    Stop,
)
from testkit.worlds import Called, Evidence, Fault, Received
from tests.testkit_tests import lists
from tests.testkit_tests.desk import Desk
from tests.testkit_tests.test_laws_of_logs import edit_delivery, set_aside, talk
from tests.testkit_tests.wordy import Excuses, Restless, Twice

Patch = pytest.MonkeyPatch
SCRIPT = Script(
    users=3, says={"chat": ("hi", "why?"), "human": ("human",)}, model=("An answer of words.",)
)
ASKED = (Say(kind="human"), Say(2, "chat"), Operator(), Outcome(), Stop(), Feedback(2), Operator())


def laws(evidence: Evidence) -> set[str]:
    """Those that are broken."""
    found = check(evidence)
    assert not any("could not be judged" in one.what for one in found), found
    return {one.law for one in found}


def simulated(*stimuli: AnyStimulus, flow: str = "steer") -> Evidence:
    world = Simulator(lists.FLOWS[flow], script=SCRIPT, seed=1)
    for stimulus in stimuli:
        world.act(stimulus)
    world.rest()
    return world.evidence()


def alone(flow: Flow, *stimuli: AnyStimulus) -> Evidence:
    world = PureWorld(flow, script=SCRIPT)
    for stimulus in stimuli:
        world.act(stimulus)
    world.rest()
    return world.evidence()


def log_of(evidence: Evidence) -> MemoryLog:
    (log,) = evidence.logs
    assert isinstance(log, MemoryLog)
    return log


# ---- set aside -----------------------------------------------------------------------------------


def test_a_message_is_not_set_aside_because_processes_died_of_something_else() -> None:
    evidence = talk()
    set_aside(log_of(evidence))
    (record,) = log_of(evidence).dead_letters()
    (mine,) = (e.id for e in [read(evidence, 1).partitions[0].events[record.offset]] if e)
    died = Fault(at_ms=1, what="died", point="step-commit", standing=f"{mine}0")
    for deaths in ([died] * 3, [but(died, standing=mine)] * 2, [but(died, standing="")] * 9):
        broken = but(evidence, seen=(*evidence.seen, *deaths))
        assert "dead letters have a reason" in laws(broken)
    elsewhere = [but(died, standing=mine, partition=1)] * 3
    assert "dead letters have a reason" in laws(but(evidence, seen=(*evidence.seen, *elsewhere)))
    of_it = [but(died, standing=mine)] * 3
    assert "dead letters have a reason" not in laws(but(evidence, seen=(*evidence.seen, *of_it)))


# ---- whom it reaches -----------------------------------------------------------------------------


def test_a_reply_to_somebody_else_is_found(monkeypatch: Patch) -> None:
    real = streams.egress.Egress.order

    def stray(self: Any, order: Any, *, now_ms: int) -> Any:
        if order.address is not None:
            strange = replace(order.address, conversation="c1", sender="u1")
            order = order._replace(address=strange)
        return real(self, order, now_ms=now_ms)

    assert laws(simulated(*ASKED)) == set()
    monkeypatch.setattr(streams.egress.Egress, "order", stray)
    assert {"received as ordered", "addressed to the session"} <= laws(simulated(*ASKED))


def test_a_platform_that_is_told_another_receiver_than_the_record_says_is_found() -> None:
    evidence = talk()
    first = next(one for one in evidence.seen if isinstance(one, Received))
    stray = [
        but(one, session_id="sim:bot0:k1:other") if one is first else one for one in evidence.seen
    ]
    assert "received as ordered" in laws(but(evidence, seen=stray))


# ---- said twice, or not at all -------------------------------------------------------------------


@pytest.mark.parametrize(("flow", "how"), [(Twice(), "ok"), (Excuses(), "fail")])
def test_what_is_said_twice_in_one_step_is_found(flow: Flow, how: Any) -> None:
    evidence = alone(flow, Say(kind="chat"), Outcome(how=how))
    assert laws(evidence) == {"said once"}


def test_a_reply_that_the_engine_sends_once_more_is_found(monkeypatch: Patch) -> None:
    real = Turn.order

    def twice(self: Turn, body: Any) -> str:
        done = real(self, body)
        text = getattr(body, "text", None)
        if text is not None:
            real(self, SendMessage(reply_id=self._next_reply(), text=text))
        return done

    monkeypatch.setattr(scratch.Scratch, "order", twice)
    assert "said once" in laws(alone(Desk(), Say(kind="chat"), Outcome()))
    assert "said once" in laws(alone(lists.FLOWS["queue"], *[Say(kind="human")] * 3, Operator()))


def test_an_answer_is_remembered_in_the_turn_that_began_with_its_step(
    monkeypatch: Patch,
) -> None:
    # Said in the very step that took the message: no step before knows its turn.
    script = lists.script("leave request")
    monkeypatch.setattr(Turn, "_remember", lambda self, text, until: None)
    world = PureWorld(lists.FLOWS["leave request"], script=script)
    world.act(Say(kind="chat"))
    assert "answers are remembered" in laws(world.evidence())


# ---- acknowledged --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", [b'"OperatorSaid"', b'"StopRequested"', b'"FeedbackGiven"', b'"HandedBack"']
)
def test_what_was_acknowledged_and_is_no_message_is_not_lost_either(
    what: bytes, monkeypatch: Patch
) -> None:
    pipeline = streams.embedded.pipeline.Pipeline
    real = pipeline.decide

    def drops(self: Any, taken: Any, called: Any, *, now_ms: int) -> Any:
        kept = [one for one in taken if what not in one.append.value]
        return real(self, kept, called, now_ms=now_ms)

    back = Operator(what="hand back")
    assert laws(simulated(*ASKED, back)) == set()
    monkeypatch.setattr(pipeline, "decide", drops)
    assert laws(simulated(*ASKED, back)) == {"heard"}, "nothing else was in its batch"


def test_what_is_dropped_from_a_batch_and_acknowledged_is_lost(monkeypatch: Patch) -> None:
    pipeline = streams.embedded.pipeline.Pipeline
    real = pipeline.decide

    def drops(self: Any, taken: Any, called: Any, *, now_ms: int) -> Any:
        kept = [one for one in taken if b'"FeedbackGiven"' not in one.append.value]
        return real(self, kept, called, now_ms=now_ms)

    monkeypatch.setattr(pipeline, "decide", drops)
    world = Simulator(lists.FLOWS["steer"], script=SCRIPT, partitions=1)
    world.act(Say(kind="chat"))
    world.act_at_once([Say(kind="chat"), Feedback()])
    world.rest()
    assert laws(world.evidence()) == {"lost"}


def test_an_operators_words_are_kept_as_they_were_said(monkeypatch: Patch) -> None:
    from streams import ingress

    real = ingress.operator_said
    monkeypatch.setattr(
        ingress, "operator_said", lambda s, text, **given: real(s, text.upper(), **given)
    )
    assert laws(simulated(*ASKED)) == {"as asked"}


# ---- what runners are given, and say -------------------------------------------------------------


@pytest.mark.parametrize("kept", [slice(-1, None), slice(0, -1), slice(1, None)])
def test_a_prompt_without_its_history_or_its_question_is_found(
    kept: slice, monkeypatch: Patch
) -> None:
    real = transcript._lines
    talked = [Say(kind="chat"), Outcome(), Say(kind="chat", variant=1), Outcome()]
    assert laws(alone(Desk(), *talked)) == set()
    monkeypatch.setattr(transcript, "_lines", lambda session, call: real(session, call)[kept])
    assert laws(alone(Desk(), *talked)) == {"asked as ordered"}


def test_a_request_that_is_changed_on_its_way_is_found(monkeypatch: Patch) -> None:
    real = runners.Runners.put
    monkeypatch.setattr(
        runners.Runners, "put", lambda self, one: real(self, replace(one, expires_ms=1 << 60))
    )
    assert laws(simulated(Say(kind="chat"), Outcome())) == {"asked as ordered"}


def test_a_frame_that_shows_what_nobody_said_is_found(monkeypatch: Patch) -> None:
    real = runners._cut
    talked = [Say(kind="chat"), Frame(), Outcome()]
    assert laws(alone(Desk(), *talked)) == set()
    monkeypatch.setattr(runners, "_cut", lambda text: (f"Psst: {real(text)[0]}", False))
    assert "frames begin what was said" in laws(alone(Desk(), *talked))


def test_an_answer_that_is_not_what_the_runner_said_is_found(monkeypatch: Patch) -> None:
    real = runners._bounded

    def shorter(outcome: Any, call: Any) -> Any:
        done = real(outcome, call)
        return replace(done, text=done.text[:-1]) if hasattr(done, "text") else done

    monkeypatch.setattr(runners, "_bounded", shorter)
    assert laws(alone(Desk(), Say(kind="chat"), Outcome())) == {"outcomes as said"}


# ---- excuses that went too far -------------------------------------------------------------------


def test_a_second_outcome_is_excused_only_where_a_fault_names_its_request() -> None:
    evidence = talk(Late(), Late(1))
    law, late = "one outcome, and none when cancelled", Fault(at_ms=1, what="late")
    assert law not in laws(evidence)
    rest = [one for one in evidence.seen if not isinstance(one, Fault)]
    assert law in laws(but(evidence, seen=rest))
    for other in (late, but(late, effect="another"), but(late, new_owner=True, partition=1)):
        assert law in laws(but(evidence, seen=[*rest, other]))
    moved = but(late, at_ms=1 << 60, new_owner=True)
    assert law not in laws(but(evidence, seen=[*rest, moved]))
    assert law in laws(but(evidence, seen=[*rest, but(moved, at_ms=1)])), "before it was asked for"


def test_one_refusal_excuses_one_reply() -> None:
    evidence = talk()
    edit_delivery(log_of(evidence), state="failed", attempt=1)
    mine = next(iter(log_of(evidence).delivery_of))
    refused = [
        but(one, refused=True) if isinstance(one, Called) and one.reply_id != mine else one
        for one in evidence.seen
    ]
    assert "failed for a reason" in laws(but(evidence, seen=refused))


def _awaited(change: Callable[[Stepped, Pending], Stepped]) -> list[str]:
    """What is said of a step that is changed, in which an outcome ends a request."""
    evidence = alone(Desk(), Say(kind="chat"), Outcome())
    (dialog,) = read(evidence, 1).dialogs.values()
    one = next(one for one in dialog.steps if one.event.effect is not None)
    (pending,) = (p for p in one.before.pending if p.effect_id == one.event.effect)
    return list(STEP_LAWS["resolved once"](change(one, pending)))


def test_an_outcome_is_not_late_because_its_own_step_cancelled_its_request() -> None:
    def cancelled(one: Stepped, pending: Pending) -> Stepped:
        record = replace(one.record, cancelled=(pending.effect_id,), note="late")
        return but(one, record=record)

    assert _awaited(lambda one, pending: one) == []
    assert len(_awaited(cancelled)) == 1


def test_a_request_is_cancelled_only_when_it_is_due_or_its_state_is_left() -> None:
    # Nothing is due, and the step goes nowhere.
    evidence = alone(Desk(), Say(kind="chat"), Say(kind="chat", variant=1))
    (dialog,) = read(evidence, 1).dialogs.values()
    one = dialog.steps[1]
    (request,) = (p for p in one.before.pending if p.kind != "timer")
    record = replace(one.record, cancelled=(request.effect_id,))
    after = replace(one.after, pending=())
    broken = but(one, record=record, after=after)
    assert len(list(STEP_LAWS["resolved once"](broken))) == 1


# ---- no rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [PureWorld, Simulator])
def test_a_dialog_that_never_rests_is_a_finding(world: Callable[..., Any]) -> None:
    here = world(Restless(), script=SCRIPT)
    here.act(Say(kind="chat"))
    with pytest.raises(AssertionError, match="has not come to rest"):
        here.rest()


def test_what_is_found_comes_in_one_order() -> None:
    evidence = alone(lists.FLOWS["queue"], *[Say(kind="chat", variant=n) for n in range(5)])
    (dialog,) = read(evidence, 1).dialogs.values()
    one = next(one for one in dialog.steps if len(one.after.postponed) == 3)
    broken = but(one, after=replace(one.after, postponed=(), unanswered=()))
    found = list(STEP_LAWS["waits for its disposition"](broken))
    assert len(found) >= 3
    assert found == sorted(found)
