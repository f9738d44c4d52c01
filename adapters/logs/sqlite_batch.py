"""One transaction of the SQLite log: collected in memory, written in one go when its block ends.

Place in the data path: a host's batch of records → here → one `begin … commit`, which is one
fsync. Until then nothing is written, and whatever ends the block early leaves nothing behind. Each
statement runs once a batch over all its rows: on this path the statements, not the rows, would
otherwise be what costs.

What it never does: decide when to commit, or read what other batches wrote beyond what numbers the
lines and finds the sessions.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from adapters.logs.sqlite_rows import (
    Key,
    Row,
    key_of,
    packed_delivery,
    packed_line,
)
from engine.ports import Append, DeadLetter, Delivery, Line, SessionRow, StepRow

KNOWN_MAX = 100_000
"""Sessions whose number is remembered, at about 300 bytes each; then they are looked up anew."""

OPEN = ("queued", "sending")

INSERT_SESSION = (
    "insert into session (line_count, last_line, last_event, last_delivery, value, session, id) "
    "values (?, ?, ?, ?, ?, ?, ?)"
)
_ENDS = "line_count = ?, last_line = ?, last_event = ?, last_delivery = ?"
UPDATE_SESSION = f"update session set {_ENDS}, value = ? where session = ?"
UPDATE_ENDS = f"update session set {_ENDS} where session = ?"
BEGIN_WAITING = "insert into waiting values (?)"
END_WAITING = "delete from waiting where session = ?"
INSERT_EVENT = "insert into event values (?, ?, ?, ?, ?, ?)"
INSERT_STEP = "insert into step values (?, ?, ?, ?, ?, ?)"
INSERT_LINE = "insert into line values (?, ?, ?, ?, ?, ?)"
INSERT_DELIVERY = (
    "insert into delivery (place, session, previous, key, open, value) values (?, ?, ?, ?, ?, ?)"
)
UPDATE_DELIVERY = "update delivery set open = ?, value = ? where place = ?"
PUT_DEAD_LETTER = "insert or replace into dead_letter values (?, ?, ?, ?, ?, ?)"
PUT_DEATHS = "insert or replace into death (offset, event_id, deaths) values (?, ?, ?)"
PUT_WATERMARK = "update partition set watermark = ? where partition = 0"
FIND_SESSION = """
select session, line_count, last_line, last_event, last_delivery,
    exists (select 1 from waiting where waiting.session = session.session)
from session where id = ?
"""
OPEN_DELIVERIES = """
select session, key, place from delivery where place in (select place from delivery where open = 1)
"""
FIND_LINE = "select n from line where session = ? and key = ?"


class Tails(NamedTuple):
    """The last places given out: what a table's next row is numbered after."""

    offset: int
    session: int
    line: int
    delivery: int
    materialised: int  # counts down from 0


