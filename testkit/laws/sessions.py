"""Laws of a session between two events: its path, its dialog, its memory and its bounds."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from engine import codec
from engine.effects import Withdraw
from engine.events import (
    ClockReached,
    FlowActivated,
    ModelReplied,
    SkillDone,
    message_id,
)
from engine.flow import Flow
from engine.limits import (
    EFFECT_BYTES_MAX,
    EVENT_BYTES_MAX,
    MESSAGE_TEXT_BYTES_MAX,
    MICROSTEPS_MAX,
    REPLY_TEXT_BYTES_MAX,
    SEEN_MAX,
    SESSION_BYTES_MAX,
)
from engine.session import Microstep
from engine.step import TRIGGERS
from statemachines.flow import Flow as TableFlow
from testkit.laws.moves import MOVES_MAX, entered
from testkit.laws.reading import Stepped

ANSWERS = (ModelReplied, SkillDone)
DATA_MAX = 10_000
"""Data of flows that is remembered as judged."""


def path_is_whole(one: Stepped) -> Iterator[str]:
    """The recorded path leads from the state before to the state after (design 4, step record)."""
    record = one.record
    free = record.error is not None or isinstance(one.event.body, FlowActivated)
    if (record.before, record.after) != (one.before.state, one.after.state):
        yield f"recorded {record.before} to {record.after}, it was {one.before.state} to " + (
            one.after.state
        )
    if one.after.seq != one.before.seq + 1:
        yield f"seq goes from {one.before.seq} to {one.after.seq}"
    if one.after.flow != record.flow or one.after.id != one.before.id:
        yield "the session became another, or one of another flow"
    at = record.before
    for step in record.path:
        if step.source != at and not free:
            yield f"a microstep from {step.source} in {at}"
        at = step.dest
    if at != record.after and not free:
        yield f"the path ends in {at}, the session is in {record.after}"
    if len(record.path) > MICROSTEPS_MAX:
        yield f"{len(record.path)} microsteps"


def rows_of_the_table(one: Stepped) -> Iterator[str]:
    """A microstep takes a row of the flow's table, the rows passed over failed (design 4, path)."""
    rows = getattr(getattr(one.flow, "table", None), "rows", None)
    if rows is None or not one.record.path:
        return
    for step in one.record.path:
        row = rows[step.row]
        is_other = row.trigger != step.trigger
        if is_other or {"*", *one.flow.path(step.source)}.isdisjoint(row.sources):
            yield f"{_taken(step)}, it is {row}"
        dest = step.source if row.dest in (None, "=") else row.dest
        if dest not in one.flow.path(step.dest):
            yield f"{_taken(step)}, to {step.dest} instead of {dest}"
        for passed in step.considered:
            other = rows[passed.row]
            named = passed.failed in (*other.conditions, *other.unless)
            if other.trigger != step.trigger or not named:
                what = f"row {passed.row} was passed over for {passed.failed}"
                yield f"{_taken(step)}, {what}"


def _taken(step: Microstep) -> str:
    return f"row {step.row} was taken for {step.trigger} in {step.source}"


def triggered_by_something(one: Stepped) -> Iterator[str]:
    """A microstep has a reason: the event, a message that waited, or what was due (design 4)."""
    if not one.triggers:
        return
    allowed = {TRIGGERS.get(type(one.event.body), ""), "step_failed", "message_received"}
    if getattr(one.event.body, "fallback", None) is not None:
        allowed = {"escalated", "step_failed", "message_received"}
    messages = one.triggers.count("message_received")
    if messages > len(one.before.postponed) + (one.message is not None):
        yield f"{messages} messages were taken"
    if allowed.issuperset(one.triggers):
        return
    if one.message is not None:
        allowed.add(one.flow.command(one.message.text) or "")
    allowed |= {p.on_due for p in one.before.pending if p.due_ms <= one.after.now_ms}
    allowed |= {t.trigger for t in one.flow.timeouts.values() if t.after_ms == 0}
    known = {p.effect_id for p in one.before.pending}
    if not known.issuperset(one.record.cancelled):
        allowed.add("request_failed")  # of a request that had no time at all
    for step in one.record.path:
        if step.trigger not in allowed:
            yield f"{step.trigger} came of a {one.event.type}"


