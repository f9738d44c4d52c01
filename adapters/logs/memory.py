"""The log in memory: the executable specification of the log's ports, for tests and the simulator.

Place in the data path: where `adapters.logs.sqlite` stands on a real machine; both pass the same
conformance suites. Short enough to be judged by reading. What it never does: keep anything beyond
the process, or be used by two threads at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from engine.errors import Conflict, Refused
from engine.ids import session_of
from engine.ports import Append, DeadLetter, Delivery, Line, LogRecord, Owner, SessionRow, StepRow

UNDELIVERED = ("queued", "sending")


class _Partition:
    """What one partition holds; `token` is that of its newest owner."""

    def __init__(self) -> None:
        self.token = 0
        self.watermark = 0
        self.records: list[LogRecord] = []
        self.dead_letters: dict[int, DeadLetter] = {}
        self.deaths: dict[str, tuple[int, int]] = {}


class MemoryLog:
    """Log, SessionStore and Deliveries over dicts; the reads below the ports' are the console's."""

    def __init__(self, *, partitions: int = 1) -> None:
        self.partitions = partitions
        self.committed = [_Partition() for _ in range(partitions)]
        self.session_bytes: dict[str, bytes] = {}
        self.waits: dict[str, bool] = {}
        self.step_rows: dict[str, list[tuple[StepRow, int]]] = {}
        self.event_records: dict[str, LogRecord] = {}
        self.delivery_of: dict[str, Delivery] = {}
        self.outbox: dict[str, list[Line]] = {}

    def claim(self, partition: int) -> Owner:
        """Become the owner: every older owner's transactions raise Conflict from now on."""
        here = self._partition(partition)
        here.token += 1
        return Owner(partition, here.token)

    @contextmanager
    def transaction(self, owner: Owner) -> Iterator["MemoryBatch"]:
        """Collect a batch; it is applied as a whole where the block ends without an error."""
        self._check(owner)
        batch = MemoryBatch(self, self._partition(owner.partition))
        yield batch
        self._check(owner)
        for apply in batch.todo:
            apply()

    def _check(self, owner: Owner) -> None:
        if self._partition(owner.partition).token != owner.token:
            raise Conflict(f"partition {owner.partition} has a newer owner than {owner.token}")

    def _partition(self, partition: int) -> _Partition:
        if not 0 <= partition < self.partitions:
            raise Refused(f"there is no partition {partition}: this log has {self.partitions}")
        return self.committed[partition]

    def read(self, partition: int, *, after: int, limit: int) -> list[LogRecord]:
        """Committed records after an offset, in order."""
        return self._partition(partition).records[max(after, 0) :][:limit]

    def watermark(self, partition: int) -> int:
        """The last offset applied; 0 at the beginning."""
        return self._partition(partition).watermark

    def head(self, partition: int) -> int:
        """The offset of the last committed record; 0 when empty."""
        return len(self._partition(partition).records)

    def get(self, session_id: str) -> bytes | None:
        """The last committed bytes, or None."""
        return self.session_bytes.get(session_id)

    def waiting(self) -> Iterator[SessionRow]:
        """Each session that has something pending."""
        for session_id, waits in self.waits.items():
            if waits:
                yield SessionRow(session_id, self.session_bytes[session_id], True)

    def last_control(self, *, up_to: int) -> LogRecord | None:
        """The last control record at or before this offset."""
        found = [record for record in self.history("") if record.offset <= up_to]
        return found[-1] if found else None

    def delivery(self, reply_id: str) -> Delivery | None:
        """One delivery by its reply."""
        return self.delivery_of.get(reply_id)

    def undelivered(self) -> list[Delivery]:
        """All that are queued or sending, in the order in which they were first put."""
        return [one for one in self.delivery_of.values() if one.state in UNDELIVERED]

    def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """The session's lines with n > after, in order."""
        return self.outbox.get(session_id, [])[max(after, 0) :][:limit]

    def has_line(self, session_id: str, line_id: str) -> bool:
        """Whether the session has a line of this id."""
        return any(line.id == line_id for line in self.outbox.get(session_id, []))

    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self.session_bytes)

    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Sessions whose id is greater than `after`, in the order of their ids."""
        ids = sorted(one for one in self.session_bytes if one > after)
        return [(one, self.session_bytes[one]) for one in ids[:limit]]

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]:
        """The session's step records with seq > after_seq, in order of seq."""
        return [row for row, _ in self._stepped(session_id, after_seq)[:limit]]

    def step_times(self, session_id: str, *, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """Seq and time (when it was stepped) of what `steps` gives for the same arguments."""
        return [(row.seq, at_ms) for row, at_ms in self._stepped(session_id, after_seq)[:limit]]

    def _stepped(self, session_id: str, after_seq: int) -> list[tuple[StepRow, int]]:
        rows = sorted(self.step_rows.get(session_id, []), key=lambda one: one[0].seq)
        return [one for one in rows if one[0].seq > after_seq]

    def history(self, session_id: str) -> list[LogRecord]:
        """All records of one session, in order; "" gives the control records."""
        found = [one for part in self.committed for one in part.records]
        return [one for one in found if one.session_id == session_id]

    def find_event(self, event_id: str) -> LogRecord | None:
        """The record of an event, or None; the first where it was appended more than once."""
        return self.event_records.get(event_id)

    def step_of(self, event_id: str) -> StepRow | None:
        """The step record of an event (a materialised one too), or None; the first of several."""
        rows = self.step_rows.get(session_of(event_id), [])
        return next((row for row, _ in rows if row.event_id == event_id), None)

    def dead_letters(self) -> list[DeadLetter]:
        """All records set aside, by partition and offset."""
        return [
            part.dead_letters[at] for part in self.committed for at in sorted(part.dead_letters)
        ]

    def deaths(self) -> list[tuple[int, str, int]]:
        """Offset, event id and count of each event at which the process died."""
        return [
            (offset, event_id, deaths)
            for part in self.committed
            for event_id, (offset, deaths) in sorted(
                part.deaths.items(), key=lambda item: (item[1][0], item[0])
            )
        ]

    def deliveries_of(self, session_id: str) -> list[Delivery]:
        """All deliveries of a session, in the order in which they were first put."""
        return [one for one in self.delivery_of.values() if one.session_id == session_id]

    def close(self) -> None:
        """Nothing to release."""


class MemoryBatch:
    """A Transaction: what is to be done, in order, once the block has ended."""

    def __init__(self, log: MemoryLog, partition: _Partition) -> None:
        self.todo: list[Callable[[], object]] = []
        self._log = log
        self._partition = partition
        self._head = len(partition.records)
        self._numbered: dict[str, dict[str, int]] = {}

    def append(self, events: Sequence[Append], *, at_ms: int) -> list[int]:
        """Append in this order; the offsets they got."""
        offsets = []
        for event in events:
            self._head += 1
            record = LogRecord(self._head, event.session_id, event.value, at_ms)
            self.todo.append(partial(self._partition.records.append, record))
            self.todo.append(partial(self._log.event_records.setdefault, event.event_id, record))
            offsets.append(self._head)
        return offsets

    def put_sessions(self, sessions: Sequence[SessionRow]) -> None:
        """Write each session's canonical bytes over what was there."""
        values = {session_id: value for session_id, value, _ in sessions}
        self.todo.append(partial(self._log.session_bytes.update, values))
        waits = {session_id: waits for session_id, _, waits in sessions}
        self.todo.append(partial(self._log.waits.update, waits))

    def put_steps(self, steps: Sequence[StepRow], *, at_ms: int) -> None:
        """Add step records."""
        for row in steps:
            self.todo.append(partial(self._add_step, row, at_ms))

    def _add_step(self, row: StepRow, at_ms: int) -> None:
        self._log.step_rows.setdefault(row.session_id, []).append((row, at_ms))

    def put_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write each delivery over what was there under its reply id."""
        self.todo.append(
            partial(self._log.delivery_of.update, [(d.reply_id, d) for d in deliveries])
        )

    def put_lines(self, lines: Sequence[Line]) -> list[int]:
        """Add lines, numbering them; the number of each (the old one where its id was there)."""
        return [self._number(line) for line in lines]

    def _number(self, line: Line) -> int:
        old = self._log.outbox.setdefault(line.session_id, [])
        numbers = self._numbered.setdefault(line.session_id, {one.id: one.n for one in old})
        if line.id not in numbers:
            numbers[line.id] = len(numbers) + 1
            numbered = Line(
                session_id=line.session_id,
                id=line.id,
                author=line.author,
                text=line.text,
                at_ms=line.at_ms,
                n=numbers[line.id],
                how=line.how,
            )
            self.todo.append(partial(old.append, numbered))
        return numbers[line.id]

    def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Set records aside; a letter at the same offset is written over."""
        self.todo.append(
            partial(self._partition.dead_letters.update, [(one.offset, one) for one in letters])
        )

    def put_watermark(self, offset: int) -> None:
        """Everything up to `offset` is applied: a restart begins after it."""
        self.todo.append(partial(setattr, self._partition, "watermark", offset))

    def put_deaths(self, offset: int, event_id: str, *, deaths: int) -> None:
        """How often the process died at this event."""
        self.todo.append(partial(self._partition.deaths.__setitem__, event_id, (offset, deaths)))
