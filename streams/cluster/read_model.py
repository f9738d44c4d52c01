"""What a gateway knows of all sessions: a copy of im.outbox that can be made again at any time.

Between `streams.cluster.following`, which hands over what it fetched, and the gateway, which people
and operators ask. One SQLite file (or memory): the lines, the newest view of each session, replies
that ended, and how far each partition was read, all in one transaction for each batch, so that a
restart goes on where it was. Where the file is of another installation, another schema, or damaged,
it is made anew from the topic's start.

What it never does: hold anything that the topics do not, or let a session's oldest lines go before
younger ones: what is missing of a conversation is missing at its beginning.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord, Refused, Unavailable
from engine.ports import Line
from streams.host_state import HandedOver
from streams.topics import BY_NAME, HOUR_MS, T
from streams.wire import Said, View, shown_of

log = logging.getLogger(__name__)

SCHEMA = 1
"""Another one makes the file anew: nothing is ever converted."""

KEPT_MS = int(BY_NAME[T.OUTBOX].config["retention.ms"])
"""As long as the topic keeps it: what is older would not be there after a rebuild."""

CLOSED_KEPT_MS = 2 * HOUR_MS
"""Longer than a frame that was written before its reply ended can still be read."""

PRUNED_MAX = 1_000
"""Rows that one call of `prune` looks at, so that it takes milliseconds."""

CACHE_KIB = 64 * 1_024

_TABLES = """
create table about (installation text not null);
create table offsets (partition integer primary key, next integer not null);
create table sessions (
  key integer primary key, id text not null unique, view blob, since_ms integer, at_ms integer
);
create index handed_over on sessions (since_ms) where since_ms is not null;
create index silent on sessions (at_ms);
create table lines (
  row integer primary key, session integer not null, n integer not null, id text not null,
  at_ms integer not null, value blob not null, unique (session, n), unique (session, id)
);
create table closed (row integer primary key, reply text not null unique, at_ms integer not null);
"""
_PUT_VIEW = """insert into sessions (id, view, since_ms, at_ms) values (?, ?, ?, ?)
on conflict (id) do update set view = excluded.view, since_ms = excluded.since_ms,
at_ms = excluded.at_ms returning key"""
_PUT_SESSION = """insert into sessions (id, at_ms) values (?, ?)
on conflict (id) do update set at_ms = excluded.at_ms returning key"""
_PUT_LINE = "insert or ignore into lines (session, n, id, at_ms, value) values (?, ?, ?, ?, ?)"
_PUT_OFFSET = """insert into offsets values (?, ?)
on conflict (partition) do update set next = max(next, excluded.next)"""
_OF = "session = (select key from sessions where id = ?)"


class News(NamedTuple):
    """What a batch said, in order; of each session the newest view.

    `closed`: replies that ended, as (session, reply), with a line or without one. `unread`: records
    that could not be read.
    """

    lines: list[Line]
    views: list[View]
    closed: list[tuple[str, str]]
    unread: int


class _Session:
    """What a batch has of one session."""

    __slots__ = ("at_ms", "lines", "view", "view_value")

    def __init__(self) -> None:
        self.at_ms = 0
        self.view: View | None = None
        self.view_value = b""
        self.lines: list[tuple[Line, bytes, int]] = []


class ReadModel:
    """The read model of one process.

    `installation`: which cluster and prefix its topics have. `path` None: in memory.

    Raises: Refused where another process has the file, or it cannot be made.
    """

    def __init__(self, path: Path | None, *, installation: str) -> None:
        self._path = path
        self._installation = installation
        self._db = self._opened()

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def clear(self) -> None:
        """Forget everything: it is to be read again from the topic's start."""
        with _as_ours():
            self._make(self._db)

    # ---- in ------------------------------------------------------------------------------------

    def apply(self, records: Sequence[Fetched]) -> News:
        """Take in a fetched batch, whole or not at all. Raises Unavailable where that fails."""
        sessions, news, reached = _read(records)
        with _as_ours(), self._db as db:
            lines = []
            for session_id, found in sessions.items():
                key = _key(db, session_id, found)
                lines += [
                    (key, line.n, _short(line.id, session_id), at_ms, value)
                    for line, value, at_ms in found.lines
                ]
            db.executemany(_PUT_LINE, lines)
            # A reply with a line needs no second row to say that it ended.
            said = {line.id for line in news.lines}
            rows = [
                (reply, sessions[session_id].at_ms)
                for session_id, reply in news.closed
                if reply not in said
            ]
            db.executemany("insert or ignore into closed (reply, at_ms) values (?, ?)", rows)
            db.executemany(_PUT_OFFSET, list(reached.items()))
        return news

    def offsets(self) -> dict[int, int]:
        """The next record to read of each partition of which any was read."""
        return dict(self._rows("select partition, next from offsets"))

    def reached(self, offsets: Mapping[int, int]) -> None:
        """All before these was read: past what is no record, and no batch ever brings."""
        with _as_ours(), self._db as db:
            db.executemany(_PUT_OFFSET, list(offsets.items()))

    def prune(self, now_ms: int, *, kept_ms: int = KEPT_MS) -> int:
        """Let go a bite of what is older than its topic keeps it; how many rows that were."""
        cut_ms = now_ms - kept_ms
        oldest = "row in (select row from {0} order by row limit ?) and at_ms < ?"
        with _as_ours(), self._db as db:
            gone = 0
            for table, before_ms in (("lines", cut_ms), ("closed", now_ms - CLOSED_KEPT_MS)):
                found = db.execute(
                    f"delete from {table} where {oldest.format(table)}", (PRUNED_MAX, before_ms)
                )
                gone += found.rowcount
            silent = """delete from sessions where key in
            (select key from sessions where at_ms < ? and since_ms is null limit ?)"""
            gone += db.execute(silent, (cut_ms, PRUNED_MAX)).rowcount
        return gone

    # ---- asked ---------------------------------------------------------------------------------

    def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """The session's lines with n > after, in order."""
        found = self._rows(
            f"select value from lines where {_OF} and n > ? order by n limit ?",
            session_id,
            after,
            limit,
        )
        read = (shown_of(value) for (value,) in found)
        return [said.line for said in read if isinstance(said, Said)]

    def has_line(self, session_id: str, line_id: str) -> bool:
        """Whether the session has a line of this id."""
        short = _short(line_id, session_id)
        return bool(self._rows(f"select 1 from lines where {_OF} and id = ?", session_id, short))

    def has_ended(self, session_id: str, reply_id: str) -> bool:
        """Whether the reply has a line, or ended without one."""
        found = self._rows("select 1 from closed where reply = ?", reply_id)
        return bool(found) or self.has_line(session_id, reply_id)

    def view(self, session_id: str) -> View | None:
        """The session's newest view."""
        found = self._rows("select view from sessions where id = ?", session_id)
        return _view(found[0][0]) if found else None

    def knows(self, session_id: str) -> bool:
        """Whether anything of the session was read."""
        return bool(self._rows("select 1 from sessions where id = ?", session_id))

    def handed_over(self) -> list[HandedOver]:
        """All sessions in a person's hands, the longest waiting first."""
        found = self._rows(
            "select view from sessions where since_ms is not null order by since_ms, id"
        )
        views = (_view(value) for (value,) in found)
        return [view.handed_over for view in views if view is not None and view.handed_over]

    def count(self) -> int:
        """How many sessions there are; it looks at each."""
        found: int = self._rows("select count(*) from sessions")[0][0]
        return found

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with _as_ours():
            return self._db.execute(query, values).fetchall()

    # ---- the file ------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Refused(
                    f"{self._path} is in use by another process: give each one a data directory"
                ) from None
            raise Refused(f"{self._path} cannot be written: {error}") from None
        except sqlite3.DatabaseError as error:
            log.warning("%s is damaged (%s): it is made anew", self._path, error)
        assert self._path is not None
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path or ":memory:", timeout=0, check_same_thread=False)
        try:
            # Nobody else reads it, and two processes would each skip what the other has read.
            db.execute("pragma locking_mode = exclusive")
            db.execute("pragma journal_mode = wal")
            # What a power cut takes is read again; the file stays whole.
            db.execute("pragma synchronous = normal")
            db.execute(f"pragma cache_size = -{CACHE_KIB}")
            db.execute("begin exclusive")
            db.commit()
            (schema,) = db.execute("pragma user_version").fetchone()
            if schema != SCHEMA or self._is_another(db):
                self._make(db)
        except BaseException:
            db.close()
            raise
        return db

    def _is_another(self, db: sqlite3.Connection) -> bool:
        found = db.execute("select installation from about").fetchone()
        return found is None or found[0] != self._installation

    def _make(self, db: sqlite3.Connection) -> None:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        with db:
            db.execute("begin")
            for table in tables:
                db.execute(f"drop table {table}")
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            db.execute("insert into about values (?)", (self._installation,))
            db.execute(f"pragma user_version = {SCHEMA}")