def no_step_fails(one: Stepped) -> Iterator[str]:
    """A cell that the load check calls impossible is never hit, no callback raises (design 4)."""
    if one.record.error is not None:
        yield one.record.error


def dialogs_and_epochs(one: Stepped) -> Iterator[str]:
    """Entering `initial` from elsewhere ends the dialog, and nothing else does (design 4).

    Then the epoch grows by one, data and transcript begin anew.
    """
    if not one.record.path and one.after.epoch == one.before.epoch:
        return
    initial, flow = one.flow.initial, one.flow
    ends = [step.dest == initial and step.source != initial for step in one.record.path]
    grown = one.after.epoch - one.before.epoch
    if one.record.error is not None or isinstance(one.event.body, FlowActivated):
        if grown not in (sum(ends), sum(ends) + 1):
            yield f"the epoch grew by {grown}"
        return
    if not grown and True not in ends:
        return
    if grown != sum(ends):
        yield f"the dialog ended {sum(ends)} times, and the epoch grew by {grown}"
    if ends and ends[-1]:
        if one.after.transcript or one.after.turns or one.after.unanswered:
            yield "the dialog ended, and its turns are still there"
        if bytes(one.after.data) != flow.encode_data(flow.new_data()):
            yield "the dialog ended, and its data is still there"


def hand_over_withdraws(one: Stepped) -> Iterator[str]:
    """Entering a state that hands over withdraws what is not sent (design 4, 10)."""
    path = one.record.path
    flow = one.flow
    if not any(_hands_over((flow, step.source, entered(flow, step))) for step in path):
        return
    withdraws = (body for body in one.bodies if isinstance(body, Withdraw))
    if all(body.reply_id is not None for body in withdraws):
        yield "a person takes over, and what waits is still sent"


def seen_knows(one: Stepped) -> Iterator[str]:
    """`seen` knows each message, stop, word of an operator, … that was taken (design 4, dedupe).

    Within 25 h, unless so many came that the oldest are forgotten.
    """
    body = one.event.body
    if one.event.effect is not None or isinstance(body, ClockReached) or one.record.note == "late":
        if one.record.error is None and one.after.seen != one.before.seen:
            yield "what is no message changed the memory of messages"
        return
    hashed = _hashed(message_id(one.event))
    if one.record.note == "duplicate" and not one.repeats and hashed not in one.before.seen:
        yield f"{message_id(one.event)} passed for a repetition, and was not known"
    if hashed not in one.after.seen:
        yield f"{message_id(one.event)} was taken and is not remembered"
    recent = one.after.now_ms - one.before.now_ms < 3_600_000
    small = len(one.before.seen) < SEEN_MAX and one.before.seen[:4] == one.after.seen[:4]
    if recent and small and len(one.after.seen) < len(one.before.seen):
        yield "messages were forgotten"


def sizes(one: Stepped) -> Iterator[str]:
    """Event 64 KiB, effect and session 256 KiB, texts by their kind (design 4, total; 9)."""
    if len(codec.encode(one.event)) > EVENT_BYTES_MAX:
        yield "the event is over its limit"
    if len(one.encoded) > SESSION_BYTES_MAX:
        yield f"the session has {len(one.encoded)} bytes"
    if len(one.row.value) > EFFECT_BYTES_MAX:  # no part of a record is longer than it is
        for effect in one.record.effects:
            if len(codec.encode(effect)) > EFFECT_BYTES_MAX:
                yield f"{effect.id} is over its limit"
    if one.message is not None and len(one.message.text.encode()) > MESSAGE_TEXT_BYTES_MAX:
        yield "the message's text is over its limit"
    if isinstance(one.event.body, ANSWERS):
        text = one.event.body.text
        if not text.strip() and one.record.note != "late":
            yield "an empty answer came as an answer"
        if len(text.encode()) > REPLY_TEXT_BYTES_MAX and one.record.note != "late":
            yield "the answer is over its limit"


