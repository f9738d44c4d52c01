"""Laws 1 to 4 and 6: what folding a history gives. Only here the oracle steps sessions itself.

The costly ones look at every n-th step (`Reading.every`).
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from engine import codec, upcast
from engine.errors import InvalidRecord
from engine.events import ClockReached, Event, FlowActivated, StopRequested, message_id
from engine.flow import Flow
from engine.limits import SEEN_KEPT_MS, SEEN_MAX
from engine.session import Session
from engine.step import step
from testkit.laws.history import digest
from testkit.laws.reading import Dialog, Found, Stepped

LATER_MAX = 40
"""Events of a session that are repeated at its end."""


def fold_equals_stored(dialog: Dialog) -> Iterator[Found]:
    """Folding the history gives the recorded steps and the stored bytes (laws 1 and 6).

    Records of several sessions are interleaved in the log; each is folded alone here.
    """
    if dialog.lost_at:
        yield Found(dialog.lost_at)
        return
    for one in dialog.steps:
        if digest(one.encoded) != one.record.digest:
            yield Found(f"seq {one.record.seq}: its digest is not that of the session's bytes")
    if dialog.steps and dialog.stored is not None and dialog.steps[-1].encoded != dialog.stored:
        yield Found("folding gives other bytes than are stored")


def snapshot_anywhere(dialog: Dialog) -> Iterator[Found]:
    """A snapshot at any place, through the codec, then the rest, equals all (law 2).

    Each step from decoded bytes equals the one from memory: so does any number of them.
    """
    for one in dialog.sampled:
        try:
            before = codec.decode_session(codec.encode(one.before))
            event = codec.decode_event(codec.encode(one.event))
            done = step(one.flow, before, event)
        except (InvalidRecord, ValueError) as error:
            yield Found(f"seq {one.record.seq}: its snapshot is not taken up again: {error}")
            continue
        if before != one.before:
            yield Found(f"seq {one.record.seq}: the session before it does not round-trip")
        if (done.encoded, done.encoded_record) != (one.encoded, one.row.value):
            yield Found(f"seq {one.record.seq}: another step follows from the snapshot")
        if codec.decode_session(one.encoded) != one.after:
            yield Found(f"seq {one.record.seq}: the session after it does not round-trip")


def repetition_changes_nothing(dialog: Dialog) -> Iterator[Found]:
    """A repeated event changes nothing that a ClockReached of the same time would not (law 3)."""
    for one in dialog.sampled:
        if not _is_same_as_clock(one.flow, one.after, one.event):
            yield Found(f"seq {one.record.seq}: a repetition of its event changes the session")
    if not dialog.steps or len(dialog.steps) > SEEN_MAX:
        return
    last = dialog.steps[-1]
    for one in dialog.steps[-LATER_MAX : -1 : dialog.reading.every]:
        # Outcomes are late for ever; all else is known for a while since it was taken.
        is_known = one.event.effect is not None
        is_known = is_known or last.after.now_ms - one.taken_ms <= SEEN_KEPT_MS
        if one.flow is not last.flow or not is_known:
            continue
        if not _is_same_as_clock(last.flow, last.after, one.event):
            yield Found(f"seq {one.record.seq}: its event, repeated at the end, changes something")


def what_is_known_changes_nothing(dialog: Dialog) -> Iterator[Found]:
    """A recorded repetition, a late outcome, a late stop changes nothing (law 3, law 5).

    Late is an outcome whose request is not pending, and the stop of a reply that is not open.
    """
    for one in dialog.steps:
        why = _why_nothing(one)
        if why and one.after != _woken(one.flow, one.before, one.event):
            yield Found(f"seq {one.record.seq}: {why}, and it changed something")


def ids_do_not_count_seq(dialog: Dialog) -> Iterator[Found]:
    """An effect's id comes from its cause and an index, not from seq: that restarts (design 4)."""
    for one in dialog.sampled:
        if not (one.record.effects or one.after.pending):
            continue
        shifted = replace(one.before, seq=one.before.seq + 1_000)
        done = step(one.flow, shifted, one.event)
        if done.record.effects != one.record.effects or done.session.pending != one.after.pending:
            yield Found(f"seq {one.record.seq}: its effects have other ids in a replay")


def old_schemas(dialog: Dialog) -> Iterator[Found]:
    """Every old schema upcasts (law 4): there is an upcaster from each to the next."""
    for record, newest in upcast.NEWEST.items():
        for schema in range(1, newest):
            if (record, schema) not in upcast.UPCASTERS:
                yield Found(f"{record} of schema {schema} cannot be read any more")
    newest_of_all = tuple(upcast.NEWEST[name] for name in ("event", "session", "step"))
    for one in dialog.steps:
        schemas = (one.event.schema, one.after.schema, one.record.schema)
        if schemas != newest_of_all:
            yield Found(f"seq {one.record.seq}: written with schemas {schemas}, not the newest")


def _why_nothing(one: Stepped) -> str:
    body, event = one.event.body, one.event
    if event.effect is not None:
        return "" if event.effect in one.had.requests else "nobody awaited this outcome"
    if isinstance(body, ClockReached):
        return ""
    if one.repeats:
        return f"{message_id(event)} was stepped before"
    reply = body.reply_id if isinstance(body, StopRequested) else ""
    if reply and reply not in one.had.replies:
        return "the reply that was to stop had ended"
    return ""


def _is_same_as_clock(flow: Flow, session: Session, event: Event) -> bool:
    if isinstance(event.body, FlowActivated | ClockReached):
        return True
    done = step(flow, session, event)
    return not done.record.effects and done.session == _woken(flow, session, event)


def _woken(flow: Flow, session: Session, event: Event) -> Session:
    body = ClockReached(due_ms=event.at_ms)
    wake = Event(
        id=f"{session.id}/woken",
        session_id=session.id,
        at_ms=event.at_ms,
        source="oracle",
        body=body,
    )
    return step(flow, session, wake).session


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "fold equals stored": fold_equals_stored,
    "snapshot anywhere": snapshot_anywhere,
    "repeated event changes nothing": repetition_changes_nothing,
    "what is known changes nothing": what_is_known_changes_nothing,
    "ids do not count seq": ids_do_not_count_seq,
    "old schemas are read": old_schemas,
}
