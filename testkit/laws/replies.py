"""Laws of replies in the logs: opened and closed once, queued, marked, receipted, told of."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from engine.effects import CallModel, CloseReply, Effect, SendMessage, Withdraw
from engine.events import MessageReceived, Redriven, ReplyUndelivered
from engine.ports import Delivery
from testkit.laws.reading import SENDS, Dialog, Found, Stepped

ATTEMPTS_MAX = 8
ENDED = {"sent", "unknown", "failed", "withdrawn", "closed"}


def opened_and_closed(one: Stepped) -> Iterator[str]:
    """Only the session opens and closes replies, each once (design 10; 5: closes its replies).

    A streaming call opens one; it closes when the call ends, is left, or is stopped. What closes
    was open, or the call that would have filled it ends here.
    """
    stays, after = one.had.replies, one.has.replies
    streams = [b.reply_id for b in one.bodies if isinstance(b, CallModel) and b.stream]
    closed = [body.reply_id for body in one.bodies if isinstance(body, CloseReply)]
    if not (stays or after or streams or closed):
        return
    for reply in one.after.open_replies:
        if reply.effect_id not in one.has.ids:
            yield f"{reply.reply_id} is open, and nobody fills it any more"
    known = [*stays, *streams]
    expected = [reply_id for reply_id in known if reply_id not in closed]
    is_small = len(after) < 2 and len(closed) < 2
    if is_small and after == expected and set(known).issuperset(closed):
        return
    before, opened = set(stays), set(streams)
    if len(set(closed)) != len(closed) or len(set(after)) != len(after):
        yield "a reply is open or closed twice"
    for reply_id in sorted(set(closed) - before - opened):
        yield f"{reply_id} was closed, and was not open"
    for reply_id in sorted((before | opened) - set(closed) - set(after)):
        yield f"{reply_id} is not open any more, and nothing closed it"
    for reply_id in sorted(set(after) - ((before | opened) - set(closed))):
        yield f"{reply_id} is open, and was closed or never opened"


def ordered_once(dialog: Dialog) -> Iterator[Found]:
    """A reply is ordered once: a second say is a new message (design 5, 10)."""
    ordered = [_reply(effect) for effect in dialog.sends]
    if len(set(ordered)) == len(ordered):
        return
    for reply_id, n in Counter(ordered).items():
        if n > 1:
            yield Found(f"{reply_id} was ordered {n} times")


def orders_are_delivered(dialog: Dialog) -> Iterator[Found]:
    """Each reply that a step orders is queued with what it says, and nothing else is (design 10).

    A message that was set aside gets a word, though no step ordered it (design 11). What is said to
    somebody whose address was never learned (all they sent was expired) goes nowhere.
    """
    deliveries = {delivery.reply_id: delivery for delivery in dialog.deliveries}
    ordered = {_reply(effect): effect for effect in dialog.sends}
    homeless = {
        _reply(effect)
        for one in dialog.steps
        if one.after.address is None
        for effect in one.record.effects
        if isinstance(effect.body, SENDS)
    }
    for reply_id, effect in ordered.items():
        delivery = deliveries.get(reply_id)
        if delivery is None:
            if reply_id not in homeless:
                yield Found(f"{reply_id} was ordered, and is nowhere on its way")
            continue
        yield from _as_ordered(effect, delivery)
    letters = _set_aside(dialog)
    for reply_id, delivery in deliveries.items():
        if reply_id not in ordered and delivery.cause not in letters:
            yield Found(f"{reply_id} is on its way, and nobody ordered it", delivery.queued_ms)


def _as_ordered(effect: Effect, delivery: Delivery) -> Iterator[Found]:
    body = effect.body
    told = f"{delivery.reply_id} is not delivered as ordered"
    if delivery.cause != effect.cause or delivery.session_id != effect.session_id:
        yield Found(f"{told}: it names another cause", delivery.queued_ms)
    if isinstance(body, SendMessage):
        if (delivery.text, delivery.author, delivery.kind) != (body.text, body.author, "message"):
            yield Found(f"{told}: text, author or kind", delivery.queued_ms)
    elif isinstance(body, CloseReply):
        if (delivery.how, delivery.kind) != (body.how, "reply"):
            yield Found(f"{told}: it is {delivery.how}, ordered was {body.how}", delivery.queued_ms)
        if body.text is not None and delivery.text != body.text:
            yield Found(f"{told}: its text", delivery.queued_ms)


def addressed_to_the_session(dialog: Dialog) -> Iterator[Found]:
    """A reply goes to the address that its session had when a step ordered it (design 4, 10).

    A word about a message that was set aside goes where that message came from.
    """
    expected = {
        _reply(effect): one.after.address
        for one in dialog.steps
        for effect in one.record.effects
        if isinstance(effect.body, SENDS)
    }
    letters = _set_aside(dialog)
    for one in dialog.deliveries:
        address = expected.get(one.reply_id)
        if address is None and one.cause in letters:
            event = dialog.partition.events[letters[one.cause]]
            body = None if event is None else event.body
            message = body.message if isinstance(body, Redriven) else body
            address = message.address if isinstance(message, MessageReceived) else None
        if address is not None and one.address != address:
            yield Found(f"{one.reply_id} has another address than its session", one.queued_ms)


def set_aside_with_a_word(dialog: Dialog) -> Iterator[Found]:
    """A message that is set aside ends with a word to its person (design 11; sessions hop)."""
    told = {delivery.cause for delivery in dialog.deliveries}
    for event_id, offset in _set_aside(dialog).items():
        has_flow = any(at < offset for at, _ in dialog.partition.controls)
        if event_id not in told and has_flow:
            yield Found(f"{event_id} was set aside, and nobody was told")


def receipts(dialog: Dialog) -> Iterator[Found]:
    """queued → sending → sent | unknown | failed, each with its time (design 10)."""
    rested_ms = dialog.reading.evidence.rested_ms
    for one in dialog.deliveries:
        times = [t for t in (one.queued_ms, one.sending_ms, one.receipted_ms) if t is not None]
        # What was repeated after a restart may have been marked before it was queued anew.
        if times != sorted(times):
            yield Found(f"{one.reply_id} has times {times}", one.queued_ms)
        if (one.receipted_ms is not None) != (one.state in ENDED):
            yield Found(f"{one.reply_id} is {one.state}, receipt {one.receipted_ms}", one.queued_ms)
        if one.state == "sending" and one.sending_ms is None:
            yield Found(f"{one.reply_id} is {one.state} without a mark", one.queued_ms)
        if one.state in ("sent", "unknown") and one.sending_ms is None:
            yield Found(f"{one.reply_id} is {one.state} without a mark", one.queued_ms)
        if one.attempt > ATTEMPTS_MAX and one.attempt > _marks_max(dialog, one):
            yield Found(f"{one.reply_id} was tried {one.attempt} times", one.queued_ms)
        if one.state == "closed" and one.text is not None:
            yield Found(f"{one.reply_id} has a text, and was only closed", one.queued_ms)
        if rested_ms is not None and one.state not in ENDED:
            yield Found(f"{one.reply_id} is {one.state} at rest", rested_ms)


def _marks_max(dialog: Dialog, one: Delivery) -> int:
    """A mark whose owner went is marked again where the platform knows repetitions.

    That is no answer of the platform's, so it uses no attempt up.
    """
    if not dialog.reading.evidence.idempotent:
        return ATTEMPTS_MAX
    takeovers = dialog.reading.takeovers.get(dialog.partition.number, ())
    return ATTEMPTS_MAX + sum(at_ms >= one.queued_ms for at_ms in takeovers)


def sent_means_in_the_outbox(dialog: Dialog) -> Iterator[Found]:
    """Where the log keeps a channel's outbox, what is sent has its line there, once (design 10).

    Lines are numbered without gaps, so that who comes back can name the last one they have.
    """
    lines_of = dialog.reading.evidence.lines
    if lines_of is None:
        return
    lines = lines_of(dialog.id)
    for n, line in enumerate(lines, start=1):
        if line.n != n:
            yield Found(f"line {n} has number {line.n}", line.at_ms)
    texts = Counter((line.id, line.text) for line in lines)
    sent = {(one.reply_id, one.text or "") for one in dialog.deliveries if one.state == "sent"}
    for reply_id, text in sent:
        if texts[reply_id, text] != 1:
            yield Found(f"{reply_id} is sent, and is {texts[reply_id, text]} times in the outbox")
    for line in lines:
        if line.author != "user" and (line.id, line.text) not in sent:
            yield Found(f"{line.id} is in the outbox, and was not sent", line.at_ms)


def withdrawn_by_an_order(dialog: Dialog) -> Iterator[Found]:
    """A reply is withdrawn because an order of a later step said so (design 10)."""
    orders = [
        (effect.cause, effect.body.reply_id)
        for effect in dialog.effects
        if isinstance(effect.body, Withdraw)
    ]
    for one in dialog.deliveries:
        is_withdrawn = one.state == "withdrawn" or one.withdrawn_ms is not None
        asked = any(
            reply_id == one.reply_id or (reply_id is None and cause != one.cause)
            for cause, reply_id in orders
        )
        if is_withdrawn and not asked:
            yield Found(f"{one.reply_id} was withdrawn, and no order said so", one.queued_ms)


def undelivered_is_told(dialog: Dialog) -> Iterator[Found]:
    """Unknown and failed replies come back as `ReplyUndelivered`, no others (law 8, design 10)."""
    told: dict[str, set[str]] = {}
    for _, event in dialog.partition.of(dialog.id):
        if isinstance(event.body, ReplyUndelivered):
            told.setdefault(event.body.reply_id, set()).add(event.body.state)
    for one in dialog.deliveries:
        states = told.pop(one.reply_id, set())
        expected = {one.state} if one.state in ("unknown", "failed") else set()
        if states != expected:
            what = f"{one.reply_id} is {one.state}, the flow was told {sorted(states) or 'nothing'}"
            yield Found(what, one.queued_ms)
    for reply_id in told:
        yield Found(f"{reply_id} is told to be undelivered, and was never on its way")


def _reply(effect: Effect) -> str:
    body = effect.body
    assert isinstance(body, SendMessage | CloseReply)
    return body.reply_id


def _set_aside(dialog: Dialog) -> dict[str, int]:
    """The messages of this session that were set aside, by event, and their offsets."""
    partition = dialog.partition
    return {
        event.id: offset
        for offset in partition.letters
        if (event := partition.events.get(offset)) is not None
        and event.session_id == dialog.id
        and isinstance(event.body, MessageReceived | Redriven)
    }


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "ordered once": ordered_once,
    "orders are delivered": orders_are_delivered,
    "addressed to the session": addressed_to_the_session,
    "set aside with a word": set_aside_with_a_word,
    "receipts": receipts,
    "sent means in the outbox": sent_means_in_the_outbox,
    "withdrawn by an order": withdrawn_by_an_order,
    "undelivered is told": undelivered_is_told,
}
STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    "replies are opened and closed once": opened_and_closed,
}