def _read(records: Sequence[Fetched]) -> tuple[dict[str, _Session], News, dict[int, int]]:
    sessions: dict[str, _Session] = {}
    news = News([], [], [], 0)
    reached: dict[int, int] = {}
    unread = 0
    for record in records:
        reached[record.partition] = record.offset + 1
        try:
            shown = shown_of(record.value)
        except InvalidRecord as error:
            # Its person misses a line; if it held up the partition, everybody would miss theirs.
            unread += 1
            log.error("im.outbox %d:%d is left out: %s", record.partition, record.offset, error)
            continue
        session_id = shown.line.session_id if isinstance(shown, Said) else shown.session_id
        found = sessions.setdefault(session_id, _Session())
        found.at_ms = record.timestamp_ms
        value = record.value or b""
        if isinstance(shown, Said):
            found.lines.append((shown.line, value, record.timestamp_ms))
            news.lines.append(shown.line)
            if shown.line.author != "user":
                news.closed.append((session_id, shown.line.id))
        else:
            found.view, found.view_value = shown, value
            news.closed.extend((session_id, reply) for reply in shown.closed)
    news.views.extend(found.view for found in sessions.values() if found.view is not None)
    return sessions, news._replace(unread=unread), reached


def _key(db: sqlite3.Connection, session_id: str, found: _Session) -> int:
    if found.view is None:
        row = db.execute(_PUT_SESSION, (session_id, found.at_ms)).fetchone()
    else:
        over = found.view.handed_over
        since_ms = None if over is None else over.since_ms
        row = db.execute(
            _PUT_VIEW, (session_id, found.view_value, since_ms, found.at_ms)
        ).fetchone()
    key: int = row[0]
    return key


def _short(line_id: str, session_id: str) -> str:
    """A reply's id without its session's, which stands beside it: half of the index."""
    return line_id.removeprefix(session_id)


def _view(value: bytes | None) -> View | None:
    if value is None:
        return None
    shown = shown_of(value)
    return shown if isinstance(shown, View) else None


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the read model cannot be used just now: {error}") from error


def rebuild_needed(
    offsets: Mapping[int, int], *, begins: Mapping[int, int], ends: Mapping[int, int]
) -> bool:
    """Whether what was read does not go on in the topic as it is now.

    Its start has moved past it, so that lines between would be missing; or its end is before it: it
    is another topic of the same name.
    """
    return any(
        next_offset < begins.get(partition, 0) or next_offset > ends.get(partition, 0)
        for partition, next_offset in offsets.items()
    )
