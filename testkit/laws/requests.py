"""Laws of what is pending: each request ends once, each timer in time, and scopes end both."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from engine.effects import REQUESTS, CallModel, Cancel, FindIntent, RunSkill
from engine.events import FlowActivated
from engine.flow import Cell, Flow
from engine.ids import outcome_event_id, reply_id, session_of
from testkit.laws.moves import entered, left, may_leave
from testkit.laws.reading import Dialog, Found, Stepped

KINDS = {CallModel: "model", RunSkill: "skill", FindIntent: "intent"}


def resolved_once(one: Stepped) -> Iterator[str]:
    """Each request resolves once: by outcome, cancel or deadline (law 5).

    What was pending and what was emitted, less what ended in this step, is what is pending; what
    was cancelled has left `pending` in that step, and nothing else has left it. A cancelled one was
    due, or its scope was left.
    """
    emitted = [effect.id for effect in one.requests]
    cancelled, after = one.record.cancelled, one.has.requests
    if not cancelled:  # as nearly always: then it is a matter of two short lists
        stays = [*one.had.requests, *emitted]
        if one.event.effect in one.had.requests:
            stays = [effect_id for effect_id in stays if effect_id != one.event.effect]
        if stays == after and (len(after) < 2 or len(set(after)) == len(after)):
            return
    if len(set(after)) != len(after) or len(set(cancelled)) != len(cancelled):
        yield "a request is pending or cancelled twice"
    ends, before = set(cancelled), set(one.had.requests)
    if one.event.effect in before:
        # Only what was due with its outcome goes before it: then that is late, if nothing failed.
        late = one.had.first_due_ms <= one.after.now_ms
        late = late and (one.record.note == "late" or one.record.error is not None)
        if one.event.effect in ends and not late:
            yield f"{one.event.effect} ended by its outcome and was cancelled"
        ends.add(one.event.effect)
    expected = (before | set(emitted)) - ends
    for effect_id in sorted(expected - set(after)):
        yield f"{effect_id} is not pending any more, and nothing ended it"
    for effect_id in sorted(set(after) - expected):
        yield f"{effect_id} is pending, and has ended or was never emitted"
    if cancelled and not _is_free(one):
        maybe = {state for step in one.record.path for state in may_leave(one.flow, step)}
        for pending in one.before.pending:
            is_due = pending.due_ms <= one.after.now_ms
            if pending.effect_id in cancelled and not is_due and pending.scope not in maybe:
                yield f"{pending.effect_id} was cancelled, not due, and {pending.scope} not left"


def cancelled_means_told(one: Stepped) -> Iterator[str]:
    """Who works on a cancelled request is told; what never left the step is not (design 4)."""
    told = [body.request for body in one.bodies if isinstance(body, Cancel)]
    if not told and not one.record.cancelled:
        return
    before, cancelled = set(one.had.requests), set(one.record.cancelled)
    if len(set(told)) != len(told):
        yield "a request is cancelled by two orders"
    for effect_id in sorted(before & cancelled - set(told)):
        yield f"{effect_id} was cancelled, and no runner is told"
    for effect_id in sorted(set(told) - cancelled):
        yield f"{effect_id} is to be cancelled, and the step did not cancel it"
    for effect in one.requests:
        if effect.id in cancelled:
            yield f"{effect.id} was cancelled in the step that emitted it, and left it"


def as_emitted(one: Stepped) -> Iterator[str]:
    """A pending has its request's kind, scope and deadline; effects name their cause (design 4)."""
    if not one.record.effects:
        return
    pending = {p.effect_id: p for p in one.after.pending}
    for effect in one.record.effects:
        if effect.cause != one.event.id or effect.session_id != one.after.id:
            yield f"{effect.id} names {effect.cause} of {effect.session_id} as its cause"
        if session_of(effect.id) != one.after.id:
            yield f"{effect.id} does not lead to its session"
        if not one.before.epoch <= effect.epoch <= one.after.epoch:
            yield f"{effect.id} is of epoch {effect.epoch}"
    for effect in one.requests:
        if isinstance(effect.body, CallModel) and effect.body.reply_id != reply_id(effect.id):
            yield f"{effect.id} has the reply {effect.body.reply_id}, which is not derived from it"
        found = pending.get(effect.id)
        if found is None:
            continue
        if (effect.scope, effect.expires_ms) != (found.scope, found.due_ms):
            yield f"{effect.id} has another scope or deadline than what is pending"
        if found.kind != KINDS[type(effect.body)]:
            yield f"{effect.id} is pending as {found.kind}"
        if found.due_ms < one.after.now_ms:
            yield f"{effect.id} was due before it was emitted"