def data_is_plain(one: Stepped) -> Iterator[str]:
    """Flow data holds no set, no float, no mutable container, and round-trips (design 4)."""
    is_judged = one.record.seq > 1 and not isinstance(one.event.body, FlowActivated)
    if is_judged and one.after.data == one.before.data:
        return  # with the step before
    yield from _of_data((one.flow, bytes(one.after.data)))


@lru_cache(maxsize=DATA_MAX)
def _of_data(written: tuple[Flow, bytes]) -> tuple[str, ...]:
    """What is wrong with the data of a flow; much of it is alike."""
    flow, encoded = written
    data = flow.decode_data(encoded)
    other = flow.encode_data(data) != encoded
    found = ("the data is written otherwise when it was read",) if other else ()
    return (*found, *(f"the data holds a {bad}" for bad in _bad(data)))


def address_is_the_last(one: Stepped) -> Iterator[str]:
    """Replies go where the last message that was taken came from (design 4: a sealed type)."""
    if one.message is None or one.repeats or one.record.note in ("duplicate", "expired"):
        if one.after.address != one.before.address and one.message is None:
            yield "the address changed without a message"
    elif one.message is one.event.body and one.after.address != one.message.address:
        yield "replies do not go to whoever wrote"


def switch_keeps_the_dialog(one: Stepped) -> Iterator[str]:
    """A switch keeps the leaf, and the data's fields that still fit (design 4, a flow ref).

    Unless the author of the flow said otherwise by a `migrate` of their own.
    """
    if not isinstance(one.event.body, FlowActivated) or one.record.note or one.record.error:
        return
    flow = one.flow
    if not isinstance(flow, TableFlow) or type(flow).migrate is not TableFlow.migrate:
        return
    if one.record.path or one.before.state not in flow.table.leaves:
        return
    if one.after.state != one.before.state:
        yield f"a switch led from {one.before.state} to {one.after.state}, though it is still there"
    written = msgspec.json.decode(bytes(one.before.data))
    kept = msgspec.json.decode(bytes(one.after.data))
    for field in msgspec.structs.fields(flow.Data):
        fits = field.name in written and _fits(written[field.name], field.type)
        if fits and kept.get(field.name) != written[field.name]:
            yield f"a switch lost {field.name}"


# ---- inside ------------------------------------------------------------------------------------


def _hashed(identity: str) -> bytes:
    return blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()


@lru_cache(maxsize=MOVES_MAX)
def _hands_over(move: tuple[Flow, str, frozenset[str]]) -> bool:
    """Whether entering these states from there hands the dialog over."""
    flow, source, into = move
    states = flow.hands_over
    return not states.isdisjoint(into) and states.isdisjoint(flow.path(source))


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _bad(value: Any) -> Iterator[str]:
    if value is None or isinstance(value, (str, int)):
        return
    if isinstance(value, set | frozenset | float | list | dict | bytearray):
        yield type(value).__name__
    elif isinstance(value, tuple):
        for item in value:
            yield from _bad(item)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _bad(getattr(value, name))


STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    "path is whole": path_is_whole,
    "rows of the table": rows_of_the_table,
    "triggered by something": triggered_by_something,
    "no step fails": no_step_fails,
    "epoch grows only when a dialog ends": dialogs_and_epochs,
    "hand-over withdraws": hand_over_withdraws,
    "seen knows every taken message": seen_knows,
    "text and records within limits": sizes,
    "data is plain": data_is_plain,
    "address is the last": address_is_the_last,
    "a switch keeps the dialog": switch_keeps_the_dialog,
}
