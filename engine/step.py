"""step: one event applied to one session. Pure, total, synchronous.

Called by the sessions hop for each record of the log, and by everything that folds a history. The
order inside a step is fixed, and is the order of this file:

    dedupe and expiry → migrate if the flow changed → due pendings, in (due, id) order, each a
    microstep → the event → postponed messages, re-offered after each change of state, and timers
    that are due at once

A microstep: the machine takes one row (its callbacks run) → what belonged to the states left is
cancelled → the states entered start their timers. A step never raises because of what is in a
record or a callback: any error throws the scratch away, and `step_failed` runs once instead.
"""

import msgspec

from engine import codec
from engine.admission import admit, stops_nothing
from engine.effects import Cancel, CloseReply
from engine.errors import InvalidRecord
from engine.events import (
    FAILURES,
    OUTCOMES,
    ClockReached,
    Event,
    FeedbackGiven,
    FlowActivated,
    HandedBack,
    IntentFound,
    MessageReceived,
    ModelReplied,
    OperatorSaid,
    Redriven,
    ReplyUndelivered,
    SkillDone,
    StopRequested,
    message_id,
)
from engine.flow import Cell, Flow
from engine.ids import derive
from engine.limits import (
    EFFECT_BYTES_MAX,
    MICROSTEPS_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_MAX,
    SESSION_BYTES_MAX,
)
from engine.session import Microstep, Pending, Session, Step, StepRecord
from engine.turn import Turn

TRIGGERS: dict[type, str] = {
    MessageReceived: "message_received",
    Redriven: "message_received",
    ModelReplied: "model_replied",
    SkillDone: "skill_done",
    IntentFound: "intent_found",
    ReplyUndelivered: "reply_undelivered",
    OperatorSaid: "operator_said",
    HandedBack: "handed_back",
    StopRequested: "stop_requested",
    FeedbackGiven: "feedback_given",
    **dict.fromkeys(FAILURES, "request_failed"),
}
"""What an event's arrival is called in a flow's table; commands and timers have names of theirs."""


class Impossible(Exception):
    """A cell that the load check derived to be unreachable was reached."""


def new_session(flow: Flow, session_id: str) -> Session:
    """The session before its first event."""
    data = msgspec.Raw(flow.encode_data(flow.new_data()))
    return Session(id=session_id, flow=flow.ref, state=flow.initial, data=data)


def step(flow: Flow, session: Session, event: Event) -> Step:
    """Apply one event.

    `flow` is the session's own, except for a `FlowActivated`, where it is the new one. Raises
    ValueError where it is neither: that is the host's mistake, not a record's.
    """
    if session.flow != flow.ref and not isinstance(event.body, FlowActivated):
        raise ValueError(f"session runs {session.flow}, the host gave {flow.ref}")
    turn = Turn(flow, session, event=event, now_ms=max(session.now_ms, event.at_ms))
    try:
        note = _apply(turn)
        return _finish(turn, note, None)
    except Exception as error:  # a callback may raise anything; the log must go on
        return _failed(turn, error)


def _apply(turn: Turn) -> str:
    note = admit(turn)
    event = turn.wake
    if not note and isinstance(event.body, FlowActivated):
        _migrate(turn)
    _settle(turn)
    if not note:
        note = _offer(turn, event)
        _settle(turn)
    return note


def _settle(turn: Turn) -> None:
    """Fire what is due and re-offer what was postponed, until nothing moves any more."""
    while _reoffer(turn) or _fire_due(turn):
        pass


# ---- migration ----------------------------------------------------------------------------------


def _migrate(turn: Turn) -> None:
    """The session goes on in the new flow: what belonged to a state that is gone is cancelled.

    Timers belong to the old flow's table: the new one starts its own.
    """
    flow, old = turn.flow, turn.session
    turn.state, data = flow.migrate(old.flow, old.state, data=bytes(old.data))
    turn.put_data(data)
    active = flow.path(turn.state)
    turn.pending = tuple(p for p in turn.pending if p.kind != "timer")
    scopes = [p.scope for p in turn.pending] + [r.scope for r in turn.open_replies]
    turn.leave(tuple(scope for scope in scopes if scope not in active))
    if turn.state == flow.initial and old.state != flow.initial:
        turn.new_dialog()
    _start_timers(turn, active)


