"""What the records of an embedded log become on a cluster's topics: rows, as if it had been there.

For `streams.cluster.promote`, which reads the log and writes the rows. Bytes of events, steps and
sessions are taken over as they are; what a cluster keeps beside them is derived here. The same log
gives the same rows, whenever it is asked, so that a copy that was interrupted goes on as it began.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from adapters.logs.sqlite_export import Exported, ExportedSession
from engine import codec
from engine.effects import RunnerRequest
from engine.errors import InvalidRecord
from engine.events import MessageReceived, Redriven
from engine.ports import DeadLetter, Delivery, Line
from engine.session import Session
from streams import wire
from streams.cluster.found import ORDER
from streams.embedded.pipeline import line_of
from streams.outbox import view_of
from streams.sessions import first_due
from streams.wire import Kept

OPEN = ("queued", "sending")


def copied(one: Exported, *, partitions: Sequence[int]) -> list[Row]:
    """An event, once; a control record, in each of these."""
    return [wire.copied_row(one.record, partition=partition) for partition in partitions]


def steps(one: Exported, *, partition: int, offset: int) -> Iterator[Row]:
    """The steps of an event, which stands at this offset now."""
    for row, stepped_ms in one.steps:
        moved = row._replace(offset=offset if row.offset else 0)
        yield wire.step_row(moved, stepped_ms=stepped_ms, partition=partition)


class SessionRows:
    """The rows of a session: its lines, a view, its own row, and what it has asked for.

    `requests`: those that are pending. `since_ms`: since when a session is in a person's hands;
    None where it is not.
    """

    def __init__(
        self,
        *,
        outbox: frozenset[str],
        partitions: int,
        letters: Iterable[DeadLetter],
        undelivered: Iterable[Delivery],
        requests: Callable[[Session], Iterable[RunnerRequest]],
        since_ms: Callable[[Session], int | None],
    ) -> None:
        self._outbox = outbox
        self._partitions = partitions
        self._excused = _excused(letters)
        self._undelivered = _undelivered(undelivered)
        self._requests = requests
        self._since_ms = since_ms

    def of(self, one: ExportedSession) -> list[Row]:
        """All of them, in the order in which they are to stand."""
        session_id = one.session_id
        partition = partition_of(session_id.encode(), self._partitions)
        is_here = session_id.partition(":")[0] in self._outbox
        excused = self._excused.get(session_id, ()) if is_here else ()
        lines = [*one.lines, *self._new_lines(one)] if is_here else []
        if one.value is None and not lines and not excused:
            return []
        rows = [_line_row(line, partition=partition) for line in lines]
        kept = Kept(one.value or b"", lines=len(lines), excused=tuple(excused))
        session = _decoded(one.value)
        if session is not None:
            since_ms = self._since_ms(session)
            if is_here or since_ms is not None:
                view = wire.outbox_row(view_of(session, since_ms=since_ms), partition=partition)
                rows.append(view._replace(timestamp_ms=session.now_ms))
            kept = kept._replace(due_ms=first_due(session.pending), since_ms=since_ms)
            rows += [wire.request_row(request) for request in self._requests(session)]
        rows.append(wire.session_row(session_id, kept, partition=partition))
        return rows

    def _new_lines(self, one: ExportedSession) -> Iterator[Line]:
        """Replies on their way to people whose lines are kept here: being a line, they are sent."""
        undelivered = self._undelivered.get(one.session_id, ())
        for n, delivery in enumerate(undelivered, len(one.lines) + 1):
            yield replace(line_of(delivery, at_ms=delivery.queued_ms), n=n)


def delivery_rows(
    deliveries: Sequence[tuple[int, Delivery]],
    *,
    outbox: frozenset[str],
    partitions: int,
    last: int,
    since_ms: int,
) -> list[Row]:
    """Deliveries to platforms: those on their way, and receipts that are not older than this.

    `last`: the place of the last one of all.
    """
    rows = []
    for place, one in deliveries:
        is_open = one.state in OPEN
        if one.address.channel in outbox or not (is_open or (one.receipted_ms or 0) >= since_ms):
            continue
        partition = partition_of(wire.account_key(one.session_id), partitions)
        row = wire.delivery_row(one, partition=partition)
        if is_open:
            # Below 0, which is the place of the first order that comes over im.egress.
            row = row._replace(headers=((ORDER, b"%d" % (place - last - 1)),))
        rows.append(row)
    return rows


def letter_rows(
    letters: Sequence[DeadLetter], *, places: Mapping[int, tuple[int, int]]
) -> list[Row]:
    """Dead letters, numbered by the places where their events stand now."""
    moved = [
        replace(letter, partition=places[letter.offset][0], offset=places[letter.offset][1])
        for letter in letters
    ]
    return [wire.letter_row(letter)._replace(timestamp_ms=letter.at_ms) for letter in moved]


def _line_row(line: Line, *, partition: int) -> Row:
    row = wire.outbox_row(wire.Said(line=line), partition=partition)
    return row._replace(timestamp_ms=line.at_ms)


def _decoded(value: bytes | None) -> Session | None:
    try:
        return None if value is None else codec.decode_session(value)
    except InvalidRecord:
        return None  # its next event is set aside, which says so


def _excused(letters: Iterable[DeadLetter]) -> dict[str, list[str]]:
    """Of each session the messages that were set aside and told of, the newest last."""
    found: dict[str, list[str]] = defaultdict(list)
    for letter in letters:
        try:
            event = codec.decode_event(letter.value)
        except InvalidRecord:
            continue
        if isinstance(event.body, MessageReceived | Redriven):
            ids = found[event.session_id]
            if event.id not in ids:
                ids.append(event.id)
    return {session_id: ids[-wire.EXCUSED_MAX :] for session_id, ids in found.items()}


def _undelivered(deliveries: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    """Of each session what nobody has seen yet; what was asked back nobody ever shall."""
    found: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.text is not None and delivery.withdrawn_ms is None:
            found[delivery.session_id].append(delivery)
    return found
