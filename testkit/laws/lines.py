"""Laws of the outbox: each line is there once, in order, and reaches its person's page once.

They hold where a world keeps lines, as web chat does (design 10: *sent* means that the line is
durable in the person's outbox; a client that reconnects names the last line it has).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from engine.effects import CloseReply
from engine.events import MessageReceived
from engine.ports import Line
from testkit.laws.reading import ALL, SENDS, Dialog, Found


def numbered_once(dialog: Dialog) -> Iterator[Found]:
    """Lines count from 1 without gaps, and none is there twice (the port's contract)."""
    lines = _lines(dialog)
    numbers = [line.n for line in lines]
    if numbers != [*range(1, len(lines) + 1)]:
        yield Found(f"the lines are numbered {numbers}")
    for line_id, n in Counter(line.id for line in lines).items():
        if n > 1:
            yield Found(f"line {line_id} is there {n} times")


def a_line_for_each(dialog: Dialog) -> Iterator[Found]:
    """Each sent reply and each message that was taken is one line, as it was said (design 10).

    A reply becomes a line with its receipt, a message with its append; nothing else does.
    """
    if not dialog.reading.evidence.outbox:
        return
    lines = {line.id: line for line in _lines(dialog)}
    expected = {
        one.reply_id: (one.author, one.text or "", one.how)
        for one in dialog.deliveries
        if one.state == "sent"
    }
    for message_id, message in _written(dialog).items():
        line = lines.get(message_id)
        expected[message_id] = ("user", message.text, "" if line is None else line.how)
    for line_id, said in expected.items():
        line = lines.pop(line_id, None)
        if line is None:
            yield Found(f"{line_id} was taken or sent, and is no line")
        elif (line.author, line.text, line.how) != said:
            yield Found(f"line {line.n}, {line_id}, says another thing", line.at_ms)
    for line in lines.values():
        yield Found(f"line {line.n}, {line.id}, is of nothing that was taken or sent", line.at_ms)


def in_order(dialog: Dialog) -> Iterator[Found]:
    """Replies are lines in the order in which steps ordered them, messages in the log's order.

    What ends a reply goes before the rest of its step.
    """
    if not dialog.reading.evidence.outbox:
        return
    ordered: list[str] = []
    for record in dialog.known:
        bodies = [effect.body for effect in record.effects if isinstance(effect.body, SENDS)]
        bodies.sort(key=lambda body: not isinstance(body, CloseReply))
        ordered += [body.reply_id for body in bodies]
    ids = [line.id for line in _lines(dialog)]
    for what, order in (("replies", ordered), ("messages", [*_written(dialog)])):
        place = {one: at for at, one in enumerate(order)}
        places = [place[one] for one in ids if one in place]
        if places != sorted(places):
            yield Found(f"the lines of {what} are in another order")


def read_once(dialog: Dialog) -> Iterator[Found]:
    """A page that names its last line gets exactly the rest, each line once and as it is there."""
    reading = dialog.reading
    if not reading.evidence.outbox:
        return
    lines = {line.n: line for line in _lines(dialog)}
    last = 0
    for one in reading.read.get(dialog.id, ()):
        if one.after != last or one.line.n != last + 1:
            yield Found(f"the page got line {one.line.n} after line {last}", one.at_ms)
        if lines.get(one.line.n) != one.line:
            yield Found(f"the page got another line {one.line.n} than is there", one.at_ms)
        last = one.line.n
    if reading.rested and last != len(lines):
        yield Found(f"the page has {last} of {len(lines)} lines at rest")


def _lines(dialog: Dialog) -> Sequence[Line]:
    if not dialog.reading.evidence.outbox:
        return ()
    return dialog.partition.log.lines(dialog.id, after=0, limit=ALL)


def _written(dialog: Dialog) -> dict[str, MessageReceived]:
    """The messages that the log holds, by their platform's id, in its order."""
    found: dict[str, MessageReceived] = {}
    for _, event in dialog.partition.of(dialog.id):
        if isinstance(event.body, MessageReceived):
            found.setdefault(event.body.message_id, event.body)
    return found


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "lines are numbered once": numbered_once,
    "a line for each that was said": a_line_for_each,
    "lines in order": in_order,
    "each line is read once": read_once,
}
