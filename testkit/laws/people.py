"""Laws of what people saw: what they wrote and asked for is in the log, as they did, and only that.

Both sides are counted: what clients sent and were told, and what the logs hold.
"""

from collections.abc import Callable, Iterator, Mapping

from engine.events import (
    Event,
    FeedbackGiven,
    HandedBack,
    MessageReceived,
    OperatorSaid,
    Redriven,
    StopRequested,
)
from engine.limits import MESSAGE_TEXT_BYTES_MAX
from testkit.laws.reading import Found, Reading
from testkit.worlds import Acknowledged, Asked, Rejected, Wrote

ASKED = (OperatorSaid, HandedBack, StopRequested, FeedbackGiven, Redriven)


def lost(reading: Reading) -> Iterator[Found]:
    """What was acknowledged is in the log, and at rest stepped or set aside (design 1.1, 7).

    So is what an operator said, a stop, a verdict, a redrive: whatever was acknowledged.
    """
    logged = {
        event.id
        for partition in reading.partitions
        for event in partition.events.values()
        if event is not None
    }
    for one in reading.evidence.seen:
        if isinstance(one, Acknowledged) and one.event_id not in logged:
            what = f"{_named(one)} was acknowledged and is not in the log"
            yield Found(what, one.at_ms, session_id=one.session_id)
        if isinstance(one, Rejected) and one.event_id in logged:
            what = f"{_named(one)} was refused at the door and is in the log"
            yield Found(what, one.at_ms, session_id=one.session_id)


def as_written(reading: Reading) -> Iterator[Found]:
    """The log holds what people wrote, and only that (design 1.1, 4: ids are derived).

    A message that its person can read is refused for nothing but its size.
    """
    logged = _messages(reading)
    wrote = {one.event_id: one for one in reading.evidence.seen if isinstance(one, Wrote)}
    for event_id, (event, message) in logged.items():
        one = wrote.get(event_id)
        if one is None:
            yield Found(f"nobody wrote {event_id}", event.at_ms, session_id=event.session_id)
        elif one.session_id != event.session_id or one.message_id != message.message_id:
            what = f"message {one.message_id} became another one"
            yield Found(what, event.at_ms, session_id=event.session_id)
        elif event.sent_ms != min(one.sent_ms, event.at_ms):
            what = f"message {one.message_id} was sent at {one.sent_ms}, not at {event.sent_ms}"
            yield Found(what, event.at_ms, session_id=event.session_id)
        elif one.text.isprintable() and one.text.strip() != message.text:
            what = f"message {one.message_id} has another text"
            yield Found(what, event.at_ms, session_id=event.session_id)
    refused = [one.event_id for one in reading.evidence.seen if isinstance(one, Rejected)]
    for event_id in dict.fromkeys(refused):
        one = wrote.get(event_id)
        if one is None or not (one.text.isprintable() and one.text.strip()):
            continue
        if len(one.text.encode()) <= MESSAGE_TEXT_BYTES_MAX:
            what = f"message {one.message_id} was refused at the door for nothing"
            yield Found(what, one.at_ms, session_id=one.session_id)


def as_asked(reading: Reading) -> Iterator[Found]:
    """The log holds what was asked of sessions beside messages, as it was asked, and only that.

    A redrive brings the message that was set aside (design 9: events; 11). Who is in a person's
    hands is in their hands for the host's operators, too: nothing asked of them is refused.
    """
    asked = {one.event_id: one for one in reading.evidence.seen if isinstance(one, Asked)}
    wrote = _messages(reading)
    for refused in reading.evidence.seen:
        if isinstance(refused, Rejected) and refused.event_id in asked:
            what = f"{_named(refused)} was asked for, and refused"
            yield Found(what, refused.at_ms, session_id=refused.session_id)
    for partition in reading.partitions:
        for event in partition.events.values():
            if event is None or not isinstance(event.body, ASKED):
                continue
            one, body = asked.get(event.id), event.body
            if one is None:
                what = f"nobody asked for {event.id}, a {event.type}"
                yield Found(what, event.at_ms, session_id=event.session_id)
                continue
            if (event.type, event.session_id) != (one.what, one.session_id):
                what = f"{event.id} is a {event.type}, a {one.what} was asked for"
                yield Found(what, event.at_ms, session_id=event.session_id)
            about, text = _asked(body)
            if about != one.about or (one.text.isprintable() and text != one.text.strip()):
                what = f"{event.id} says another thing than what was asked"
                yield Found(what, event.at_ms, session_id=event.session_id)
            if (
                isinstance(body, Redriven)
                and body.of in wrote
                and body.message != wrote[body.of][1]
            ):
                what = f"{event.id} brings another message than the one set aside"
                yield Found(what, event.at_ms, session_id=event.session_id)


def _asked(body: object) -> tuple[str, str]:
    """What it is about, and what it says."""
    match body:
        case OperatorSaid(text=text):
            return "", text
        case StopRequested(reply_id=reply_id):
            return reply_id, ""
        case FeedbackGiven(reply_id=reply_id, verdict=verdict):
            return reply_id, verdict
        case Redriven(of=of):
            return of, ""
        case _:
            return "", ""


def heard(reading: Reading) -> Iterator[Found]:
    """At rest each message was acknowledged or refused: its platform had handed it over again.

    And so was whatever else somebody asked for.
    """
    if not reading.rested:
        return
    told = {
        one.event_id for one in reading.evidence.seen if isinstance(one, Acknowledged | Rejected)
    }
    for one in reading.evidence.seen:
        if isinstance(one, Wrote | Asked) and one.event_id not in told:
            what = f"{_named(one)} was never acknowledged nor refused"
            yield Found(what, one.at_ms, session_id=one.session_id)


def _named(one: Wrote | Asked | Acknowledged | Rejected) -> str:
    number = "" if isinstance(one, Asked) else one.message_id
    return f"message {number}" if number else f"what is {one.event_id}"


def _messages(reading: Reading) -> dict[str, tuple[Event, MessageReceived]]:
    return {
        event.id: (event, event.body)
        for partition in reading.partitions
        for event in partition.events.values()
        if event is not None and isinstance(event.body, MessageReceived)
    }


WHOLE_LAWS: Mapping[str, Callable[[Reading], Iterator[Found]]] = {
    "lost": lost,
    "as written": as_written,
    "as asked": as_asked,
    "heard": heard,
}
