"""Admission: whether an event changes anything, the first thing in a step.

Dedupe, expiry, what is late, and the most that a session takes. Called by `engine.step` with the
scratch of the step; what it refuses is recorded and ends there.
"""

from engine import seen
from engine.events import (
    OUTCOMES,
    ClockReached,
    MessageReceived,
    Redriven,
    StopRequested,
    message_id,
)
from engine.ids import derive
from engine.limits import MESSAGE_AGE_MAX_MS, SEEN_MAX
from engine.turn import Turn

_HOUR_MS = 3_600_000


def admit(turn: Turn) -> str:
    """Why the event changes nothing that a ClockReached would not; empty where it does."""
    event = turn.wake
    body = event.body
    if isinstance(body, OUTCOMES):
        # A request resolves once: what is not pending any more, or never was, is late.
        known = any(p.effect_id == event.effect for p in turn.pending if p.kind != "timer")
        return "" if known else "late"
    if isinstance(body, ClockReached):
        return ""
    # A redrive is its message, brought by a person: whichever comes first is taken. Both would be
    # two dispositions of one message; one that failed or expired has had its own.
    identity = message_id(event)
    if seen.contains(turn.seen, identity):
        return "duplicate"
    if isinstance(body, StopRequested) and stops_nothing(turn, body):
        return "late"
    full = isinstance(body, MessageReceived) and seen.full(turn.seen, SEEN_MAX, now_ms=turn.now_ms)
    turn.seen = seen.add(turn.seen, identity, now_ms=turn.now_ms)
    if isinstance(body, Redriven) and turn.address is None:
        turn.address = body.message.address  # its first copy was set aside, unstepped
    if isinstance(body, MessageReceived):
        if event.sent_ms is not None and turn.now_ms - event.sent_ms > MESSAGE_AGE_MAX_MS:
            turn.dispose(identity, "expired")
            return "expired"
        turn.address = body.address
    if full:
        _refuse(turn, identity)
        return "refused"
    return ""


def stops_nothing(turn: Turn, stop: StopRequested) -> bool:
    """Whether the reply that the person wanted to stop has ended: another one is not meant."""
    if not stop.reply_id:
        return False
    return all(reply.reply_id != stop.reply_id for reply in turn.open_replies)


def _refuse(turn: Turn, message: str) -> None:
    """More messages than a session takes: this one ends, and its person is told once an hour.

    That they were told is remembered where the messages are. What is refused counts, too: a flood
    has to stop before messages are taken again.
    """
    turn.dispose(message, "refused", note=f"more than {SEEN_MAX} events in 25 h")
    told = derive(turn.session.id, "told of refusals", turn.now_ms // _HOUR_MS)
    if not seen.contains(turn.seen, told):
        turn.seen = seen.add(turn.seen, told, now_ms=turn.now_ms)
        turn.send(turn.flow.queue_full)
