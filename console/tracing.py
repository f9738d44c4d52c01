"""Follows one message through the hops: what happened to it when, and where it stopped.

Joins the log's events, step records (by cause) and deliveries (by reply). Read by the command
`trace`. What it never does: guess; a time that nobody recorded is left out.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from console.reads import SCANNED_MAX, Records, Searchable, Stepped, read_steps
from console.terminal import when
from console.words import describe_effect, describe_event, describe_letter, way_back
from engine import codec
from engine.effects import CloseReply, SendMessage
from engine.errors import Refused
from engine.events import Event, MessageReceived, Redriven, message_id
from engine.ids import session_of
from engine.ports import DeadLetter, Delivery, LogRecord
from engine.session import Pending, Session
from streams.ingress import redriven_id

STEPS_MAX = 200
"""Steps after the message that are looked at: far more than a turn has."""


class Hop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened. `at_ms` None: nobody recorded when.

    `what` is one of: sent, appended, set aside, redriven, stepped, event, effect, outcome, marked,
    receipted.
    """

    what: str
    at_ms: int | None
    text: str
    id: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A message's way. `ended`: it has its disposition and every reply its receipt.

    `stopped`: the last thing that happened, or what is awaited, in words.
    """

    message: str
    session_id: str
    hops: tuple[Hop, ...]
    disposition: str
    ended: bool
    stopped: str


def find_message(log: Records, name: str) -> str:
    """The event of a message, from its own id, a reply's id, or the 32 digits at the end of one.

    Raises: Refused where nothing of that name is found.
    """
    if session_of(name):
        candidates: Iterator[str] = iter((name,))
    elif isinstance(log, Searchable):
        candidates = iter(log.ending(name))
    else:
        sessions = islice(log.sessions(limit=SCANNED_MAX), SCANNED_MAX)
        known = dict.fromkeys(session_id for session_id, _ in sessions)
        # A session of which nothing was stepped is known by its dead letters only.
        known |= dict.fromkeys(letter.session_id for letter in log.dead_letters())
        candidates = (f"{session_id}/{name}" for session_id in known)
    for candidate in candidates:
        if log.find_event(candidate) is not None:
            return candidate
        delivery = log.delivery(candidate)
        if delivery is not None:
            return _message_behind(log, delivery)
    raise Refused(
        f"no message or reply {name!r}; `ai-assistant sessions show SESSION` shows their ids"
    )


def trace(log: Records, event_id: str) -> Trace:
    """Every hop of the message that this event recorded.

    Raises: Refused where there is no such event; InvalidRecord where it cannot be read.
    """
    record = log.find_event(event_id)
    if record is None:
        raise Refused(f"there is no event {event_id!r}")
    event = codec.decode_event(record.value)
    hops = []
    if event.sent_ms is not None:
        hops.append(Hop(what="sent", at_ms=event.sent_ms, text="by the platform's clock"))
    hops.append(Hop(what="appended", at_ms=record.appended_ms, text=f"by {event.source}"))
    letter = None
    if log.step_of(event.id) is None:
        letter = _letter_of(log, record)
        hops += _hops_of_letter(log, letter, event)
        if (again := _taken_again(log, event, letter)) is not None:
            event, record = again
            text = describe_event(event)
            hops.append(Hop(what="redriven", at_ms=record.appended_ms, text=text, id=event.id))
            letter = _letter_of(log, record)
            hops += _hops_of_letter(log, letter, event)
    steps, disposition = _turn(log, event)
    deliveries: list[Delivery] = []
    for step in steps:
        hops += _hops_of_step(step, event)
        deliveries += _deliveries(log, step)
    for delivery in deliveries:
        hops += _hops_of_delivery(delivery)
    if steps:
        stopped = _stopped(log, event, disposition, deliveries)
    else:
        stopped = _stopped_unstepped(letter, event)
    return Trace(
        message=event_id,
        session_id=event.session_id,
        hops=tuple(sorted(hops, key=lambda hop: hop.at_ms or 0)),
        disposition=disposition,
        ended=not stopped,
        stopped=stopped or "nothing is left to do",
    )


def _message_behind(log: Records, delivery: Delivery) -> str:
    """The message whose turn led to a delivery: the last one that was stepped before its cause."""
    last = delivery.cause
    if log.step_of(last) is None:
        return last  # the apology for a message that was set aside
    for step in read_steps(log, delivery.session_id):
        if step.event is not None and isinstance(step.event.body, MessageReceived | Redriven):
            last = step.event.id
        if step.record.event_id == delivery.cause:
            break
    return last


def _letter_of(log: Records, record: LogRecord) -> DeadLetter | None:
    place = (record.session_id, record.offset)  # an offset alone is there in each partition
    letters = log.dead_letters()
    return next((one for one in letters if (one.session_id, one.offset) == place), None)


def _hops_of_letter(log: Records, letter: DeadLetter | None, event: Event) -> list[Hop]:
    """That the event was set aside, and what its person was told instead of an answer."""
    if letter is None:
        return []
    hops = [Hop(what="set aside", at_ms=letter.at_ms, text=describe_letter(letter))]
    for delivery in log.deliveries_of(event.session_id):
        if delivery.cause == event.id:
            hops += _hops_of_delivery(delivery)
    return hops


def _taken_again(
    log: Records, event: Event, letter: DeadLetter | None
) -> tuple[Event, LogRecord] | None:
    """The last event by which a person had this message or wake-up taken again, and its record."""
    wake_up = "" if letter is None else redriven_id(letter)
    for record in reversed(log.history(event.session_id)):
        found = codec.decode_event(record.value)
        is_message = isinstance(found.body, Redriven) and found.body.of == event.id
        if is_message or found.id == wake_up:
            return found, record
    return None


def _turn(log: Records, event: Event) -> tuple[list[Stepped], str]:
    """The steps from the message's own to the one that closed it, and how it closed it."""
    first = log.step_of(event.id)
    if first is None:
        return [], ""
    message = message_id(event)
    steps: list[Stepped] = []
    for step in islice(read_steps(log, event.session_id, after_seq=first.seq - 1), STEPS_MAX):
        steps.append(step)
        for ended in step.record.dispositions:
            if ended.message == message:
                return steps, f"{ended.how} ({ended.note})" if ended.note else ended.how
        if step.record.event_id == event.id and step.record.note in ("duplicate", "late"):
            return steps, step.record.note
    return steps, ""


