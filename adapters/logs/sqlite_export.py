"""The log of a stopped engine, read from one end to the other: for a copy of all of it.

Beside `adapters.logs.sqlite`, whose lock it holds as long as it is open, so that no engine runs
meanwhile. Everything comes in pages, in the order in which it was written, and a page that is asked
for again is the same. What it never does: write a row.
"""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from adapters.logs.sqlite import SqliteLog
from adapters.logs.sqlite_rows import Row, delivery_of, id_of, line_of
from adapters.logs.sqlite_schema import as_engine_error, open_reader
from engine.errors import Refused
from engine.ports import Delivery, Line, LogRecord, StepRow

_EVENTS = """
select offset, session.session, id, event.value, appended_ms, event.key, seq, step.value, stepped_ms
from event join session using (session) left join step on place = offset
where offset > ? order by offset limit ?
"""
# Those of an activation have no event in the log: each stands before the step that it was made for.
_MATERIALISED = """
select session, seq, key, value, stepped_ms from step where place < 0 and session in
(select session from event where offset > ? and offset <= ?)
"""
_SESSIONS = """
select session, id, value, line_count from session where session > ? order by session limit ?
"""
_LINES = """
select session, n, key, value from line where session > ? and session <= ? order by session, n
"""
_DELIVERIES = """
select place, id, key, delivery.value from delivery join session using (session)
where place > ? order by place limit ?
"""


class Counts(NamedTuple):
    """How much there is."""

    events: int
    steps: int
    sessions: int
    lines: int
    deliveries: int
    dead_letters: int


class Stepped(NamedTuple):
    """A step record, and when it was made."""

    row: StepRow
    stepped_ms: int


class Exported(NamedTuple):
    """An event, the number of its session, and its steps (none, where it was set aside)."""

    record: LogRecord
    session: int
    steps: Sequence[Stepped]


class ExportedSession(NamedTuple):
    """A session; `value` None: none of its events was ever stepped."""

    number: int
    session_id: str
    value: bytes | None
    lines: Sequence[Line]


class SqliteExport:
    """The log at `path`. Close it.

    Raises: Refused where there is none, or a process has it open.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Refused(f"there is no log at {path}: say which data directory with --data")
        self.path = path
        self.log = SqliteLog(path)
        self._reader = open_reader(path)

    def close(self) -> None:
        """Let the next process in."""
        self._reader.close()
        self.log.close()

    def counts(self) -> Counts:
        """Of the whole log; it looks at the ends of the tables where it can."""
        numbers = [
            self._all(f"select {what}")[0][0] or 0
            for what in (
                "count(*) from event",
                "count(*) from step",
                "max(session) from session",
                "sum(line_count) from session",
                "max(place) from delivery",
                "count(*) from dead_letter",
            )
        ]
        return Counts(*numbers)

    def identity(self) -> str:
        """The same for this log as it is now; another one once an engine has run on it."""
        hashed = hashlib.blake2b(digest_size=16)
        head = self.log.head(0)
        for offset in (0, head - 1):
            for record in self.log.read(0, after=offset, limit=1):
                hashed.update(b"%d:%d:" % (record.offset, len(record.value)) + record.value)
        token, watermark = self._all("select token, watermark from partition")[0]
        hashed.update(b"%d:%d:%d:%d" % (head, token, watermark, self.log.session_count()))
        return hashed.hexdigest()

    def events(self, *, after: int, limit: int) -> list[Exported]:
        """Events after an offset, with their steps."""
        rows = self._all(_EVENTS, after, limit)
        made = self._materialised(after, rows[-1][0]) if rows else {}
        return [_exported(row, made) for row in rows]

    def sessions(self, *, after: int, limit: int) -> list[ExportedSession]:
        """Sessions after a number, with all their lines."""
        rows = [row for row in self._all(_SESSIONS, after, limit) if row[0] > 0]
        lines: dict[int, list[Line]] = defaultdict(list)
        ids = {number: session_id for number, session_id, *_ in rows}
        if any(row[3] for row in rows):
            for number, *line in self._all(_LINES, after, rows[-1][0]):
                lines[number].append(line_of(ids[number], tuple(line)))
        return [ExportedSession(row[0], row[1], row[2], lines[row[0]]) for row in rows]

    def deliveries(self, *, after: int, limit: int) -> list[tuple[int, Delivery]]:
        """Deliveries after a place, each with its own, in the order in which they were made."""
        return [(row[0], delivery_of(row[1:])) for row in self._all(_DELIVERIES, after, limit)]

    def _materialised(self, after: int, to: int) -> dict[tuple[int, int], Row]:
        """By session and seq."""
        return {(row[0], row[1]): row for row in self._all(_MATERIALISED, after, to)}

    def _all(self, query: str, *values: int) -> list[Row]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise as_engine_error(error, self.path) from error


def _exported(row: Row, made: dict[tuple[int, int], Row]) -> Exported:
    offset, session, session_id, value, appended_ms, key, seq, step, stepped_ms = row
    record = LogRecord(offset, session_id, value, appended_ms)
    if step is None:
        return Exported(record, session, ())
    steps = [Stepped(StepRow(session_id, seq, id_of(session_id, key), offset, step), stepped_ms)]
    before = made.get((session, seq - 1))
    if before is not None:
        _, seq, key, step, stepped_ms = before
        step_row = StepRow(session_id, seq, id_of(session_id, key), 0, step)
        steps.insert(0, Stepped(step_row, stepped_ms))
    return Exported(record, session, steps)
