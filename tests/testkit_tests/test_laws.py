"""Each law of a step reports a step that breaks it, made by hand, and none of a healthy run."""

from collections.abc import Callable
from dataclasses import replace as but
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from engine.effects import (
    REQUESTS,
    CallModel,
    Cancel,
    CloseReply,
    Forward,
    SendMessage,
    Withdraw,
)
from engine.events import OUTCOMES, FlowActivated, ModelReplied, StopRequested
from engine.limits import SEEN_KEPT_MS
from engine.session import Disposition, Session, StepRecord
from testkit.laws import LAWS, STEP_LAWS, check
from testkit.laws.reading import Stepped, read
from testkit.pure import PureWorld
from testkit.stimuli import Again, AnyStimulus, Outcome, Say, Wait
from testkit.worlds import Evidence
from tests.testkit_tests import lists

Break = Callable[[Stepped], Stepped | None]
"""The step as it would look if the law were broken; None where it does not apply to this one."""


class FloatingData:
    """A flow whose data came back with a float in it."""

    def __init__(self, flow: Any) -> None:
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flow, name)

    def decode_data(self, data: bytes) -> Any:
        return (1.5, self._flow.decode_data(data))

    def encode_data(self, data: Any) -> Any:
        return self._flow.encode_data(data[1])


def after(one: Stepped, **fields: Any) -> Stepped:
    return but(one, after=replace(one.after, **fields))


def record(one: Stepped, **fields: Any) -> Stepped:
    return but(one, record=replace(one.record, **fields))


def without(one: Stepped, kind: type) -> Stepped | None:
    """The step without its effects of a kind; None where it has none."""
    kept = tuple(e for e in one.record.effects if not isinstance(e.body, kind))
    return record(one, effects=kept) if len(kept) < len(one.record.effects) else None


def has(one: Stepped, how: str) -> bool:
    return any(d.how == how and not d.note for d in one.record.dispositions)


def ended(one: Stepped, how: str) -> Stepped | None:
    """The step's message ended like this, and nobody was told."""
    if one.message is None or one.repeats:
        return None
    disposition = Disposition(message=one.event.id, how=how)
    return record(one, dispositions=(disposition,), effects=())


def changed_effect(one: Stepped, kind: Any, **fields: Any) -> Stepped | None:
    """The first effect of a kind is another one."""
    for n, effect in enumerate(one.record.effects):
        if isinstance(effect.body, kind):
            effects = list(one.record.effects)
            of_body = {k: v for k, v in fields.items() if hasattr(effect.body, k)}
            of_effect = {k: v for k, v in fields.items() if k not in of_body}
            effects[n] = replace(effect, body=replace(effect.body, **of_body), **of_effect)
            return record(one, effects=tuple(effects))
    return None


def first_pending(one: Stepped, timer: bool, **fields: Any) -> Stepped | None:
    for n, pending in enumerate(one.after.pending):
        if (pending.kind == "timer") is timer:
            changed = [*one.after.pending]
            changed[n] = replace(pending, **fields)
            return after(one, pending=tuple(changed))
    return None


def doubled_timer(one: Stepped) -> Stepped | None:
    timers = [p for p in one.after.pending if p.kind == "timer"]
    return after(one, pending=(*one.after.pending, timers[0])) if timers else None


def forgotten_at_a_switch(one: Stepped) -> Stepped | None:
    """As if this step had switched the flow, and all that was known before were gone."""
    empty = one.flow.encode_data(one.flow.new_data())
    if bytes(one.after.data) == empty:
        return None
    body = FlowActivated(flow=one.flow.ref, config=msgspec.Raw(b"{}"))
    switched = but(one, event=replace(one.event, body=body), before=one.after)
    return after(record(switched, path=(), note="", error=None), data=msgspec.Raw(empty))


def unsaid(one: Stepped) -> Stepped | None:
    if not one.after.transcript:
        return None
    *turns, last = one.after.transcript
    return after(one, transcript=(*turns, replace(last, bot=f"{last.bot} and more")))


