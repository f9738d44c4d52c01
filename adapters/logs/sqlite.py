"""The log in one SQLite file: events, sessions, steps, deliveries and the outbox.

Place in the data path: the embedded host's log of record. One batch is one SQLite transaction and
one fsync (write-ahead log, `synchronous=FULL`): what was acknowledged survives a kill at any point.
The tables and the reasons for them are in `sqlite_schema`, the writing in `sqlite_batch`.

Threads: batches, `claim` and `close` belong to one thread at a time, any thread. Reads may come
from any thread, at any time, side by side; they see what is committed.

What it never does: look into a record, or scan when it opens.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.logs.sqlite_batch import SqliteBatch, Writing
from adapters.logs.sqlite_lock import FileLock
from adapters.logs.sqlite_rows import (
    Row,
    dead_letter_of,
    delivery_of,
    key_of,
    line_of,
    record_of,
    step_of,
)
from adapters.logs.sqlite_schema import (
    MARK_LINES,
    as_engine_error,
    open_reader,
    open_writer,
)
from engine.errors import Conflict, Refused
from engine.ids import session_of
from engine.ports import DeadLetter, Delivery, Line, LogRecord, Owner, SessionRow, StepRow

__all__ = ["SqliteLog"]

_RECORDS = "select offset, id, event.value, appended_ms from event join session using (session)"
_DELIVERIES = "select id, key, delivery.value from delivery join session using (session)"
_CHAIN = """
with recursive chain (offset) as (
    select last_event from session where id = ?1
    union all
    select previous from chain cross join event using (offset)
)
"""
_DELIVERIES_OF = """
with recursive chain (place) as (
    select last_delivery from session where id = ?1
    union all
    select previous from chain cross join delivery using (place)
)
select ?1, key, value from chain cross join delivery using (place)
"""
_CHAINED = f"{_CHAIN} select offset, ?1, value, appended_ms from chain join event using (offset)"
_MATERIALISED = "place < 0 and session = (select session from session where id = ?1)"
# The walk ends at the first step that is not asked for, so that the newest are found at once.
_STEPS = f"""
with recursive chain (offset) as (
    select last_event from session where id = ?1
    union all
    select previous from chain cross join event using (offset) left join step on place = offset
    where seq > ?2 or seq is null
)
select place, seq, event.key, step.value, stepped_ms
from chain cross join step on place = offset cross join event using (offset) where seq > ?2
union all
select place, seq, key, value, stepped_ms from step where {_MATERIALISED} and seq > ?2
order by seq limit ?3
"""
_STEP_OF = f"""{_CHAIN}
select place, seq, event.key, step.value
from chain cross join event using (offset) cross join step on place = offset
where event.key = ?2
union all
select place, seq, key, value from step where {_MATERIALISED} and key = ?2
order by seq limit 1
"""
# A walk back from the first mark (`sqlite_schema`) behind the page, or from the newest line.
_LINES = f"""
with recursive newer (place) as (
    select ifnull(
        (
            select place from line
            where session = one.session and n >= ?2 + ?3 and n % {MARK_LINES} = 0
            order by n limit 1
        ),
        last_line
    ) from session as one where id = ?1
    union all
    select previous from newer cross join line using (place) where n > ?2 + 1
)
select n, key, value from newer cross join line using (place)
where n > ?2 order by n limit ?3
"""
_LINE_OF = """
select 1 from session cross join line using (session) where id = ? and line.key = ?
"""

ROWS_AT_A_TIME = 256


class SqliteLog:
    """Log, SessionStore and Deliveries of engine.ports over the file at `path`, and more reads.

    The file is made where there is none; its directory must exist. `read_only` opens what is there
    beside a running writer of any process: `claim` and `transaction` then raise Refused.

    Raises: Refused (in use by another process, read-only, no log, a newer schema), Unavailable (no
    space to make it).
    """

    partitions = 1

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._busy = threading.Lock()
        self._lock: FileLock | None = None
        self._writing: Writing | None = None
        if read_only:
            self._readers.append(open_reader(path))
            return
        self._lock = FileLock(path)
        try:
            self._writing = Writing(open_writer(path))
        except BaseException:
            self._lock.release()
            raise
        self._token = self._one("select token from partition where partition = 0")

    # ---- writing ---------------------------------------------------------------------------------

    def claim(self, partition: int) -> Owner:
        """Become the owner: every older owner's transactions raise Conflict from now on."""
        database = self._writer(partition).database
        try:
            if database.in_transaction:  # an older owner's batch, which must end in a Conflict
                database.rollback()
            database.execute("update partition set token = token + 1 where partition = 0")
        except sqlite3.Error as error:
            raise as_engine_error(error, self.path) from error
        self._token += 1
        return Owner(partition, self._token)

    @contextmanager
    def transaction(self, owner: Owner) -> Iterator[SqliteBatch]:
        """Collect a batch; it is written, durably and whole, where the block ends without an error.

        Raises: Conflict (at either end of the block), Unavailable (nothing of it was written).
        """
        writing = self._writer(owner.partition)
        self._check(owner)
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("one batch at a time: another one is open")
        try:
            batch = SqliteBatch(writing)
            yield batch
            self._check(owner)
            batch.write()
        except BaseException as error:
            writing.known.clear()
            if writing.database.in_transaction:
                writing.database.rollback()
            if isinstance(error, sqlite3.Error):
                raise as_engine_error(error, self.path) from error
            raise
        finally:
            self._busy.release()

    def close(self) -> None:
        """Bring all into the one file, and let the next process in. A second time is no error."""
        while self._readers:
            self._readers.pop().close()
        if self._writing is not None:
            # A full disk leaves the write-ahead log beside the file; the next start reads it.
            with suppress(sqlite3.Error):
                self._writing.database.execute("pragma wal_checkpoint(truncate)")
            self._writing.database.close()
            self._writing = None
        if self._lock is not None:
            self._lock.release()

    def _writer(self, partition: int) -> Writing:
        self._own(partition)
        if self._writing is None:
            raise Refused(f"{self.path} is open for reading only, or closed")
        return self._writing

    def _own(self, partition: int) -> None:
        if partition != 0:
            raise Refused(f"there is no partition {partition}: this log has one, 0")

    def _check(self, owner: Owner) -> None:
        # Only this process can claim (the file lock), so what it remembers is what the file says.
        if owner.token != self._token:
            raise Conflict(f"owner {owner.token} is not the newest, {self._token}")

    # ---- the ports' reads ------------------------------------------------------------------------

    def read(self, partition: int, *, after: int, limit: int) -> list[LogRecord]:
        """Committed records after an offset, in order."""
        self._own(partition)
        rows = self._all(f"{_RECORDS} where offset > ? order by offset limit ?", after, limit)
        return [record_of(row) for row in rows]

    def watermark(self, partition: int) -> int:
        """The last offset applied; 0 at the beginning."""
        self._own(partition)
        return self._one("select watermark from partition where partition = 0")

    def head(self, partition: int) -> int:
        """The offset of the last committed record; 0 when empty."""
        self._own(partition)
        return self._one("select ifnull(max(offset), 0) from event")

    def get(self, session_id: str) -> bytes | None:
        """The last committed bytes, or None."""
        rows = self._all("select value from session where id = ?", session_id)
        return rows[0][0] if rows else None

    def delivery(self, reply_id: str) -> Delivery | None:
        """One delivery by its reply."""
        session_id = session_of(reply_id)
        rows = self._all(
            f"{_DELIVERIES_OF} where key = ?2 limit 1", session_id, key_of(session_id, reply_id)
        )
        return delivery_of(rows[0]) if rows else None

    def undelivered(self) -> list[Delivery]:
        """All that are queued or sending, in the order in which they were first put."""
        rows = self._all(
            f"{_DELIVERIES} where place in (select place from delivery where open = 1) "
            "order by place"
        )
        return [delivery_of(row) for row in rows]

    def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """The session's lines with n > after, in order."""
        rows = self._all(_LINES, session_id, max(after, 0), limit)
        return [line_of(session_id, row) for row in rows]

    def has_line(self, session_id: str, line_id: str) -> bool:
        """Whether the session has a line of this id; costs the same however many there are."""
        key = key_of(session_id, line_id)
        return bool(self._all(_LINE_OF, session_id, key))

    # ---- reads for recovery and for people -------------------------------------------------------

    def session_count(self) -> int:
        """How many sessions there are; they are numbered from 1, without gaps."""
        return self._one("select max(session) from session")

    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Sessions whose id is greater than `after`, in the order of their ids."""
        return self._all(
            "select id, value from session where id > ? and value is not null order by id limit ?",
            after,
            limit,
        )

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]:
        """The session's step records with seq > after_seq, in order of seq."""
        return [
            step_of(session_id, row[:4]) for row in self._all(_STEPS, session_id, after_seq, limit)
        ]

    def step_times(self, session_id: str, *, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """Seq and time (when it was stepped) of what `steps` gives for the same arguments."""
        return [(row[1], row[4]) for row in self._all(_STEPS, session_id, after_seq, limit)]

    def history(self, session_id: str) -> list[LogRecord]:
        """All records of one session, in order; "" gives the control records."""
        return [record_of(row) for row in self._all(f"{_CHAINED} order by offset", session_id)]

    def find_event(self, event_id: str) -> LogRecord | None:
        """The record of an event, or None; the first where it was appended more than once."""
        session_id = session_of(event_id)
        rows = self._all(
            f"{_CHAINED} where key = ?2 order by offset limit 1",
            session_id,
            key_of(session_id, event_id),
        )
        return record_of(rows[0]) if rows else None

    def step_of(self, event_id: str) -> StepRow | None:
        """The step record of an event (a materialised one too), or None; the first of several."""
        session_id = session_of(event_id)
        rows = self._all(_STEP_OF, session_id, key_of(session_id, event_id))
        return step_of(session_id, rows[0]) if rows else None

    def dead_letters(self) -> list[DeadLetter]:
        """All records set aside, by offset."""
        return [
            dead_letter_of(row) for row in self._all("select * from dead_letter order by offset")
        ]

    def deaths(self) -> list[tuple[int, str, int]]:
        """Offset (at the last death), event id and count of each event where the process died."""
        return self._all("select offset, event_id, deaths from death order by offset, event_id")

    def waiting(self) -> Iterator[SessionRow]:
        """Each session that has something pending.

        Read some at a time: all of them would be a good part of the file.
        """
        query = "select id, value from waiting cross join session using (session)"
        reader = open_reader(self.path)
        try:
            found = reader.execute(query)
            while rows := found.fetchmany(ROWS_AT_A_TIME):
                yield from (SessionRow(session_id, value, True) for session_id, value in rows)
        except sqlite3.Error as error:
            raise as_engine_error(error, self.path) from error
        finally:
            reader.close()

    def last_control(self, *, up_to: int) -> LogRecord | None:
        """The last control record at or before this offset."""
        rows = self._all(f"{_CHAINED} where offset <= ?2 order by offset desc limit 1", "", up_to)
        return record_of(rows[0]) if rows else None

    def deliveries_of(self, session_id: str) -> list[Delivery]:
        """All deliveries of a session, in the order in which they were first put."""
        rows = self._all(f"{_DELIVERIES_OF} order by place", session_id)
        return [delivery_of(row) for row in rows]

    def _one(self, query: str) -> int:
        value: int = self._all(query)[0][0]
        return value

    def _all(self, query: str, *values: int | str | bytes) -> list[Row]:
        """Run a query on a connection that no other reader has just now."""
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = open_reader(self.path)
        try:
            return reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise as_engine_error(error, self.path) from error
        finally:
            self._readers.append(reader)
