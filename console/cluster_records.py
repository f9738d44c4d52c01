"""`Records` of a cluster's topics: what `sessions`, `trace` and `dead-letters` read.

Beside the log of a data directory, which answers the same questions by its indices. Each question
scans a session's own partition (`console.cluster_scan`), once for each session; what a web chat
reply came to is read from im.outbox, since its line is its receipt.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.partitions import partition_of
from adapters.kafka.reading import Looker
from adapters.kafka.records import Fetched
from console.cluster_scan import SCANNED_MAX, Scan
from engine import codec
from engine.effects import CloseReply, SendMessage
from engine.errors import InvalidRecord
from engine.events import Address
from engine.ids import account_of, session_of
from engine.ports import DeadLetter, Delivery, Line, LogRecord, StepRow
from streams import wire
from streams.topics import HOUR_MS, T

R = TypeVar("R")

AFTER_LAST_MS = HOUR_MS
"""A session's last step and lines were written within so long after its last event."""

LETTERS_MAX = 10_000

IDS_COLONS = 3
"""In a session's id: channel, account, key and pseudonym."""


class Known(NamedTuple):
    """All that was found of one session."""

    value: bytes | None
    steps: list[StepRow]
    stepped_ms: dict[int, int]
    events: list[LogRecord]
    by_id: dict[str, LogRecord]
    deliveries: dict[str, Delivery]