def said_again(one: Stepped) -> Stepped | None:
    said = [e for e in one.record.effects if isinstance(e.body, SendMessage)]
    if len(one.record.path) != 1 or not said or one.record.error is not None:
        return None
    return record(one, effects=(*one.record.effects, said[0]))


def forgotten_answer(one: Stepped) -> Stepped | None:
    known = {w.event_id for w in one.before.unanswered}
    answers = any(d.how == "answered" and d.message in known for d in one.record.dispositions)
    return (
        after(one, transcript=one.before.transcript) if has(one, "answered") and answers else None
    )


def fired_early(one: Stepped) -> Stepped | None:
    triggers = {timeout.trigger for timeout in one.flow.timeouts.values()}
    if not any(step.trigger in triggers for step in one.record.path):
        return None
    return but(one, before=replace(one.before, pending=()))


def empty_answer(one: Stepped) -> Stepped | None:
    if not isinstance(one.event.body, ModelReplied) or one.record.note == "late":
        return None
    return but(one, event=replace(one.event, body=replace(one.event.body, text="")))


def awaited(one: Stepped) -> Stepped | None:
    if not isinstance(one.event.body, OUTCOMES) or one.record.note == "late":
        return None
    return record(one, note="late")


def stopped_in_vain(one: Stepped) -> Stepped | None:
    if not isinstance(one.event.body, StopRequested) or one.repeats or one.record.note == "late":
        return None
    return record(one, note="late", effects=())


def closed_twice(one: Stepped) -> Stepped | None:
    closes = [e for e in one.record.effects if isinstance(e.body, CloseReply)]
    return record(one, effects=(*one.record.effects, closes[0])) if closes else None


def wrong_path(one: Stepped) -> Stepped | None:
    if not one.record.path:
        return None
    return record(one, path=(replace(one.record.path[0], trigger="nothing"), *one.record.path[1:]))


def event_first(one: Stepped) -> Stepped | None:
    """Something else than what was due."""
    due = any(p.due_ms <= one.after.now_ms for p in one.before.pending)
    return wrong_path(one) if due and one.record.error is None else None


BREAKS: dict[str, Break] = {
    "waits for its disposition": lambda one: (
        after(one, unanswered=()) if one.after.unanswered else None
    ),
    "messages in order": lambda one: (
        after(one, postponed=one.after.postponed[::-1]) if len(one.after.postponed) > 1 else None
    ),
    "queue": lambda one: after(one, state="bot.listening") if one.after.postponed else None,
    "answered by a reply": lambda one: record(one, effects=()) if has(one, "answered") else None,
    "told why": lambda one: ended(one, "refused"),
    "forwarded whole": lambda one: without(one, Forward),
    "ignored by a row": lambda one: ended(one, "ignored"),
    "expired is old": lambda one: None if has(one, "expired") else ended(one, "expired"),
    "a stop stops": stopped_in_vain,
    "resolved once": lambda one: (
        after(one, pending=tuple(p for p in one.after.pending if p.kind == "timer"))
        if any(p.kind != "timer" for p in one.after.pending)
        else None
    ),
    "cancelled means told": lambda one: without(one, Cancel),
    "pending as emitted": lambda one: changed_effect(one, REQUESTS, expires_ms=1),
    "no timer left behind": lambda one: first_pending(one, True, due_ms=one.after.now_ms),
    "no timer early": lambda one: after(one, now_ms=one.after.now_ms + 1),
    "fired is due": fired_early,
    "due come first": event_first,
    "timers of what is active": doubled_timer,
    "scopes are active": lambda one: first_pending(one, False, scope="person"),
    "an awaited outcome is taken": awaited,
    "replies are opened and closed once": closed_twice,
    "rows of the table": lambda one: (
        record(one, path=(replace(one.record.path[0], trigger="nothing"), *one.record.path[1:]))
        if one.record.path
        else None
    ),
    "path is whole": lambda one: record(one, after="nowhere"),
    "triggered by something": wrong_path,
    "no step fails": lambda one: record(one, error="KeyError in ask"),
    "epoch grows only when a dialog ends": lambda one: after(one, epoch=one.after.epoch + 1),
    "hand-over withdraws": lambda one: without(one, Withdraw),
    "seen knows every taken message": lambda one: (
        after(one, seen=b"") if one.message is not None and not one.repeats else None
    ),
    "transcript agrees with what was said": unsaid,
    "said once": said_again,
    "answers are remembered": forgotten_answer,
    "transcript is bounded and counted": lambda one: after(one, turns=one.after.turns + 1),
    "prompts name their turns": lambda one: changed_effect(one, CallModel, digest="0" * 16),
    "text and records within limits": empty_answer,
    "data is plain": lambda one: but(one, flow=FloatingData(one.flow)),
    "address is the last": lambda one: (
        after(one, address=None) if one.message is not None and not one.record.note else None
    ),
    "a switch keeps the dialog": forgotten_at_a_switch,
}