class _Known:
    """What has to be known of a session to write its rows.

    `stored`: its own row is there. `waits`: it is in `waiting`.
    """

    __slots__ = (
        "last_delivery",
        "last_event",
        "last_line",
        "line_count",
        "number",
        "stored",
        "waits",
    )

    def __init__(self, number: int, *, ends: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        self.number = number
        self.line_count, self.last_line, self.last_event, self.last_delivery = ends
        self.stored = True
        self.waits = False

    @property
    def ends(self) -> tuple[int, int, int, int]:
        """The columns of `session` besides its id and its value."""
        return self.line_count, self.last_line, self.last_event, self.last_delivery


class Writing:
    """What one batch hands to the next: the tables' ends, what is looked up, what is open.

    `tails` and `open` (the places of open deliveries, by session and key) change after a commit
    only. `known` is changed while a batch is collected, so it is emptied when one fails: whatever
    it held is read again.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self.known: dict[str, _Known] = {}
        self.open: dict[tuple[int, Key], int] = {
            (session, key): place for session, key, place in database.execute(OPEN_DELIVERIES)
        }
        self.tails = Tails(
            offset=self._end("max(offset) from event"),
            session=self._end("max(session) from session"),
            line=self._end("max(place) from line"),
            delivery=self._end("max(place) from delivery"),
            materialised=min(self._end("min(place) from step"), 0),
        )

    def begin(self) -> None:
        """Open the transaction of the batch, where it is not open yet."""
        if not self.database.in_transaction:
            self.database.execute("begin immediate")

    def find(self, query: str, values: Row) -> Row | None:
        """One row, read inside the batch's transaction: alone, each read would lock and unlock."""
        self.begin()
        row: Row | None = self.database.execute(query, values).fetchone()
        return row

    def _end(self, what: str) -> int:
        return self.database.execute(f"select {what}").fetchone()[0] or 0


class SqliteBatch:
    """A Transaction of engine.ports; its calls are kept and written by `write`."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._known = writing.known
        tails = writing.tails
        self._offset = tails.offset
        self._session = tails.session
        self._line = tails.line
        self._delivery = tails.delivery
        self._materialised = tails.materialised
        self._values: dict[str, SessionRow] = {}
        self._touched: set[str] = set()  # sessions whose row changed, but for its bytes
        self._events: list[Row] = []
        self._steps: list[Row] = []
        self._lines: list[Row] = []
        self._numbers: dict[tuple[int, Key], int] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._open_now: list[tuple[tuple[int, Key], int | None]] = []
        self._dead_letters: list[Row] = []
        self._deaths: list[Row] = []
        self._watermark: list[Row] = []

    def append(self, events: Sequence[Append], *, at_ms: int) -> list[int]:
        """Append in this order; the offsets they got."""
        first = self._offset + 1
        for offset, (session_id, event_id, value) in enumerate(events, first):
            known = self._known.get(session_id) or self._find(session_id)
            key = key_of(session_id, event_id)
            self._events.append((offset, known.number, known.last_event, key, at_ms, value))
            known.last_event = offset
            self._touched.add(session_id)
        self._offset += len(events)
        return list(range(first, self._offset + 1))

    def put_sessions(self, sessions: Sequence[SessionRow]) -> None:
        """Write each session's canonical bytes over what was there."""
        for one in sessions:
            self._values[one.session_id] = one

    def put_steps(self, steps: Sequence[StepRow], *, at_ms: int) -> None:
        """Add step records."""
        for session_id, seq, event_id, offset, value in steps:
            known = self._known.get(session_id) or self._find(session_id)
            place, key = offset, None
            if offset == 0:
                self._materialised -= 1
                place, key = self._materialised, key_of(session_id, event_id)
            self._steps.append((place, known.number, seq, key, at_ms, value))

    def put_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write each delivery over the open one of its reply id."""
        for one in deliveries:
            self._deliveries[one.reply_id] = one

    def put_lines(self, lines: Sequence[Line]) -> list[int]:
        """Add lines, numbering them; the number of each (the old one where its id was there)."""
        return [self._number(line) for line in lines]

    def _number(self, line: Line) -> int:
        known = self._known.get(line.session_id) or self._find(line.session_id)
        key = key_of(line.session_id, line.id)
        n = self._numbers.get((known.number, key))
        if n is None and known.line_count:
            old = self._writing.find(FIND_LINE, (known.number, key))
            n = old[0] if old else None
        if n is None:
            self._line += 1
            n = known.line_count + 1
            self._numbers[known.number, key] = n
            place, before = self._line, known.last_line
            self._lines.append((place, known.number, n, key, before, packed_line(line)))
            known.line_count, known.last_line = n, self._line
            self._touched.add(line.session_id)
        return n

    def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Set records aside; a letter at the same offset is written over."""
        self._dead_letters += [
            (one.offset, one.session_id, one.error, one.at_ms, one.redriven_ms, one.value)
            for one in letters
        ]

    def put_watermark(self, offset: int) -> None:
        """Everything up to `offset` is applied: a restart begins after it."""
        self._watermark = [(offset,)]

    def put_deaths(self, offset: int, event_id: str, *, deaths: int) -> None:
        """How often the process died at this event."""
        self._deaths.append((offset, event_id, deaths))

    def _find(self, session_id: str) -> _Known:
        """Look a session up, or give it a number."""
        row = self._writing.find(FIND_SESSION, (session_id,))
        if row:
            number, *ends, waits = row
            known = _Known(number, ends=tuple(ends))
            known.waits = bool(waits)
        else:
            self._session += 1
            known = _Known(self._session)
            known.stored = False
            self._touched.add(session_id)
        self._known[session_id] = known
        return known

    def write(self) -> None:
        """Make it durable, whole. Raises sqlite3.Error; then nothing of it is there."""
        statements = self._statements()
        writing = self._writing
        database = writing.database
        writing.begin()
        for statement, rows in statements:
            database.executemany(statement, rows)
        database.execute("commit")
        writing.tails = Tails(
            self._offset, self._session, self._line, self._delivery, self._materialised
        )
        for which, place in self._open_now:
            if place is None:
                writing.open.pop(which, None)
            else:
                writing.open[which] = place
        if len(self._known) > KNOWN_MAX:
            self._known.clear()

    def _statements(self) -> list[tuple[str, list[Row]]]:
        """All that is to run, in an order in which each row finds those that it points to."""
        made, changed = self._delivery_rows()
        statements: list[tuple[str, list[Row]]] = [
            *self._session_statements(),
            (INSERT_EVENT, self._events),
            (INSERT_STEP, self._steps),
            (INSERT_LINE, self._lines),
            (INSERT_DELIVERY, made),
            (UPDATE_DELIVERY, changed),
            (PUT_DEAD_LETTER, self._dead_letters),
            (PUT_DEATHS, self._deaths),
            (PUT_WATERMARK, self._watermark),
        ]
        return [(statement, rows) for statement, rows in statements if rows]

    def _delivery_rows(self) -> tuple[list[Row], list[Row]]:
        """Those that are new, and those that are open since an earlier batch."""
        made: list[Row] = []
        changed: list[Row] = []
        for one in self._deliveries.values():
            known = self._known.get(one.session_id) or self._find(one.session_id)
            key, is_open = key_of(one.session_id, one.reply_id), one.state in OPEN
            place = self._writing.open.get((known.number, key))
            if place is not None:
                changed.append((is_open, packed_delivery(one), place))
            else:
                self._delivery += 1
                place, before = self._delivery, known.last_delivery
                made.append((place, known.number, before, key, is_open, packed_delivery(one)))
                known.last_delivery = place
                self._touched.add(one.session_id)
            self._open_now.append(((known.number, key), place if is_open else None))
        return made, changed

    def _session_statements(self) -> list[tuple[str, list[Row]]]:
        new: list[Row] = []
        renewed: list[Row] = []
        moved: list[Row] = []
        begun: list[Row] = []
        ended: list[Row] = []
        for session_id, value, waits in self._values.values():
            known = self._known.get(session_id) or self._find(session_id)
            row = (*known.ends, value, known.number)
            if waits != known.waits:
                (begun if waits else ended).append((known.number,))
                known.waits = waits
            if known.stored:
                renewed.append(row)
            else:
                new.append((*row, session_id))
        for session_id in self._touched - self._values.keys():
            known = self._known[session_id]
            if known.stored:
                moved.append((*known.ends, known.number))
            else:
                new.append((*known.ends, None, known.number, session_id))
        for *_, session_id in new:
            self._known[session_id].stored = True
        # In the order of their place in the table: neighbours share a page.
        renewed.sort(key=lambda row: row[5])
        new.sort(key=lambda row: row[5])
        return [
            (INSERT_SESSION, new),
            (UPDATE_SESSION, renewed),
            (UPDATE_ENDS, moved),
            (BEGIN_WAITING, begun),
            (END_WAITING, ended),
        ]
