"""The tables of a log file, and how one is opened.

Place in the data path: used by `adapters.logs.sqlite` only. What it never does: look at the rows.
Opening costs the same whatever the file holds.

Where the bytes go, and why:
- A session's id is stored once, in `session`, and is `session` (its number) everywhere else. The
  control records' session is the empty id.
- `key` is an id without its session: 16 bytes where it is `<session id>/<32 hex>`, else as it is.
- What grows is inserted in order of its integer key, so that a batch fills whole pages; the index
  of lines begins with the session, so that what one session writes lands on one page of it.
- A column costs a third of a microsecond in each row written: what no query asks for is packed
  into `value`. Those of events, steps and sessions are the canonical bytes, as they came.
- A session's events are chained, and so are its lines and deliveries: `session` knows the newest,
  `previous` the one before. An index would write one more page for each session in a batch; the
  session's own row is written anyway. A history is a walk of as many rows; to find one event of a
  session with 20 000 takes some 30 ms, which only a person with a question does.
- A delivery changes only while it is open, and the writer remembers where those are: no index.
- Which sessions wait is in `waiting`; for what and until when is in their own bytes. It is written
  when that begins or ends, not at each step.
- Lines are read by every page that opens: each `MARK_LINES`-th is in an index, and a walk begins at
  the mark behind what is asked for. That is an index at a 64th of what writing it would cost.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from engine.errors import Refused, Unavailable

SCHEMA_VERSION = 2
APPLICATION_ID = 0x41_41_4C_31  # "AAL1": tells our file from any other SQLite database

PAGE_BYTES = 8192
"""Also SQLite's default. 8 KiB was measured: as dear in batches of 256, dearer in small ones, where
most pages are written for one row."""

WAL_BYTES = 32 * 1024 * 1024
"""Checkpoint beyond this: rare enough that hot pages are copied once for many commits, small enough
to be read again in a tenth of a second after a crash."""

CACHE_KIB = 16 * 1024
"""The writer's pages in memory: the tails of the tables, and the sessions that are busy."""

MARK_LINES = 64
"""A read walks at most this many lines too far, at some 2 microseconds each."""

TABLES = f"""
create table partition (
    partition integer primary key, token integer not null, watermark integer not null
);
create table session (
    session integer primary key,
    id text not null unique,
    line_count integer not null default 0,
    last_line integer not null default 0,
    last_event integer not null default 0,
    value blob,
    last_delivery integer not null default 0
);
create table event (
    offset integer primary key,
    session integer not null,
    previous integer not null,
    key not null,
    appended_ms integer not null,
    value blob not null
);
create table step (
    place integer primary key, -- the offset of its event; below 0 for materialised ones
    session integer not null,
    seq integer not null,
    key, -- of a materialised event: the others' is in `event`
    stepped_ms integer not null,
    value blob not null
);
create index step_materialised on step (session) where place < 0;
create table delivery (
    place integer primary key,
    session integer not null,
    key not null,
    open integer not null, -- 1 while it is queued or sending
    value blob not null,
    previous integer not null default 0
);
create index delivery_open on delivery (place) where open = 1;
create table line (
    place integer primary key,
    session integer not null,
    n integer not null,
    key not null,
    previous integer not null,
    value blob not null
);
create unique index line_of_session on line (session, key);
create index line_mark on line (session, n) where n % {MARK_LINES} = 0;
create table dead_letter (
    offset integer primary key,
    session_id text not null,
    error text not null,
    at_ms integer not null,
    redriven_ms integer,
    value blob not null
);
create table waiting (session integer primary key);
create table death (event_id text primary key, offset integer not null, deaths integer not null);
insert into partition values (0, 0, 0);
insert into session (session, id) values (0, '');
"""

FROM_1_TO_2 = """
alter table session add column last_delivery integer not null default 0;
alter table delivery add column previous integer not null default 0;
update delivery set previous = chained.before from (
    select place as here, lag(place, 1, 0) over (partition by session order by place) as before
    from delivery
) as chained where place = chained.here;
update session set last_delivery = newest.place from (
    select session as of_session, max(place) as place from delivery group by session
) as newest where session = newest.of_session;
drop index delivery_of_session;
create table waiting (session integer primary key);
insert into waiting select session from deadline;
drop table deadline;
"""