def _hops_of_step(step: Stepped, traced: Event) -> list[Hop]:
    hops = []
    record, event = step.record, step.event
    message = message_id(traced)
    if record.event_id != traced.id and event is not None:
        what = "outcome" if event.effect else "event"
        text = describe_event(event)
        hops.append(Hop(what=what, at_ms=step.appended_ms, text=text, id=event.id))
    moves = f"{record.before} → {record.after}" if record.path else f"stays {record.after}"
    notes = [moves, *filter(None, (record.note, record.error and f"failed: {record.error}"))]
    notes += [f"this message is {d.how}" for d in record.dispositions if d.message == message]
    hops.append(Hop(what="stepped", at_ms=step.stepped_ms, text=", ".join(notes)))
    for effect in record.effects:
        text = describe_effect(effect)
        hops.append(Hop(what="effect", at_ms=step.stepped_ms, text=text, id=effect.id))
    return hops


def _deliveries(log: Records, step: Stepped) -> list[Delivery]:
    found = []
    for effect in step.record.effects:
        if isinstance(effect.body, SendMessage | CloseReply):
            delivery = log.delivery(effect.body.reply_id)
            if delivery is not None:
                found.append(delivery)
    return found


def _hops_of_delivery(delivery: Delivery) -> list[Hop]:
    hops = []
    attempts = f", attempt {delivery.attempt}" if delivery.attempt > 1 else ""
    if delivery.sending_ms is not None:
        text = f"on its way to {delivery.address.channel}{attempts}"
        hops.append(Hop(what="marked", at_ms=delivery.sending_ms, text=text, id=delivery.reply_id))
    if delivery.receipted_ms is not None:
        text = delivery.state + (f": {delivery.error}" if delivery.error else "")
        hops.append(
            Hop(what="receipted", at_ms=delivery.receipted_ms, text=text, id=delivery.reply_id)
        )
    return hops


def _stopped_unstepped(letter: DeadLetter | None, event: Event) -> str:
    if letter is None:
        return "appended and not yet stepped: is the engine running?"
    return f"{when(letter.at_ms)} {describe_letter(letter)}; {way_back(letter, event)}"


def _stopped(log: Records, event: Event, disposition: str, deliveries: list[Delivery]) -> str:
    """Where the stepped message stopped; empty if nothing is left to do."""
    if not disposition:
        value = log.get(event.session_id)
        return _awaits(codec.decode_session(value), event.id) if value else "no session is kept"
    for delivery in deliveries:
        if delivery.state in ("queued", "sending"):
            return f"its reply is {delivery.state} since it was put out: is the engine running?"
        if delivery.state in ("failed", "unknown"):
            return (
                f"its reply is {delivery.state}: {delivery.error or 'the platform did not say why'}"
            )
    return ""


def _awaits(session: Session, event_id: str) -> str:
    if any(one.id == event_id for one in session.postponed):
        return f"postponed: the session is busy in {session.state}"
    if session.pending:
        return "; ".join(f"awaits {_pending(one)}" for one in session.pending)
    return f"in {session.state}, which awaits nothing"


def _pending(pending: Pending) -> str:
    return f"{pending.kind} until {when(pending.due_ms)}, then {pending.on_due}"