@pytest.fixture(scope="module")
def healthy() -> list[Evidence]:
    """What several runs without a defect left behind."""
    found = []
    for name in lists.FLOWS:
        for seed in (1, 2):
            world = PureWorld(lists.FLOWS[name], script=lists.script(name))
            for stimulus in lists.broken(seed, 120):
                world.act(stimulus)
            world.rest()
            found.append(world.evidence())
    return found


def test_each_law_of_a_step_has_a_step_that_breaks_it() -> None:
    assert set(BREAKS) == set(STEP_LAWS)


def test_a_healthy_run_breaks_no_law(healthy: list[Evidence]) -> None:
    for evidence in healthy:
        assert check(evidence) == []
    assert len(set(LAWS)) == len(LAWS) >= 60


@pytest.mark.parametrize("law", STEP_LAWS)
def test_a_law_reports_what_breaks_it(law: str, healthy: list[Evidence]) -> None:
    tried = 0
    for evidence in healthy:
        for dialog in read(evidence, 1).dialogs.values():
            for one in dialog.steps:
                broken = BREAKS[law](one)
                if broken is not None:
                    tried += 1
                    assert list(STEP_LAWS[law](broken)), f"seq {one.record.seq} of {dialog.id}"
                    break
    assert tried, "no step of the healthy runs is like this"


# ---- made by stimuli -----------------------------------------------------------------------------


def run(name: str, *stimuli: AnyStimulus) -> Evidence:
    world = PureWorld(lists.FLOWS[name], script=lists.script(name))
    for stimulus in stimuli:
        world.act(stimulus)
    world.rest()
    return world.evidence()


def test_the_ninth_queued_message_is_refused_and_the_laws_know_why() -> None:
    evidence = run("queue", *[Say(kind="skill")] * 11)
    (session,) = read(evidence, 1).dialogs.values()
    notes = [d.note for one in session.steps for d in one.record.dispositions]
    assert notes.count("queue full") >= 1
    assert check(evidence) == []


def test_more_than_twenty_turns_are_forgotten_in_order() -> None:
    talk = [Say(kind="chat"), Outcome(), Wait(1)] * 24
    assert check(run("steer", *talk)) == []


def test_a_message_is_known_since_it_was_taken_not_since_it_was_repeated() -> None:
    # Repeated when it had just been kept for long enough, it is still known: hours are forgotten
    # whole. That says nothing of a repetition two hours later.
    again = (Wait(SEEN_KEPT_MS + 1), Again(), Wait(7_200_000), Say(kind="chat"))
    evidence = run("steer", Say(kind="chat"), *again)
    (session,) = read(evidence, 1).dialogs.values()
    assert [one.record.note for one in session.steps if one.event.type == "MessageReceived"] == [
        "",
        "duplicate",
        "",
    ]
    assert check(evidence) == []


def test_records_compare_as_they_are_written() -> None:
    # The breaks above copy records by `replace`: a copy must equal what it was made of.
    (session,) = read(run("merge", Say(kind="chat")), 1).dialogs.values()
    one = session.steps[0]
    assert after(one, epoch=one.after.epoch).after == one.after
    assert isinstance(one.after, Session)
    assert isinstance(one.record, StepRecord)
    assert msgspec.json.encode(one.record) == one.row.value