def none_left_behind(one: Stepped) -> Iterator[str]:
    """What is due at the event's time has fired in its step (design 4, order inside a step)."""
    if one.has.first_due_ms > one.after.now_ms:
        return
    for pending in one.after.pending:
        if pending.due_ms <= one.after.now_ms:
            yield f"{pending.kind} {pending.effect_id} was due at {pending.due_ms} and waits"


def no_timer_early(one: Stepped) -> Iterator[str]:
    """A timer goes because it is due or its state is left, and fires only then (design 4).

    Pendings fire at the event's time, never at their due time, so a timer started in a step is due
    as much later as its state says.
    """
    now_ms = one.after.now_ms
    if now_ms != max(one.before.now_ms, one.event.at_ms):
        yield f"log time is {now_ms}, the event's was {one.event.at_ms}"
    if one.had.timers and not _is_free(one):
        stays, path = one.has.ids, one.record.path
        ended = {state for step in path for state in left(one.flow, step)}
        maybe = {state for step in path for state in may_leave(one.flow, step)}
        for pending in one.had.timers:
            gone = pending.effect_id not in stays
            if gone and pending.due_ms > now_ms and pending.scope not in maybe:
                yield f"the timer of {pending.scope} went before it was due"
            if not gone and pending.scope in ended:
                yield f"the timer of {pending.scope} survived that its state was left"
    for pending in one.has.timers:
        if pending.effect_id in one.had.ids:
            continue
        timeout = one.flow.timeouts.get(pending.scope)
        if timeout is None or pending.due_ms != now_ms + timeout.after_ms:
            yield f"the timer of {pending.scope} is due at {pending.due_ms}, begun at {now_ms}"
        elif pending.on_due != timeout.trigger:
            yield f"the timer of {pending.scope} will fire {pending.on_due}"


def fired_is_due(one: Stepped) -> Iterator[str]:
    """A time-out's microstep needs a pending that is due (design 4: late wakes change nothing)."""
    triggers = _timeouts((one.flow,))
    if "request_failed" not in one.triggers and triggers.isdisjoint(one.triggers):
        return
    fired = Counter(trigger for trigger in one.triggers if trigger in triggers)
    due = Counter(p.on_due for p in one.before.pending if p.due_ms <= one.after.now_ms)
    at_once = sum(timeout.after_ms == 0 for timeout in one.flow.timeouts.values())
    for trigger, n in fired.items():
        if n > due[trigger] and not at_once:
            yield f"{trigger} fired {n} times, {due[trigger]} were due"
    failed = one.triggers.count("request_failed")
    reported = one.event.type in ("ModelFailed", "SkillFailed", "IntentFailed")
    known = {p.effect_id for p in one.before.pending}
    now_or_never = sum(effect_id not in known for effect_id in one.record.cancelled)
    if failed > due["request_failed"] + reported + now_or_never:
        yield f"request_failed came {failed} times"


def due_come_first(one: Stepped) -> Iterator[str]:
    """What is due goes before the event, in (due, id) order (design 4, order inside a step).

    The first of them is judged: which others are still pending then depends on where it leads.
    """
    if one.had.first_due_ms > one.after.now_ms or _is_free(one):
        return
    due = [p for p in one.before.pending if p.due_ms <= one.after.now_ms]
    first, state = min(due, key=lambda p: (p.due_ms, p.effect_id)), one.before.state
    if one.flow.cell(state, first.on_due) is not Cell.MOVE:
        return
    goes = next(iter(one.triggers), "nothing")
    if goes != first.on_due and one.flow.otherwise(state, first.on_due) is not Cell.IGNORE:
        yield f"{goes} came first, and {first.on_due} was due at {first.due_ms}"


