"""A session as a person reads it: what was said in order, and beside it what the engine did.

Pure: a `reads.SessionView` in, entries out; the command `sessions show` prints them.
"""

import msgspec

from console.reads import SessionView, SetAside, Stepped
from console.terminal import duration, when
from console.words import describe_effect, describe_event, describe_letter, way_back
from engine.effects import Effect
from engine.events import Event, MessageReceived, OperatorSaid, Redriven
from engine.personal import Personal
from engine.ports import Delivery


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something said (`author` person, bot or operator), or something that only happened.

    `notes`: states, effects and times, one line each. `id`: what `trace` takes.
    """

    at_ms: int
    author: str
    text: Personal
    notes: tuple[str, ...]
    id: str = ""


def entries(view: SessionView) -> list[Entry]:
    """The session's entries in the order in which they happened."""
    found = [_of_step(step) for step in view.steps]
    found += [_of_delivery(delivery) for delivery in view.deliveries]
    found += [_waiting(event) for event in view.waiting]
    found += [_of_letter(one) for one in view.set_aside]
    return sorted(found, key=lambda entry: entry.at_ms)


def _of_step(step: Stepped) -> Entry:
    record, event = step.record, step.event
    moves = f"{record.before} → {record.after}" if record.path else f"stays {record.after}"
    notes = [f"{moves}{_after(step)}"]
    if record.note:
        notes.append(record.note)
    if record.error:
        notes.append(f"the step failed: {record.error}")
    notes += [_effect(effect) for effect in record.effects]
    notes += [f"cancelled {request}" for request in record.cancelled]
    notes += [
        f"{d.how}: {d.message}{f' ({d.note})' if d.note else ''}" for d in record.dispositions
    ]
    at_ms = step.appended_ms or step.stepped_ms or 0
    if event is None:
        notes.insert(0, step.problem or "made by the host while it stepped")
        return Entry(at_ms=at_ms, author="", text="", notes=tuple(notes), id=record.event_id)
    author, text = _said(event)
    if not author:
        notes.insert(0, describe_event(event))
    return Entry(at_ms=at_ms, author=author, text=text, notes=tuple(notes), id=event.id)


def _said(event: Event) -> tuple[str, str]:
    match event.body:
        case MessageReceived(text=text, quoted=quoted):
            return "person", f"> {quoted}\n{text}" if quoted else text
        case Redriven(message=message):
            return "person", message.text
        case OperatorSaid(text=text):
            return "operator (to the bot)", text
        case _:
            return "", ""


def _of_delivery(delivery: Delivery) -> Entry:
    text = delivery.text if delivery.text is not None else "(what was last shown)"
    # Nobody has read what was taken back or did not arrive: it is not said.
    unread = delivery.state in ("withdrawn", "failed", "unknown", "queued", "sending")
    notes = [f"{delivery.state} to {delivery.address.channel}:{delivery.address.account}"]
    if delivery.how != "answered":
        notes.append(delivery.how)
    if delivery.receipted_ms is not None and delivery.queued_ms:
        notes[0] += f", {duration(delivery.receipted_ms - delivery.queued_ms)} after it was put out"
    if delivery.error:
        notes.append(delivery.error)
    return Entry(
        at_ms=delivery.receipted_ms or delivery.sending_ms or delivery.queued_ms,
        author=f"{delivery.author} ({delivery.state})" if unread else delivery.author,
        text="" if delivery.state == "closed" else text,
        notes=tuple(notes),
        id=delivery.reply_id,
    )


def _waiting(event: Event) -> Entry:
    author, text = _said(event)
    notes = (describe_event(event), "appended, not yet stepped")
    return Entry(at_ms=event.at_ms, author=author, text=text, notes=notes, id=event.id)


def _of_letter(one: SetAside) -> Entry:
    letter, event = one.letter, one.event
    author, text = ("", "") if event is None else _said(event)
    notes = (f"{when(letter.at_ms)} {describe_letter(letter)}", way_back(letter, event))
    return Entry(
        at_ms=letter.at_ms if event is None else event.at_ms,
        author=author,
        text=text,
        notes=notes,
        id="" if event is None else event.id,
    )


def _effect(effect: Effect) -> str:
    scope = f", while in {effect.scope}" if effect.scope else ""
    return f"{describe_effect(effect)}{scope}"


def _after(step: Stepped) -> str:
    if step.appended_ms is None or step.stepped_ms is None:
        return ""
    return f", {duration(max(0, step.stepped_ms - step.appended_ms))} after the append"
