"""Log files that older releases made: they are read and written as those of today."""

import sqlite3
from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from adapters.logs.sqlite_schema import MARK_LINES
from testkit.conformance.storage import A, B, a_line


def test_a_file_from_before_lines_were_marked_reads_and_grows_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    said = 3 * MARK_LINES + 5

    def say(log: SqliteLog, first: int, last: int) -> None:
        with log.transaction(log.claim(0)) as batch:
            for n in range(first, last + 1):
                batch.put_lines([a_line(B, f"other{n}"), a_line(A, f"m{n}")])

    log = SqliteLog(path)
    say(log, 1, said)
    log.close()
    database = sqlite3.connect(path)
    database.execute("drop index line_mark")
    database.commit()
    database.close()
    for read_only in (True, False):
        log = SqliteLog(path, read_only=read_only)
        for after in (0, 1, MARK_LINES - 1, MARK_LINES, MARK_LINES + 1, said - 1, said, said + 1):
            for limit in (1, MARK_LINES, 10 * said):
                page = [(one.n, one.id) for one in log.lines(A, after=after, limit=limit)]
                last = min(said, after + limit)
                assert page == [(n, f"m{n}") for n in range(after + 1, last + 1)]
        if read_only:
            log.close()
    say(log, said + 1, said + MARK_LINES)
    assert [one.n for one in log.lines(A, after=said, limit=9)] == list(range(said + 1, said + 10))
    log.close()
