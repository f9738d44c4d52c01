"""Each law of a whole log, or of a whole session, reports evidence that breaks it, made by hand."""

from collections.abc import Callable
from dataclasses import replace as but
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.logs.memory import MemoryLog
from engine import codec, upcast
from engine.effects import Forward
from engine.events import ClockReached, Event, FlowActivated, ModelReplied
from engine.ports import DeadLetter, Delivery, StepRow
from engine.session import Session, Step, StepRecord
from testkit.laws import DIALOG_LAWS, WHOLE_LAWS, check, folding, lines, messages
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.stimuli import Frame, Late, Operator, Outcome, Say, Wait
from testkit.worlds import (
    Acknowledged,
    Asked,
    Began,
    Called,
    Evidence,
    Fault,
    Received,
    Said,
    Shown,
    Wrote,
)
from tests.testkit_tests import lists

Patch = pytest.MonkeyPatch
Break = Callable[[Evidence, MemoryLog, Patch], Evidence | None]
"""Breaks the evidence, or the log under it; the evidence to judge, None where it is the same."""

SCRIPT = Script(
    says={"chat": ("hi", "why?"), "human": ("human",)},
    model=("All is well, and there is more of it to say.",),
)
TALK = (
    Say(kind="chat"),
    Wait(2_000),
    Wait(1_000),
    Frame(),
    Outcome(),
    Say(kind="chat"),
    Wait(2_000),
    Frame(variant=0),
    Outcome(),
    Say(kind="human"),
    Say(kind="chat"),
    Operator(),
    Wait(),
    Say(user=1, kind="chat"),
    Wait(2_000),
    Outcome(how="fail"),
)


def talk(*more: Any, at_rest: bool = True) -> Evidence:
    """A dialog with an answer, a failure and a hand-over."""
    world = PureWorld(lists.FLOWS["merge"], script=SCRIPT)
    for stimulus in (*TALK, *more):
        world.act(stimulus)
    if at_rest:
        world.rest()
    return world.evidence()


# ---- how to break a log ------------------------------------------------------------------------


def first(log: MemoryLog) -> str:
    return next(iter(log.step_rows))


def edit_step(log: MemoryLog, which: Callable[[StepRecord], bool], **fields: Any) -> None:
    """Write the first step record that is meant with other fields."""
    for rows in log.step_rows.values():
        for n, (row, at_ms) in enumerate(rows):
            record = codec.decode_step(row.value)
            if which(record):
                changed = {k: v(record) if callable(v) else v for k, v in fields.items()}
                rows[n] = (row._replace(value=codec.encode(replace(record, **changed))), at_ms)
                return
    raise AssertionError("no step is like this")


def edit_event(log: MemoryLog, which: Callable[[Event], bool], **fields: Any) -> None:
    records = log.committed[0].records
    for n, record in enumerate(records):
        event = codec.decode_event(record.value)
        if which(event):
            records[n] = record._replace(value=codec.encode(replace(event, **fields)))
            return
    raise AssertionError("no event is like this")


def edit_delivery(log: MemoryLog, **fields: Any) -> None:
    reply_id = next(iter(log.delivery_of))
    log.delivery_of[reply_id] = replace(log.delivery_of[reply_id], **fields)


def other_address(log: MemoryLog) -> None:
    (delivery, *_) = log.delivery_of.values()
    edit_delivery(log, address=replace(delivery.address, sender="somebody"))


def set_aside(log: MemoryLog, **fields: Any) -> None:
    """Put the first message aside, though it can be read."""
    for record in log.committed[0].records:
        if codec.decode_event(record.value).type == "MessageReceived":
            letter = DeadLetter(
                partition=0,
                offset=record.offset,
                session_id=record.session_id,
                error="for nothing",
                value=record.value,
                at_ms=1,
            )
            log.committed[0].dead_letters[record.offset] = replace(letter, **fields)
            return


def forget_step(log: MemoryLog) -> None:
    log.step_rows[first(log)].pop()