_NO_SPACE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY}


def as_engine_error(error: sqlite3.Error, path: Path) -> Refused | Unavailable:
    """What a storage error means to a host; the low byte is SQLite's primary code."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _NO_SPACE:
        return Unavailable(f"{path}: nothing was written: {error}; is the disk full?")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Refused(f"{path} is no log file, or damaged: {error}; restore it or move it away")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Refused(f"{path} cannot be opened or written: {error}; check owner and permissions")
    return Refused(f"{path}: {error}")


def open_writer(path: Path) -> sqlite3.Connection:
    """Open for writing; make the file and its tables where there is none.

    It is its owner's alone (0600), and so are the files that SQLite makes beside it.
    Raises: Refused (no log, read-only, newer schema), Unavailable (no space to make it).
    """
    _make_private(path)
    database = _opened(path, "rwc", _prepare)
    database.execute(f"pragma wal_autocheckpoint = {WAL_BYTES // PAGE_BYTES}")
    database.execute(f"pragma cache_size = -{CACHE_KIB}")
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Open for reading: committed rows only, beside a writer of any process.

    Raises: Refused.
    """
    if not path.is_file():
        raise Refused(f"{path} does not exist: run the assistant once to make it")
    try:
        return _opened(path, "ro", _check_newest)
    except Refused:
        # A directory that cannot be written has no place for the file that readers share. With no
        # write-ahead log left the file is complete, and nobody can be changing it.
        if Path(f"{path}-wal").exists():
            raise
        return _opened(path, "ro&immutable=1", _check_newest)


def _make_private(path: Path) -> None:
    """Make the empty file, where there is none: SQLite would let everybody read it.

    A file that is there keeps what its owner chose. SQLite gives its log and its shared memory the
    mode of the file itself.
    """
    with suppress(OSError):  # it is there, or cannot be made: then SQLite says it better
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _opened(
    path: Path, mode: str, prepare: Callable[[sqlite3.Connection, Path], None]
) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
    except sqlite3.Error as error:
        raise as_engine_error(error, path) from error
    try:
        prepare(database, path)
    except sqlite3.Error as error:
        database.close()
        raise as_engine_error(error, path) from error
    except Refused:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    if _is_empty(database):
        database.execute(f"pragma page_size = {PAGE_BYTES}")
    else:
        _check_version(database, path)
    mode = database.execute("pragma journal_mode = wal").fetchone()[0]
    if mode != "wal":
        raise Refused(f"{path} cannot keep a write-ahead log here ({mode}): use a local disk")
    database.execute("pragma synchronous = full")
    if _is_empty(database):
        database.executescript(
            f"begin immediate; {TABLES} pragma application_id = {APPLICATION_ID};"
            f"pragma user_version = {SCHEMA_VERSION}; commit;"
        )
    elif database.execute("pragma user_version").fetchone()[0] == 1:
        database.executescript(f"begin immediate; {FROM_1_TO_2} pragma user_version = 2; commit;")
    # A read-only file opens without an error; only a write finds out.
    database.execute("begin immediate")
    database.execute("update partition set token = token where partition = 0")
    database.execute("rollback")


def _is_empty(database: sqlite3.Connection) -> bool:
    with closing(database.execute("select count(*) from sqlite_master")) as rows:
        return bool(rows.fetchone()[0] == 0)


def _check_newest(database: sqlite3.Connection, path: Path) -> None:
    _check_version(database, path)
    version = database.execute("pragma user_version").fetchone()[0]
    if version < SCHEMA_VERSION:
        raise Refused(
            f"{path} has schema version {version} and this release reads {SCHEMA_VERSION}: "
            "`ai-assistant run` brings it up to date when it starts"
        )


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    application = database.execute("pragma application_id").fetchone()[0]
    version = database.execute("pragma user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise Refused(f"{path} is a database of something else: choose another data directory")
    if version > SCHEMA_VERSION:
        raise Refused(
            f"{path} has schema version {version} and this release knows {SCHEMA_VERSION}: "
            "install the release that wrote it, or a newer one"
        )
