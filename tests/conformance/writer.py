"""A process that writes to a log file, to be killed or starved by the tests.

python -m tests.conformance.writer PATH acknowledge          batches, each acknowledged on stdout
python -m tests.conformance.writer PATH die STATEMENT        one batch, then SIGKILL in the next
python -m tests.conformance.writer PATH starve               until the file may grow no more
"""

import os
import resource
import signal
import sys
from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from engine.errors import Unavailable
from engine.ports import Owner, SessionRow
from testkit.conformance.storage import A, a_line, a_step, all_of, an_event

EVENTS_IN_A_BATCH = 40


def write(log: SqliteLog, owner: Owner, n: int) -> None:
    """Batch `n` (from 1): 40 events of 2 KB, their steps and lines, and the session."""
    numbers = range((n - 1) * EVENTS_IN_A_BATCH, n * EVENTS_IN_A_BATCH)
    with log.transaction(owner) as batch:
        events = [an_event(A, k)._replace(value=b"v" * 2_000) for k in numbers]
        offsets = batch.append(events, at_ms=n)
        steps = [a_step(A, k, seq=k + 1, offset=at) for k, at in zip(numbers, offsets, strict=True)]
        batch.put_steps(steps, at_ms=n)
        batch.put_lines([a_line(A, f"m{k}") for k in numbers])
        batch.put_sessions([SessionRow(A, b"%d" % n)])
        batch.put_watermark(offsets[-1])


def batches(log: SqliteLog) -> int:
    """How many whole batches there are; an AssertionError where one is there in part."""
    last = int(log.get(A) or 0)
    events = last * EVENTS_IN_A_BATCH
    counts = (
        len(log.read(0, after=0, limit=10**6)),
        len(log.history(A)),
        len(log.steps(A, after_seq=0, limit=10**6)),
        len(log.lines(A, after=0, limit=10**6)),
        log.watermark(0),
        log.head(0),
    )
    assert counts == (events,) * 6, (last, counts)
    return last


def acknowledge(log: SqliteLog, owner: Owner) -> None:
    for n in range(batches(log) + 1, 10**6):
        write(log, owner, n)
        print(n, flush=True)


def die(log: SqliteLog, owner: Owner, statement: str) -> None:
    write(log, owner, 1)

    def kill(sql: str) -> None:
        if sql.startswith(statement):
            os.kill(os.getpid(), signal.SIGKILL)

    assert log._writing is not None
    log._writing.database.set_trace_callback(kill)
    write(log, owner, 2)


def starve(log: SqliteLog, owner: Owner) -> None:
    """Let no file grow beyond a megabyte, write until that is felt, then lift it and go on."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
    written = 0
    try:
        while True:
            write(log, owner, written + 1)
            written += 1
    except Unavailable as error:
        print(error)
    assert written == batches(log)
    before = all_of(log)
    try:
        write(log, owner, written + 1)
    except Unavailable:
        assert all_of(log) == before
    else:
        raise AssertionError("there was no space, and yet it was written")
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    write(log, owner, written + 1)
    assert batches(log) == written + 1
    print("works again after", written)
    log.close()


def main() -> None:
    path, what, *rest = sys.argv[1:]
    log = SqliteLog(Path(path))
    {"acknowledge": acknowledge, "die": die, "starve": starve}[what](log, log.claim(0), *rest)


if __name__ == "__main__":
    main()