def forget_middle(log: MemoryLog) -> None:
    log.step_rows[first(log)].pop(2)


def rename_row(log: MemoryLog) -> None:
    rows = log.step_rows[first(log)]
    row, at_ms = rows[1]
    rows[1] = (row._replace(event_id=f"{row.session_id}/{'0' * 32}"), at_ms)


def older_session(log: MemoryLog) -> None:
    log.session_bytes[first(log)] = log.session_bytes[first(log)].replace(
        b'"epoch":1', b'"epoch":9'
    )


def repeat_effects(log: MemoryLog) -> None:
    rows = log.step_rows[first(log)]
    said = next(codec.decode_step(r.value) for r, _ in rows if b"SendMessage" in r.value)
    edit_step(log, lambda record: not record.effects, effects=said.effects)


def other_flow(log: MemoryLog) -> None:
    control = codec.decode_event(log.committed[0].records[0].value)
    assert isinstance(control.body, FlowActivated)
    ref = replace(control.body.flow, version=99)
    edit_event(log, lambda event: True, body=replace(control.body, flow=ref))


def sloppy_record(log: MemoryLog) -> None:
    records = log.committed[0].records
    records[3] = records[3]._replace(value=b" " + records[3].value)


def late_record(log: MemoryLog) -> None:
    records = log.committed[0].records
    records[2] = records[2]._replace(appended_ms=records[2].appended_ms + 10_000_000)


def early_wake(log: MemoryLog) -> None:
    edit_event(
        log,
        lambda event: isinstance(event.body, ClockReached),
        body=ClockReached(due_ms=2_000_000_000_000),
    )


def lose_messages(log: MemoryLog) -> None:
    records = log.committed[0].records
    records[:] = [r for r in records if b"MessageReceived" not in r.value]


def other_forward(log: MemoryLog) -> None:
    def effects(record: StepRecord) -> Any:
        return tuple(
            replace(e, body=replace(e.body, text="?")) if isinstance(e.body, Forward) else e
            for e in record.effects
        )

    forwards = lambda record: any(isinstance(e.body, Forward) for e in record.effects)  # noqa: E731
    edit_step(log, forwards, effects=effects)


def on_log(change: Callable[[MemoryLog], None]) -> Break:
    def broken(evidence: Evidence, log: MemoryLog, patch: Patch) -> None:
        change(log)

    return broken


# ---- how to break what was seen ----------------------------------------------------------------