class ClusterRecords:
    """The topics of one installation, for reading. Raises Unavailable while brokers are away."""

    def __init__(self, settings: KafkaSettings, *, partitions: int) -> None:
        self._partitions = partitions
        self._runner = asyncio.Runner()
        self._looker = Looker(settings)
        try:
            self._run(self._looker.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        self._scan = Scan(self._looker)
        self._known: dict[str, Known] = {}
        self._listed: dict[str, bytes] | None = None
        self._letters: list[DeadLetter] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not looked at."""
        return tuple(self._scan.notes)

    def close(self) -> None:
        """Let go."""
        self._run(self._looker.__aexit__(None, None, None))
        self._runner.close()

    # ---- Records -------------------------------------------------------------------------------

    def get(self, session_id: str) -> bytes | None:
        """The session's newest bytes."""
        # A part of an id is in no partition: to scan one for it would only take its time.
        return self._of(session_id).value if session_id.count(":") == IDS_COLONS else None

    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Sessions by id, of those that had an event last."""
        if self._listed is None:
            self._listed = self._run(self._list())
        ids = sorted(session_id for session_id in self._listed if session_id > after)
        return [(session_id, self._listed[session_id]) for session_id in ids[:limit]]

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]:
        """The session's step records."""
        return [row for row in self._of(session_id).steps if row.seq > after_seq][:limit]

    def step_times(self, session_id: str, *, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """When they were made."""
        known = self._of(session_id)
        rows = self.steps(session_id, after_seq=after_seq, limit=limit)
        return [(row.seq, known.stepped_ms[row.seq]) for row in rows]

    def history(self, session_id: str) -> list[LogRecord]:
        """The session's events."""
        return self._of(session_id).events

    def find_event(self, event_id: str) -> LogRecord | None:
        """An event by its whole id."""
        session_id = session_of(event_id)
        return self._of(session_id).by_id.get(event_id) if session_id else None

    def step_of(self, event_id: str) -> StepRow | None:
        """The step of an event."""
        steps = self._of(session_of(event_id)).steps
        return next((row for row in steps if row.event_id == event_id), None)

    def dead_letters(self) -> list[DeadLetter]:
        """All of them, each as it was last written."""
        if self._letters is None:
            self._letters = self._run(self._read_letters())
        return self._letters

    def delivery(self, reply_id: str) -> Delivery | None:
        """A reply on its way out, or the line that it has become."""
        return self._of(session_of(reply_id)).deliveries.get(reply_id)

    def deliveries_of(self, session_id: str) -> list[Delivery]:
        """All of a session."""
        return list(self._of(session_id).deliveries.values())

    def watermark(self, partition: int) -> int:
        """The last offset that was applied; -1 where none was."""
        return self._run(self._watermark(partition))

    def ending(self, digits: str) -> list[str]:
        """The ids of events and replies that end so, of those that happened last."""
        return self._run(self._ending(digits))

    # ---- one session ---------------------------------------------------------------------------

    def _of(self, session_id: str) -> Known:
        known = self._known.get(session_id)
        if known is None:
            known = self._known[session_id] = self._run(self._read(session_id))
        return known

    async def _read(self, session_id: str) -> Known:
        key = session_id.encode()
        partition = partition_of(key, self._partitions)

        def mine(record: Fetched) -> bool:
            return record.key == key

        newest = await self._scan.back(T.SESSIONS, partition, keep=mine, all_found=bool)
        value = newest[-1].value if newest else None
        # By the row's own time, not by the session's: one that was promoted was written long after
        # its last event.
        before_ms = newest[-1].timestamp_ms + AFTER_LAST_MS if newest else None
        stepped = await self._scan.back(
            T.STEPS,
            partition,
            keep=mine,
            all_found=lambda found: bool(found) and _number(found[0], "seq") <= 1,
            before_ms=before_ms,
        )
        events = await self._events(partition, key, stepped=stepped, before_ms=before_ms)
        records = [
            LogRecord(r.offset, session_id, r.value or b"", wire.appended_ms(r)) for r in events
        ]
        steps = [_step_row(session_id, record) for record in stepped]
        times = {_number(r, "seq"): _number(r, "stepped") for r in stepped}
        found = Known(value, steps, times, records, _by_id(records), {})
        found.deliveries.update(await self._deliveries(session_id, found, before_ms=before_ms))
        return found

    async def _events(
        self, partition: int, key: bytes, *, stepped: list[Fetched], before_ms: int | None
    ) -> list[Fetched]:
        """The session's events: those of its steps, and those that wait to be stepped."""

        def mine(record: Fetched) -> bool:
            return record.key == key

        offsets = [o for o in (_number(r, "offset") for r in stepped) if o > 0]
        first = min(offsets, default=-1)
        known = await self._scan.back(
            T.EVENTS,
            partition,
            keep=mine,
            all_found=lambda found: bool(found) and found[0].offset <= first,
            before_ms=before_ms,
        )
        after = max([r.offset for r in known] + [await self._watermark(partition)], default=-1)
        waiting = await self._scan.since(T.EVENTS, partition, start=after + 1, keep=mine)
        return known + waiting

    async def _deliveries(
        self, session_id: str, known: Known, *, before_ms: int | None
    ) -> dict[str, Delivery]:
        partition = partition_of(session_id.encode(), self._partitions)
        key = session_id.encode()
        shown = await self._scan.back(
            T.OUTBOX,
            partition,
            keep=lambda record: record.key == key,
            all_found=lambda found: bool(found) and _is_first_line(found[0]),
            before_ms=before_ms,
        )
        said = self._scan.readable(shown, lambda record: wire.shown_of(record.value))
        found = _from_outbox(session_id, said, causes=_causes(known))
        if found:
            return found
        account = partition_of(wire.account_key(session_id), self._partitions)
        prefix = key + b"/"
        rows = await self._scan.back(
            T.DELIVERIES,
            account,
            keep=lambda record: record.key.startswith(prefix) and record.value is not None,
            all_found=lambda found: False,
        )
        deliveries = self._scan.readable(rows, lambda record: wire.delivery_of(record.value))
        return {delivery.reply_id: delivery for _, delivery in deliveries}

    # ---- many sessions -------------------------------------------------------------------------

    async def _list(self) -> dict[str, bytes]:
        listed: dict[str, bytes] = {}
        for partition in range(self._partitions):
            rows = await self._scan.back(
                T.SESSIONS,
                partition,
                keep=lambda record: not record.key.startswith(b"#"),
                all_found=lambda found: False,
                most=SCANNED_MAX // self._partitions,
            )
            named = self._scan.readable(rows, lambda record: wire.session_of_key(record.key))
            newest = {session_id: row.value for row, session_id in named}
            listed |= {session_id: value for session_id, value in newest.items() if value}
        return listed

    async def _ending(self, digits: str) -> list[str]:
        tail = f"/{digits}".encode()
        found: list[str] = []
        for partition in range(self._partitions):
            for record in await self._scan.back(
                T.STEPS,
                partition,
                keep=lambda record: tail in (record.value or b""),
                all_found=lambda found: False,
                most=SCANNED_MAX // self._partitions,
            ):
                event_id = dict(record.headers).get("event", b"").decode()
                ids = [event_id, *_replies(record.value or b"")]
                found += [one for one in ids if one.endswith(tail.decode())]
        return list(dict.fromkeys(found))

    async def _watermark(self, partition: int) -> int:
        rows = await self._scan.back(
            T.SESSIONS, partition, keep=lambda r: r.key == wire.WATERMARK, all_found=bool
        )
        value = rows[-1].value if rows else None
        return -1 if value is None else wire.watermark_of(value).offset

    async def _read_letters(self) -> list[DeadLetter]:
        rows = await self._scan.back(
            T.DEAD, 0, keep=lambda r: True, all_found=lambda found: False, most=LETTERS_MAX
        )
        letters = self._scan.readable(rows, lambda record: wire.letter_of(record.value))
        newest = {letter.number: letter for _, letter in letters}
        return sorted(newest.values(), key=lambda one: (one.at_ms, one.partition, one.offset))

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        return self._runner.run(work)


def _number(record: Fetched, name: str) -> int:
    found = dict(record.headers).get(name)
    return int(found) if found is not None else 0


def _step_row(session_id: str, record: Fetched) -> StepRow:
    named = dict(record.headers)
    event_id = named.get("event", b"").decode()
    offset = _number(record, "offset")
    return StepRow(session_id, _number(record, "seq"), event_id, offset, record.value or b"")


def _by_id(records: list[LogRecord]) -> dict[str, LogRecord]:
    found: dict[str, LogRecord] = {}
    for record in records:
        try:
            found.setdefault(codec.decode_event(record.value).id, record)
        except InvalidRecord:
            continue  # a dead letter: listed as one
    return found


def _replies(step: bytes) -> list[str]:
    """The replies that a step ended; none of a record that cannot be read."""
    try:
        effects = codec.decode_step(step).effects
    except InvalidRecord:
        return []
    return [e.body.reply_id for e in effects if isinstance(e.body, SendMessage | CloseReply)]


def _causes(known: Known) -> dict[str, tuple[str, int]]:
    """The event that led to each reply's end, and when it was stepped."""
    return {
        reply_id: (row.event_id, known.stepped_ms[row.seq])
        for row in known.steps
        for reply_id in _replies(row.value)
    }


def _is_first_line(record: Fetched) -> bool:
    try:
        shown = wire.shown_of(record.value)
    except InvalidRecord:
        return False
    return isinstance(shown, wire.Said) and shown.line.n <= 1


def _from_outbox(
    session_id: str,
    said: list[tuple[Fetched, wire.View | wire.Said]],
    *,
    causes: dict[str, tuple[str, int]],
) -> dict[str, Delivery]:
    """A session's replies: a line is sent as soon as it stands there."""
    found: dict[str, Delivery] = {}
    channel, account = account_of(session_id)
    address = Address(channel=channel, account=account, conversation="", sender="")
    for record, shown in said:
        if isinstance(shown, wire.Said):
            line = shown.line
            ended: list[tuple[str, Line | None]] = [(line.id, line)]
            if line.author == "user":
                continue
        else:
            ended = [(reply_id, None) for reply_id in shown.closed if reply_id not in found]
        for reply_id, of in ended:
            cause, stepped_ms = causes.get(reply_id, ("", 0))
            found[reply_id] = Delivery(
                reply_id=reply_id,
                session_id=session_id,
                cause=cause,
                kind="reply",
                address=address,
                state="closed" if of is None else "sent",
                text=None if of is None else of.text,
                how="answered" if of is None else of.how or "answered",
                author="bot" if of is None else of.author,
                queued_ms=stepped_ms,
                receipted_ms=record.timestamp_ms,
            )
    return found