def timers_of_what_is_active(one: Stepped) -> Iterator[str]:
    """A state that was entered and stays has its one timer (design 4; 5: durable time-outs)."""
    timers = [timer.scope for timer in one.has.timers]
    if len(timers) > 1:
        for scope in dict.fromkeys(timers):
            if timers.count(scope) > 1:
                yield f"{scope} has {timers.count(scope)} timers"
    if not one.record.path:
        return
    active = one.flow.path(one.after.state)
    for state in entered(one.flow, one.record.path[-1]):
        timeout = one.flow.timeouts.get(state)
        if state in active and timeout is not None and timeout.after_ms > 0 and state not in timers:
            yield f"{state} was entered, and its timer does not run"


def scopes_are_active(one: Stepped) -> Iterator[str]:
    """Leaving or re-entering a state cancels its requests and closes its replies (design 5)."""
    active = one.flow.path(one.after.state)
    for pending in one.after.pending:
        if pending.scope not in active:
            yield f"{pending.kind} of {pending.scope} is pending in {one.after.state}"
    for reply in one.after.open_replies:
        if reply.scope not in active:
            yield f"a reply of {reply.scope} is open in {one.after.state}"
    if not one.record.path or not (one.had.requests or one.had.replies):
        return
    ended = {state for step in one.record.path for state in left(one.flow, step)}
    after, opened = one.has.ids, one.has.replies
    for pending in one.before.pending:
        if pending.scope in ended and pending.effect_id in after and pending.kind != "timer":
            yield f"{pending.scope} was left, and its {pending.kind} request is still pending"
    for reply in one.before.open_replies:
        if reply.scope in ended and reply.reply_id in opened:
            yield f"{reply.scope} was left, and its reply is still open"


def outcome_is_taken(one: Stepped) -> Iterator[str]:
    """An outcome that is awaited and not overtaken by its deadline is no late one (law 5)."""
    effect = one.event.effect
    if one.record.note != "late":
        return
    awaited = effect in one.had.requests
    overtaken = effect in one.record.cancelled or one.record.error is not None
    if awaited and not overtaken:
        yield f"the outcome of {effect} was awaited, and came as a late one"


# ---- over a whole history ----------------------------------------------------------------------


def ids_unique(dialog: Dialog) -> Iterator[Found]:
    """Effects, replies and events have ids of their own (design 4: ids are derived)."""
    ordered = dialog.effects
    effects = [effect.id for effect in ordered]
    replies = [e.body.reply_id for e in ordered if isinstance(e.body, CallModel)]
    timers: list[str] = []
    known: list[str] = []
    for one in dialog.steps:
        if one.has.timers:
            new = (p.effect_id for p in one.has.timers if p.effect_id not in known)
            timers += dict.fromkeys(new)
        known = one.has.ids
    for identity, n in [*_repeated(effects), *_repeated(replies)]:
        yield Found(f"{identity} was given {n} times")
    for identity, n in [*_repeated(timers), *((one, 1) for one in sorted({*timers} & {*effects}))]:
        yield Found(f"timer {identity} was given {n} times")
    written: dict[str, object] = {}
    for _, event in dialog.partition.of(dialog.id):
        if event.effect is None:
            body = event.body
            if written.setdefault(event.id, body) != body:
                yield Found(f"two events are {event.id}", event.at_ms)


def outcomes_of_requests(dialog: Dialog) -> Iterator[Found]:
    """An outcome is of a request that was recorded before, and its id says so (design 4, 9)."""
    emitted_at = {
        effect.id: row.offset
        for row, record in zip(dialog.rows, dialog.records, strict=True)
        if record is not None
        for effect in record.effects
        if isinstance(effect.body, REQUESTS)
    }
    for offset, event in dialog.partition.of(dialog.id):
        if event.effect is None:
            continue
        if event.effect not in emitted_at:
            yield Found(f"an outcome of {event.effect}, which was never asked for", event.at_ms)
        elif offset <= emitted_at[event.effect]:
            yield Found(f"{event.effect} ended before it was asked for", event.at_ms)
        if event.id != outcome_event_id(event.effect):
            yield Found(f"the outcome of {event.effect} is {event.id}", event.at_ms)