def seen(kind: Any, change: Callable[[Any], list[Any]], **fields: Any) -> Break:
    """The first entry of a kind, changed, doubled or gone; and other fields of the evidence."""

    def broken(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
        entries = list(evidence.seen)
        at = next(n for n, one in enumerate(entries) if isinstance(one, kind))
        entries[at : at + 1] = change(entries[at])
        return but(evidence, seen=tuple(entries), **fields)

    return broken


def reversed_replies(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    return but(evidence, seen=evidence.seen[::-1])


def frame_at_the_end(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    frame = next(one for one in evidence.seen if isinstance(one, Shown))
    return but(evidence, seen=(*evidence.seen, but(frame, n=9, watermark=log.watermark(0))))


def called_at_the_end(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    call = next(one for one in evidence.seen if isinstance(one, Called))
    return but(evidence, seen=(*evidence.seen, but(call, watermark=log.watermark(0))))


def unsaid_answers(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    return but(evidence, seen=[one for one in evidence.seen if not isinstance(one, Said)])


# ---- how to break folding ----------------------------------------------------------------------


def stepping(change: Callable[[Step, Session], Step]) -> Break:
    """An engine that steps otherwise when the laws try it."""

    def broken(evidence: Evidence, log: MemoryLog, patch: Patch) -> None:
        real = folding.step
        patch.setattr(folding, "step", lambda f, s, e: change(real(f, s, e), s))

    return broken


def other_epoch(done: Step, before: Session) -> Step:
    return replace(done, session=replace(done.session, epoch=before.seq + 1))


def more_effects(done: Step, before: Session) -> Step:
    return replace(done, record=replace(done.record, effects=done.record.effects * 2 or (1,)))


def newer_schema(evidence: Evidence, log: MemoryLog, patch: Patch) -> None:
    patch.setattr(upcast, "NEWEST", {**upcast.NEWEST, "event": 2})


# ---- the rest ----------------------------------------------------------------------------------


class Impatient:
    """A flow in which nobody may wait."""

    class report:  # noqa: N801
        bound_s = 0

    def __init__(self, flow: Any) -> None:
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flow, name)


def impatient(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    flows = {ref: Impatient(flow) for ref, flow in evidence.flows.items()}
    return but(evidence, flows=flows, faults_end_ms=0)


def one_message_at_most(evidence: Evidence, log: MemoryLog, patch: Patch) -> None:
    patch.setattr(messages, "SEEN_MAX", 1)


def late_without_a_fault(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    found = talk(Late())
    return but(found, seen=tuple(one for one in found.seen if not isinstance(one, Fault)))


def at_rest_too_soon(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    found = talk(Say(user=2, kind="chat"), Wait(2_000), at_rest=False)
    return but(found, rested_ms=1)


def nobody_worked(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    found = talk(Say(user=2, kind="chat"), Wait(2_000), Wait(60_000))
    return but(found, resting_ms=1)


def three_died_of_a_step(evidence: Evidence, log: MemoryLog, patch: Patch) -> Evidence:
    event_id = next(one.event_id for one in evidence.seen if isinstance(one, Wrote))
    died = Fault(at_ms=0, what="died", standing=event_id, new_owner=True)
    return but(evidence, seen=(*[died] * 3, *evidence.seen))


def lost_delivery(log: MemoryLog) -> None:
    del log.delivery_of[next(iter(log.delivery_of))]


def first_ends_twice(record: StepRecord) -> Any:
    return record.dispositions * 2


BREAKS: dict[str, Break] = {
    "every event stepped exactly once or set aside": on_log(forget_step),
    "watermark equals what is stepped": on_log(
        lambda log: setattr(log.committed[0], "watermark", log.committed[0].watermark - 1)
    ),
    "log time never goes back": on_log(late_record),
    "no clock early": on_log(early_wake),
    "records round-trip": on_log(sloppy_record),
    "dead letters have a reason": on_log(set_aside),
    "what kills is set aside": three_died_of_a_step,
    "redriven once asked": on_log(lambda log: set_aside(log, redriven_ms=5)),
    "seq without gaps, order within a session": on_log(forget_middle),
    "step records name themselves": on_log(rename_row),
    "stored is the last step": on_log(older_session),
    "stepped by the active flow": on_log(other_flow),
    "lost": on_log(lose_messages),
    "as written": seen(Wrote, lambda one: [but(one, text="something else")]),
    "as asked": seen(Asked, lambda one: [but(one, text="something else")]),
    "heard": seen(Acknowledged, lambda one: []),
    "one disposition": on_log(
        lambda log: edit_step(log, lambda r: bool(r.dispositions), dispositions=first_ends_twice)
    ),
    "served within B": impatient,
    "forwarded as written": on_log(other_forward),
    "too many are refused": one_message_at_most,
    "ids unique": on_log(repeat_effects),
    "outcomes of recorded requests": on_log(
        lambda log: edit_event(log, lambda e: e.effect is not None, effect="nobody's")
    ),
    "one outcome, and none when cancelled": late_without_a_fault,
    "work is not forgotten": nobody_worked,
    "nothing pends at rest": at_rest_too_soon,
    "ordered once": on_log(repeat_effects),
    "orders are delivered": on_log(lost_delivery),
    "addressed to the session": on_log(other_address),
    "set aside with a word": on_log(set_aside),
    "receipts": on_log(lambda log: edit_delivery(log, state="sending", receipted_ms=None)),
    "sent means in the outbox": lambda evidence, log, patch: but(evidence, lines=lambda one: ()),
    "withdrawn by an order": on_log(lambda log: withdrawn_elsewhere(log)),
    "undelivered is told": on_log(lambda log: edit_delivery(log, state="unknown")),
    "fold equals stored": on_log(lambda log: edit_step(log, lambda record: True, digest="0" * 32)),
    "snapshot anywhere": stepping(lambda done, before: replace(done, encoded=b"{}")),
    "repeated event changes nothing": stepping(more_effects),
    "what is known changes nothing": lambda evidence, log, patch: known_changes(patch),
    "ids do not count seq": stepping(more_effects),
    "old schemas are read": newer_schema,
    "mark before call": seen(Called, lambda one: [but(one, marked=False)]),
    "called soon after its mark": seen(
        Called, lambda one: [but(one, at_ms=one.at_ms + 5_000)], idempotent=False
    ),
    "received once": seen(Received, lambda one: [one, one]),
    "received as ordered": seen(Received, lambda one: [but(one, text="?")]),
    "both sides agree": seen(Received, lambda one: []),
    "unknown for a reason": on_log(lambda log: edit_delivery(log, state="unknown")),
    "called again for a reason": seen(Called, lambda one: [one, one]),
    "failed for a reason": on_log(lambda log: edit_delivery(log, state="failed")),
    "nothing after it was withdrawn": called_at_the_end,
    "replies in order": reversed_replies,
    "no frame after its reply closed": frame_at_the_end,
    "what hands over is not shown": on_log(
        lambda log: edit_event(
            log,
            lambda event: isinstance(event.body, ModelReplied),
            body=ModelReplied(text="error: OOM"),
        )
    ),
    "asked as ordered": seen(
        Began, lambda one: [but(one, request=replace(one.request, expires_ms=1))]
    ),
    "given once": seen(Began, lambda one: [one, one]),
    "outcomes as said": unsaid_answers,
    "frames begin what was said": seen(Shown, lambda one: [but(one, text="?")]),
    "frames grow": seen(Shown, lambda one: [one, one]),
    "limiter": lambda evidence, log, patch: but(evidence, limit=(1, 10_000_000)),
}


def withdrawn_elsewhere(log: MemoryLog) -> None:
    """A reply of a session in which no step asked anything back."""
    for reply_id, delivery in log.delivery_of.items():
        rows: list[tuple[StepRow, int]] = log.step_rows[delivery.session_id]
        if not any(b'"Withdraw"' in row.value for row, _ in rows):
            changed: Delivery = replace(delivery, state="withdrawn")
            log.delivery_of[reply_id] = changed
            return


def known_changes(patch: Patch) -> Evidence:
    """A late outcome, and an engine in which it is not the same as a wake."""
    found = talk(Late())
    real = folding.step
    patch.setattr(folding, "step", lambda f, s, e: other_epoch(real(f, s, e), s))
    return found


def test_each_law_of_a_log_has_evidence_that_breaks_it() -> None:
    # Those of lines need a world that keeps them, and are broken in `test_laws_of_lines`.
    assert set(BREAKS) == {*DIALOG_LAWS, *WHOLE_LAWS} - set(lines.DIALOG_LAWS)


def test_the_dialog_itself_breaks_none() -> None:
    evidence = talk()
    assert check(evidence) == []
    assert sum(isinstance(one, Shown) for one in evidence.seen) == 2
    assert sum(isinstance(one, Received) for one in evidence.seen) >= 5


@pytest.mark.parametrize("law", BREAKS)
def test_a_law_reports_what_breaks_it(law: str, monkeypatch: Patch) -> None:
    evidence = talk()
    (log,) = evidence.logs
    assert isinstance(log, MemoryLog)
    broken = BREAKS[law](evidence, log, monkeypatch)
    found = check(evidence if broken is None else broken)
    assert law in {violation.law for violation in found}, [v.law for v in found]
    mine = [violation for violation in found if violation.law == law]
    assert not any("could not be judged" in violation.what for violation in mine), mine