# ---- due pendings ------------------------------------------------------------------------------


def _fire_due(turn: Turn) -> bool:
    """Fire the first of the pendings that are due, in (due, id) order; whether there was one."""
    now_ms = turn.now_ms
    due = [p for p in turn.pending if p.due_ms <= now_ms]
    if not due:
        return False
    first = min(due, key=lambda p: (p.due_ms, p.effect_id))
    turn.origin = first.effect_id
    turn.pending = tuple(p for p in turn.pending if p is not first)
    turn.event, turn.text, turn.answered, turn.failure = turn.wake, "", None, None
    if first.kind != "timer":
        # The session stops waiting: whoever works on it should stop, too.
        turn.cancel(first)
        turn.answered, turn.failure = first, "deadline"
    _arrive(turn, first.on_due)
    return True


# ---- the event ---------------------------------------------------------------------------------


def _offer(turn: Turn, event: Event) -> str:
    """Let the flow have the event; why it led to no microstep, where it did not."""
    body = event.body
    if isinstance(body, ClockReached | FlowActivated):
        return ""
    turn.origin = event.id
    turn.event, turn.text, turn.answered, turn.failure = event, event.text, None, None
    if isinstance(body, MessageReceived | Redriven):
        return _offer_message(turn, event)
    if isinstance(body, OUTCOMES):
        request = _resolved(turn, event)
        if request is None:  # a deadline that was due with this very event came first
            return "late"
        turn.answered = request
        if isinstance(body, FAILURES):
            turn.failure = body.reason
    elif isinstance(body, StopRequested) and stops_nothing(turn, body):
        turn.seen = turn.session.seen  # what was due with it ended the reply: it is late, too
        return "late"
    trigger = TRIGGERS[type(body)]
    if getattr(body, "fallback", None) is not None:
        trigger = "escalated"
    return _arrive(turn, trigger)


def _resolved(turn: Turn, event: Event) -> Pending | None:
    for pending in turn.pending:
        if pending.effect_id == event.effect and pending.kind != "timer":
            turn.pending = tuple(p for p in turn.pending if p is not pending)
            return pending
    return None


def _arrive(turn: Turn, trigger: str) -> str:
    """A trigger that is not a message: a move, or an ignored one."""
    if turn.flow.cell(turn.state, trigger) is Cell.MOVE and _microstep(turn, trigger):
        turn.close_unfilled()  # the request is over: nothing can fill its reply any more
        return ""
    if _declared(turn, trigger) is not Cell.IGNORE:
        raise _impossible(turn, trigger)
    turn.close_unfilled()  # an outcome that nobody wants still ends the reply it would have filled
    return "ignored"


def _declared(turn: Turn, trigger: str) -> Cell:
    """What holds where no row was taken: each of its rows' conditions failed, or it has none."""
    cell = turn.flow.cell(turn.state, trigger)
    return turn.flow.otherwise(turn.state, trigger) if cell is Cell.MOVE else cell


def _impossible(turn: Turn, trigger: str) -> Impossible:
    return Impossible(f"{trigger!r} in {turn.state!r}: the load check says it cannot arrive")


def _offer_message(turn: Turn, event: Event) -> str:
    message = turn.message
    assert message is not None
    turn.text = message.text
    command = turn.flow.command(message.text)
    trigger = command or "message_received"
    if turn.unanswered and command is None and not _has_room(turn, event):
        return _refuse_one(turn, event)
    if turn.flow.cell(turn.state, trigger) is Cell.MOVE:
        turn.take(event)
        if _microstep(turn, trigger):
            return ""
        turn.untake()
    cell = _declared(turn, trigger)
    if cell is Cell.IGNORE:
        turn.dispose(message_id(event), "ignored")
        return "ignored"
    if cell is Cell.POSTPONE and command is None:
        return _postpone(turn, event)
    raise _impossible(turn, trigger)