def who_is_done_is_done(dialog: Dialog) -> Iterator[Found]:
    """A request has one outcome in the log, none once its runner was told to stop (design 9).

    Excused is one that a fault says comes late or twice, and one that was still to be worked on
    when its partition went over to another process: then two may do it, and one not be told.
    """
    faults = dialog.reading.faults
    excused = {fault.effect for fault in faults if fault.effect}
    moved_ms = [f.at_ms for f in faults if f.new_owner and f.partition == dialog.partition.number]
    last_moved_ms = max(moved_ms, default=-1)
    for one in dialog.steps:
        if one.committed_ms <= last_moved_ms:
            excused |= {effect.id for effect in one.requests}
    ended: set[str] = set()
    cancelled: dict[str, int] = {}
    for one in dialog.steps:
        effect = one.event.effect
        if effect is not None and effect not in excused:
            if effect in ended:
                yield Found(f"{effect} has another outcome", one.event.at_ms)
            if one.event.at_ms > cancelled.get(effect, one.event.at_ms):
                what = f"{effect} was cancelled, and somebody went on with it"
                yield Found(what, one.event.at_ms)
            ended.add(effect)
        if one.record.cancelled:
            cancelled |= dict.fromkeys(one.record.cancelled, one.committed_ms)


def work_is_not_forgotten(dialog: Dialog) -> Iterator[Found]:
    """What is pending after a restart is worked on again (design 7, 8: recovery; 9).

    A world that comes to rest lets all work end well; so what still runs into its deadline then,
    nobody was working on.
    """
    since_ms = dialog.reading.evidence.resting_ms
    if since_ms is None:
        return
    for one in dialog.steps:
        for pending in one.before.pending:
            gone = pending.effect_id in one.record.cancelled and pending.due_ms <= one.after.now_ms
            if gone and pending.due_ms > since_ms and pending.effect_id != one.event.effect:
                what = f"seq {one.record.seq}: nobody worked on {pending.kind} {pending.effect_id}"
                yield Found(what, one.after.now_ms)


def nothing_pends_at_rest(dialog: Dialog) -> Iterator[Found]:
    """At rest no request is pending and nothing is overdue (law 7)."""
    if not dialog.reading.rested or not dialog.steps or dialog.lost_at:
        return
    rested_ms = dialog.partition.records[-1].appended_ms
    for pending in dialog.steps[-1].after.pending:
        if pending.kind != "timer":
            yield Found(f"{pending.kind} request {pending.effect_id} is pending at rest", rested_ms)
        elif pending.due_ms < rested_ms:
            yield Found(f"{pending.scope} was to time out at {pending.due_ms}", rested_ms)


def _is_free(one: Stepped) -> bool:
    """Whether it goes where it goes without its flow's rows."""
    return one.record.error is not None or isinstance(one.event.body, FlowActivated)


def _repeated(ids: Sequence[str]) -> list[tuple[str, int]]:
    if len(set(ids)) == len(ids):
        return []
    return [(identity, n) for identity, n in Counter(ids).items() if n > 1]


@lru_cache(maxsize=64)
def _timeouts(of: tuple[Flow]) -> frozenset[str]:
    """The triggers of a flow's timers."""
    return frozenset(timeout.trigger for timeout in of[0].timeouts.values())


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "ids unique": ids_unique,
    "outcomes of recorded requests": outcomes_of_requests,
    "one outcome, and none when cancelled": who_is_done_is_done,
    "work is not forgotten": work_is_not_forgotten,
    "nothing pends at rest": nothing_pends_at_rest,
}
STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    "resolved once": resolved_once,
    "cancelled means told": cancelled_means_told,
    "pending as emitted": as_emitted,
    "no timer left behind": none_left_behind,
    "no timer early": no_timer_early,
    "fired is due": fired_is_due,
    "due come first": due_come_first,
    "timers of what is active": timers_of_what_is_active,
    "scopes are active": scopes_are_active,
    "an awaited outcome is taken": outcome_is_taken,
}
