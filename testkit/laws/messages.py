"""Laws of messages: none lost, none doubled, each ended once, in time, and for the reason given."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import msgspec

from engine import codec
from engine.effects import CloseReply, Effect, Forward, SendMessage
from engine.events import (
    ClockReached,
    Event,
    MessageReceived,
    Redriven,
    StopRequested,
    message_id,
)
from engine.flow import Cell, Flow
from engine.limits import (
    MESSAGE_AGE_MAX_MS,
    QUEUE_BYTES_MAX,
    QUEUE_MAX,
    SEEN_MAX,
)
from testkit.laws.reading import ALL, Dialog, Found, Stepped

HOWS = {"answered", "merged", "forwarded", "ignored", "refused", "expired", "failed"}
REFUSED_OFTEN = "more than"
"""How the note of a refusal begins that a person is told of once an hour only."""


# ---- dispositions ------------------------------------------------------------------------------


def one_disposition(dialog: Dialog) -> Iterator[Found]:
    """Each message has exactly one disposition (law 7; design 4, dispositions; doubled: more)."""
    taken = _taken(dialog)
    dispositions = [d for record in dialog.known for d in record.dispositions]
    ended = Counter([d.message for d in dispositions])
    for message, n in ended.items():
        if message not in taken and not dialog.lost_at:
            yield Found(f"{message} ended, and was never taken")
        elif n > taken.get(message, n):
            yield Found(f"{message} ended {n} times")
    if HOWS.issuperset([d.how for d in dispositions]) and ended == taken:
        return
    for record in dialog.known:
        for disposition in record.dispositions:
            if disposition.how not in HOWS:
                yield Found(f"seq {record.seq}: {disposition.message} ended {disposition.how}")
    if dialog.reading.rested and not dialog.lost_at:
        for message, n in taken.items():
            if ended[message] < n:
                yield Found(f"{message} has no disposition at rest")


def served_within_b(dialog: Dialog) -> Iterator[Found]:
    """After the last fault and message each has its disposition within B of log time (law 7)."""
    since_ms = dialog.reading.evidence.faults_end_ms
    if since_ms is None:
        return
    reports = [getattr(flow, "report", None) for flow in dialog.reading.evidence.flows.values()]
    if not reports or None in reports:
        return  # nobody has computed B
    bound_ms = 1_000 * max(report.bound_s for report in reports if report is not None)
    begun: dict[str, int] = {}
    for one in dialog.steps:
        if one.message is not None and not one.repeats:
            begun.setdefault(message_id(one.event), one.after.now_ms)
        if one.after.now_ms <= since_ms + bound_ms:
            continue
        for ended in one.record.dispositions:
            from_ms = max(begun.get(ended.message, 0), since_ms)
            if one.after.now_ms > from_ms + bound_ms:
                what = f"{ended.message} ended {one.after.now_ms - from_ms} ms after {from_ms}"
                yield Found(f"{what}, B is {bound_ms} ms", one.after.now_ms)


def awaits_its_disposition(one: Stepped) -> Iterator[str]:
    """What was taken and has not ended stands in `unanswered` or in the queue (design 4).

    Nothing else does: no message is dropped, none stays behind.
    """
    standing, found = one.had.standing, one.has.standing
    if one.message is not None and not one.repeats and one.record.note != "duplicate":
        standing = [*standing, message_id(one.event)]
    ended = [disposition.message for disposition in one.record.dispositions]
    expected = [message for message in standing if message not in ended]
    is_once = len(found) < 2 or len(set(found)) == len(found)
    if expected == found and is_once and set(standing).issuperset(ended):
        return
    for message in sorted(set(expected) - set(found)):
        yield f"{message} neither waits nor has ended"
    for message in sorted(set(found) - set(expected)):
        yield f"{message} waits, and has ended or never came"
    if not is_once:
        yield "a message waits twice"
    for message in sorted(set(ended) - set(standing)):
        yield f"{message} ended, and did not wait"


def in_order(one: Stepped) -> Iterator[str]:
    """Waiting messages are in the order in which they came, the queue first in, first out."""
    if len(one.after.unanswered) > 1:
        turns = [waiting.turn for waiting in one.after.unanswered]
        if turns != sorted(set(turns)):
            yield f"the waiting turns are {turns}"
    if one.after.postponed == one.before.postponed and one.record.note != "postponed":
        return
    before = [event.id for event in one.before.postponed]
    after = [event.id for event in one.after.postponed]
    if one.record.note == "postponed":
        before.append(one.event.id)
    gone = len(before) - len(after)
    if gone < 0 or before[gone:] != after:
        yield "the queue lost a message from its middle, or changed its order"


def queue_is_bounded(one: Stepped) -> Iterator[str]:
    """A queue of at most 8 messages, those re-offered that the state would take (design 4)."""
    queue = one.after.postponed
    if not queue and not one.record.dispositions:
        return
    if len(queue) > QUEUE_MAX or sum(len(codec.encode(e)) for e in queue) > QUEUE_BYTES_MAX:
        yield f"{len(queue)} messages are queued"
    if queue and Cell.POSTPONE not in _cells(one.flow, one.after.state, "message_received"):
        yield f"{len(queue)} messages are queued in {one.after.state}, which postpones none"
    commands = [event.id for event in queue if one.flow.command(_text(event)) is not None]
    for event_id in commands:
        yield f"{event_id} is a command, and is queued"
    full = [d for d in one.record.dispositions if d.how == "refused" and d.note == "queue full"]
    if full and len(one.before.postponed) < QUEUE_MAX:
        texts = {turn.n: turn.user for turn in one.before.transcript}
        waiting = [w.text or texts.get(w.turn, "") for w in one.before.unanswered]
        size = sum(len(codec.encode(e)) for e in (*one.before.postponed, one.event))
        if size + len(msgspec.json.encode(waiting)) <= QUEUE_BYTES_MAX:
            yield f"refused with {len(one.before.postponed)} messages in the queue"


# ---- why it ended ------------------------------------------------------------------------------


def answered_by_a_reply(one: Stepped) -> Iterator[str]:
    """say: the last message is answered, earlier ones merged; stop: answered (design 4)."""
    if not one.record.dispositions:
        return
    hows = [(d.how, d.note) for d in one.record.dispositions]
    said = [effect for effect in one.record.effects if _says(effect, "answered")]
    answered = [note for how, note in hows if how == "answered"]
    stopped = answered.count("stopped")
    if len(answered) - stopped > len(said):
        yield f"{len(answered)} messages answered by {len(said)} replies"
    if not any(how == "merged" for how, _ in hows):
        return
    order = {waiting.event_id: waiting.turn for waiting in one.before.unanswered}
    dispositions = one.record.dispositions
    for at, disposition in enumerate(dispositions):
        if disposition.how == "merged":
            rest = [d for d in dispositions[at + 1 :] if d.how != "merged"]
            if not rest or rest[0].how != "answered":
                yield f"{disposition.message} was merged into nothing"
            elif order.get(disposition.message, 0) > order.get(rest[0].message, ALL):
                yield f"{disposition.message} was merged into an earlier message"


def told_why(one: Stepped) -> Iterator[str]:
    """A person is told of a refusal or a failure; a dialog that ends, ends without (design 4)."""
    if not one.record.dispositions:
        return
    told = any(_says(effect) for effect in one.record.effects)
    for disposition in one.record.dispositions:
        often = disposition.note.startswith(REFUSED_OFTEN)
        if disposition.how == "refused" and not told and not often:
            yield f"{disposition.message} was refused without a word"
        if disposition.how == "failed" and not told and one.after.epoch == one.before.epoch:
            yield f"{disposition.message} failed without a word"


def forwarded_whole(one: Stepped) -> Iterator[str]:
    """A forwarded message is shown to the person who takes over, as it was written (design 4)."""
    forwards = [body for body in one.bodies if isinstance(body, Forward)]
    if not forwards and not one.record.dispositions:
        return
    forwarded = [d.message for d in one.record.dispositions if d.how == "forwarded"]
    if sorted(forward.message for forward in forwards) != sorted(forwarded):
        yield f"{len(forwarded)} messages were forwarded, {len(forwards)} are shown"


def forwarded_as_written(dialog: Dialog) -> Iterator[Found]:
    """The person who takes over reads the message itself (design 4, transcript and unanswered)."""
    texts = dialog.partition.texts
    if not any(isinstance(effect.body, Forward) for effect in dialog.effects):
        return
    for record in dialog.known:
        for effect in record.effects:
            body = effect.body
            if isinstance(body, Forward) and texts.get(body.message, body.text) != body.text:
                yield Found(f"seq {record.seq}: {body.message} was forwarded with another text")


def ignored_by_a_row(one: Stepped) -> Iterator[str]:
    """Only an ignore row ignores a message (design 4)."""
    ignored = [d.message for d in one.record.dispositions if d.how == "ignored"]
    if not ignored:
        return
    states = {one.record.before, *(step.dest for step in one.record.path)}
    for message in ignored:
        event = _event_of(one, message)
        if event is None:
            continue
        trigger = one.flow.command(_text(event)) or "message_received"
        if all(Cell.IGNORE not in _cells(one.flow, state, trigger) for state in states):
            yield f"{message} was ignored, and no row says so"


def expired_is_old(one: Stepped) -> Iterator[str]:
    """A message sent longer ago than 24 h is expired, and no other is (design 4, dedupe)."""
    if not isinstance(one.event.body, MessageReceived) or one.repeats:
        return
    sent_ms = one.event.sent_ms
    old = sent_ms is not None and one.after.now_ms - sent_ms > MESSAGE_AGE_MAX_MS
    expired = any(d.how == "expired" and d.message == one.event.id for d in one.record.dispositions)
    if old != expired and one.record.note != "duplicate":
        yield f"{one.event.id} is {'' if old else 'not '}too old, and {one.record.note or 'taken'}"
    if expired and any(w.event_id == one.event.id for w in one.after.unanswered):
        yield f"{one.event.id} is expired, and waits"


def a_stop_stops(one: Stepped) -> Iterator[str]:
    """A stop of an open reply, or of whatever goes on, is not late (design 9; events).

    Where the flow takes it, the reply that was meant is over.
    """
    body = one.event.body
    if not isinstance(body, StopRequested) or one.repeats:
        return
    opened = {reply.reply_id for reply in one.before.open_replies}
    meant = not body.reply_id or body.reply_id in opened
    ended = {e.body.reply_id for e in one.record.effects if isinstance(e.body, CloseReply)}
    if meant and one.record.note == "late" and body.reply_id not in ended:
        yield "a stop of what goes on came as a late one"
    taken = any(step.trigger == "stop_requested" for step in one.record.path)
    if taken and body.reply_id in {reply.reply_id for reply in one.after.open_replies}:
        yield f"{body.reply_id} was stopped, and is still open"


def too_many_are_refused(dialog: Dialog) -> Iterator[Found]:
    """A session takes at most 4 000 messages in 25 h, more are refused (design 4, dedupe)."""
    taken: list[int] = []
    for one in dialog.steps:
        is_counted = one.event.effect is None and not isinstance(one.event.body, ClockReached)
        if not is_counted or one.repeats:
            continue
        since_ms = one.after.now_ms - 25 * 3_600_000
        if one.message is not None and len(taken) >= SEEN_MAX:
            n = sum(at_ms >= since_ms for at_ms in taken)
            hows = {d.how for d in one.record.dispositions if d.message == message_id(one.event)}
            if n > SEEN_MAX and not hows & {"refused", "expired"}:
                yield Found(f"seq {one.record.seq}: taken after {n} others", one.after.now_ms)
        taken.append(one.after.now_ms)


# ---- inside ------------------------------------------------------------------------------------


def _taken(dialog: Dialog) -> Counter[str]:
    """How often each message came anew: more than once only where it had been forgotten."""
    taken = [
        message_id(one.event)
        for one in dialog.steps
        if one.message is not None and not one.repeats and one.record.note != "duplicate"
    ]
    return Counter(taken)


def _cells(flow: Flow, state: str, trigger: str) -> set[Cell]:
    cell = flow.cell(state, trigger)
    return {cell} if cell is not Cell.MOVE else {cell, flow.otherwise(state, trigger)}


def _says(effect: Effect, how: str = "") -> bool:
    body = effect.body
    if isinstance(body, CloseReply):
        return body.text is not None and how in ("", body.how)
    return isinstance(body, SendMessage)


def _text(event: Event) -> str:
    body = event.body
    return body.message.text if isinstance(body, Redriven) else event.text


def _event_of(one: Stepped, message: str) -> Event | None:
    events = (one.event, *one.before.postponed)
    return next((event for event in events if message_id(event) == message), None)


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "one disposition": one_disposition,
    "served within B": served_within_b,
    "forwarded as written": forwarded_as_written,
    "too many are refused": too_many_are_refused,
}
STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    "waits for its disposition": awaits_its_disposition,
    "messages in order": in_order,
    "queue": queue_is_bounded,
    "answered by a reply": answered_by_a_reply,
    "told why": told_why,
    "forwarded whole": forwarded_whole,
    "ignored by a row": ignored_by_a_row,
    "expired is old": expired_is_old,
    "a stop stops": a_stop_stops,
}