def _postpone(turn: Turn, event: Event) -> str:
    if len(turn.postponed) >= QUEUE_MAX or not _has_room(turn, event):
        return _refuse_one(turn, event)
    turn.postponed = (*turn.postponed, event)
    return "postponed"


def _has_room(turn: Turn, event: Event) -> bool:
    """Whether the session can hold one more message beside those that wait.

    JSON doubles quotation marks: what is within its own bound may still be too much together.
    """
    texts = {one.n: one.user for one in turn.transcript}
    taken = [one.text or texts.get(one.turn, "") for one in turn.unanswered]
    queued = sum(len(codec.encode(one)) for one in (*turn.postponed, event))
    return queued + len(msgspec.json.encode(taken)) <= QUEUE_BYTES_MAX


def _refuse_one(turn: Turn, event: Event) -> str:
    turn.dispose(message_id(event), "refused", note="queue full")
    turn.send(turn.flow.queue_full)
    return "refused"


def _reoffer(turn: Turn) -> bool:
    """Offer the oldest postponed message, if the state would take it now; whether one was."""
    if not turn.postponed:
        return False
    trigger = "message_received"
    if turn.flow.cell(turn.state, trigger) is Cell.POSTPONE:
        return False
    event, *rest = turn.postponed
    queue = tuple(rest)
    turn.postponed = queue
    turn.origin = event.id
    turn.event, turn.answered, turn.failure = event, None, None
    postponed_again = _offer_message(turn, event) == "postponed"
    if postponed_again:  # its conditions failed: it keeps its place
        turn.postponed = (event, *queue)
    return not postponed_again


# ---- a microstep -------------------------------------------------------------------------------


def _microstep(turn: Turn, trigger: str) -> bool:
    """One row taken and its scopes put in order; False where every row's conditions failed."""
    if len(turn.path) >= MICROSTEPS_MAX:
        raise InvalidRecord(f"more than {MICROSTEPS_MAX} microsteps in one step")
    flow = turn.flow
    moved = flow.move(turn, trigger)
    if moved is None:
        return False
    turn.path.append(
        Microstep(
            trigger=trigger,
            row=moved.row,
            source=moved.source,
            dest=moved.dest,
            considered=moved.considered,
        )
    )
    turn.state = moved.dest
    if moved.exited:
        turn.leave(moved.exited)
    ends_dialog = flow.initial in moved.entered and moved.source != flow.initial
    if ends_dialog:
        turn.new_dialog()
    turn.settle_requests(moved.dest)
    if moved.entered:
        handed_over = flow.hands_over.intersection(moved.entered)
        if handed_over and flow.hands_over.isdisjoint(flow.path(moved.source)):
            turn.withdraw()
        _start_timers(turn, moved.entered)
    return True


def _start_timers(turn: Turn, entered: tuple[str, ...]) -> None:
    timeouts = turn.flow.timeouts
    for state in entered:
        timeout = timeouts.get(state)
        if timeout is not None:
            turn.start_timer(state, after_ms=timeout.after_ms, trigger=timeout.trigger)


# ---- the end of a step -------------------------------------------------------------------------


def _finish(turn: Turn, note: str, error: str | None) -> Step:
    """Freeze the scratch. Raises InvalidRecord where the session or an effect is over its limit."""
    old = turn.session
    session = Session(
        id=old.id,
        flow=turn.flow.ref,
        state=turn.state,
        data=msgspec.Raw(turn.encoded_data()),
        address=turn.address,
        epoch=turn.epoch,
        seq=turn.seq,
        now_ms=turn.now_ms,
        turns=turn.turns,
        transcript=turn.transcript,
        unanswered=turn.unanswered,
        pending=turn.pending,
        open_replies=turn.open_replies,
        postponed=turn.postponed,
        seen=turn.seen,
    )
    encoded = codec.encode(session)
    if len(encoded) > SESSION_BYTES_MAX:
        raise InvalidRecord(f"session of {len(encoded)} bytes: at most {SESSION_BYTES_MAX}")
    record = StepRecord(
        session_id=old.id,
        seq=turn.seq,
        event_id=turn.wake.id,
        flow=turn.flow.ref,
        before=old.state,
        after=turn.state,
        path=tuple(turn.path),
        dispositions=tuple(turn.dispositions),
        effects=tuple(turn.effects),
        cancelled=tuple(turn.cancelled),
        note=note,
        error=error,
        digest=codec.digest(encoded),
    )
    encoded_record = codec.encode(record)
    if len(encoded_record) > EFFECT_BYTES_MAX:
        for effect in turn.effects:
            if len(codec.encode(effect)) > EFFECT_BYTES_MAX:
                raise InvalidRecord(f"effect over {EFFECT_BYTES_MAX} bytes")
    return Step(session=session, encoded=encoded, record=record, encoded_record=encoded_record)


