"""The raw limits: the disk's fdatasync, and SQLite with two commits a turn and nothing around it.

A turn is three rows: the message, committed; then the outcome and the reply, committed. With N
busy sessions (`satN`) the turns of all N share the two commits, which no system can do better on
this file; `sat1` is the plain two-commit loop. `low` takes one such turn when it is due.
WAL, `synchronous=FULL`. Needs no environment of its own; run by `bench.peers.run_peer`.
"""

import os
import sqlite3
import sys
import time

from bench.load import LOW_RATE, REPLY, Meter, Result, closed_sessions, fresh, open_threads, text
from bench.peers.adapter import show

FSYNCS = 2_000
INSERT = "insert into event (session, kind, body) values (?, ?, ?)"


def open_database() -> sqlite3.Connection:
    """Return an empty database, as durable as the contestants' are."""
    path = fresh("raw") / "raw.db"
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table event (seq integer primary key, session, kind, body)")
    return database


def take_turns(database: sqlite3.Connection, sessions: int, *, number: int) -> None:
    """Take one turn of each session, in two commits."""
    said = text(number)
    database.execute("begin immediate")
    database.executemany(INSERT, ((f"s{k}", "message", said) for k in range(sessions)))
    database.execute("commit")
    kinds = ("outcome", "reply")
    database.execute("begin immediate")
    database.executemany(
        INSERT, ((f"s{k}", kind, REPLY) for k in range(sessions) for kind in kinds)
    )
    database.execute("commit")


def closed(database: sqlite3.Connection, *, sessions: int, seconds: float) -> list[float]:
    """Return the latencies of all turns; those of one commit have the same."""
    end = time.perf_counter() + seconds
    latencies: list[float] = []
    number = 0
    while (begun := time.perf_counter()) < end:
        take_turns(database, sessions, number=number)
        latencies += [time.perf_counter() - begun] * sessions
        number += 1
    return latencies


def fsync() -> list[float]:
    """Return the times of `FSYNCS` overwrites of 4 KiB in place, each with its fdatasync."""
    file = os.open(fresh("raw") / "raw.bin", os.O_CREAT | os.O_WRONLY)
    os.write(file, bytes(65_536))
    os.fsync(file)
    times = []
    for n in range(FSYNCS):
        begun = time.perf_counter()
        os.pwrite(file, b"y" * 4_096, n % 16 * 4_096)
        os.fdatasync(file)
        times.append(time.perf_counter() - begun)
    os.close(file)
    return times


def measure(what: str, *, seconds: float) -> Result:
    """Measure one load, or "fsync", whose "turns" are fdatasync calls."""
    database, meter = open_database(), Meter()
    meter.start()
    if what == "fsync":
        latencies = fsync()
    elif (sessions := closed_sessions(what)) is not None:
        latencies = closed(database, sessions=sessions, seconds=seconds)
    else:
        latencies = open_threads(
            lambda session, number: take_turns(database, 1, number=number),
            rate=LOW_RATE,
            seconds=seconds,
            threads=1,
        )
    result = meter.stop(peer="raw", what=what, latencies_s=latencies)
    database.close()
    return result


if __name__ == "__main__":
    for load in sys.argv[2:]:
        show(measure(load, seconds=float(sys.argv[1])))