# ---- failure -----------------------------------------------------------------------------------


def _failed(broken: Turn, error: Exception) -> Step:
    """Throw the scratch away and run `step_failed` once; else the engine's own apology."""
    text = _described(error)
    turn = _scratch_after(broken)
    # A session that could not be migrated has nothing of the new flow to go on from.
    migrating = isinstance(broken.wake.body, FlowActivated)
    if not migrating and turn.flow.cell(turn.state, "step_failed") is Cell.MOVE:
        try:
            turn.failure = "error"
            if _microstep(turn, "step_failed"):
                turn.close_unfilled("failed")
                _settle(turn)
                return _finish(turn, "", text)
        except Exception:  # the flow's own way out is broken, too
            turn = _scratch_after(broken)
    _apologise(turn)
    return _finish(turn, "", text)


def _scratch_after(broken: Turn) -> Turn:
    """A new scratch in which the event is seen, and what the broken one stood at has ended.

    That is the event's request, and the due pending or the queued message whose microstep broke:
    none of them is tried again.
    """
    flow, event, origin = broken.flow, broken.wake, broken.origin
    turn = Turn(flow, broken.session, event=event, now_ms=broken.now_ms)
    turn.origin = derive(turn.session.id, "failed", origin)
    note = admit(turn)
    if isinstance(event.body, FlowActivated):
        turn.state = flow.initial
        turn.put_data(flow.new_data())
    _end_broken(turn, origin)
    if not note and isinstance(event.body, MessageReceived | Redriven):
        turn.take(event)
    return turn


def _end_broken(turn: Turn, origin: str) -> None:
    """Resolve the event's request and the origin, be it a due pending or a queued message."""
    for pending in turn.pending:
        if pending.effect_id == origin:
            turn.cancel(pending)
        elif pending.effect_id != turn.wake.effect:
            continue
        turn.close_unfilled("failed")  # of the one before, where both end
        turn.answered = pending
    ended = (origin, turn.wake.effect)
    turn.pending = tuple(p for p in turn.pending if p.effect_id not in ended)
    for queued in turn.postponed:
        if queued.id == origin:
            turn.postponed = tuple(q for q in turn.postponed if q is not queued)
            turn.take(queued)


def _apologise(turn: Turn) -> None:
    """The engine's own way out: everything ends as failed, the dialog begins anew."""
    flow = turn.flow
    for pending in turn.pending:
        if pending.kind != "timer":
            turn.cancelled.append(pending.effect_id)
            turn.order(Cancel(request=pending.effect_id))
    turn.pending = ()
    for reply in turn.open_replies:
        turn.order(CloseReply(reply_id=reply.reply_id, how="failed"))
    turn.open_replies = ()
    for queued in turn.postponed:
        turn.dispose(message_id(queued), "failed")
    turn.postponed = ()
    turn.send(flow.apology)
    turn.state = flow.initial
    turn.new_dialog()
    _start_timers(turn, flow.path(flow.initial))


def _described(error: Exception) -> str:
    """What failed and where; never the error's text, which may hold what a person wrote."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        where = f" in {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    shown = f": {error}" if isinstance(error, InvalidRecord | Impossible) else ""
    return f"{type(error).__name__}{where}{shown}"
