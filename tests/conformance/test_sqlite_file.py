"""The SQLite log and its file: who may open it, what a kill leaves, what a full disk does."""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.logs.memory import MemoryLog
from adapters.logs.sqlite import SqliteLog
from adapters.logs.sqlite_schema import APPLICATION_ID, SCHEMA_VERSION
from engine.errors import Refused
from engine.ports import SessionRow
from testkit.conformance.storage import (
    A,
    B,
    a_delivery,
    a_line,
    all_of,
    an_event,
    write_everything,
)
from tests.conformance.test_both_logs import one_by_one
from tests.conformance.writer import EVENTS_IN_A_BATCH, batches

ROOT = Path(__file__).parents[2]


def writer(path: Path, *what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.conformance.writer", str(path), *what]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def acknowledging(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A writer that has acknowledged its first batch."""
    process = writer(path, "acknowledge")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.communicate()


def test_nobody_but_its_owner_may_read_a_log_or_what_stands_beside_it(path: Path) -> None:
    before = os.umask(0)  # as on a machine where files are for everybody
    try:
        log = SqliteLog(path)
        write_everything(log, log.claim(0), n=1)
        reader = SqliteLog(path, read_only=True)
        files = sorted(path.parent.iterdir())
        names = [file.name.removeprefix(path.name) for file in files]
        assert names == ["", "-shm", "-wal", ".lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        reader.close()
        log.close()
    finally:
        os.umask(before)


def test_a_log_that_its_owner_lets_others_read_stays_so(path: Path) -> None:
    SqliteLog(path).close()
    path.chmod(0o640)
    SqliteLog(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_log_is_the_same_after_it_was_closed_and_opened_again(path: Path) -> None:
    log = SqliteLog(path)
    owner = log.claim(0)
    for n in range(1, 4):
        write_everything(log, owner, n=n)
    before = all_of(log)
    log.close()
    log.close()
    assert not Path(f"{path}-wal").exists()
    log = SqliteLog(path)
    assert all_of(log) == before
    assert log.claim(0).token > owner.token
    write_everything(log, log.claim(0), n=4)
    assert [one.n for one in log.lines(A, after=2, limit=9)] == [3, 4]
    log.close()


def test_a_second_process_is_refused_and_told_who_has_the_file(
    path: Path, acknowledging: subprocess.Popen[str]
) -> None:
    with pytest.raises(Refused) as caught:
        SqliteLog(path)
    assert str(path) in str(caught.value)
    assert f"pid {acknowledging.pid}" in str(caught.value)


def test_a_second_opening_in_one_process_is_refused(path: Path) -> None:
    log = SqliteLog(path)
    with pytest.raises(Refused, match="this process"):
        SqliteLog(path)
    write_everything(log, log.claim(0), n=1)
    log.close()
    SqliteLog(path).close()


def test_a_reader_sees_what_another_process_has_committed(
    path: Path, acknowledging: subprocess.Popen[str]
) -> None:
    log = SqliteLog(path, read_only=True)
    seen = len(log.lines(A, after=0, limit=10**6))
    assert seen >= EVENTS_IN_A_BATCH
    assert seen % EVENTS_IN_A_BATCH == 0
    with pytest.raises(Refused, match="reading only"):
        log.claim(0)
    log.close()


def test_a_reader_opens_a_file_that_nobody_has_open(path: Path) -> None:
    with pytest.raises(Refused, match="does not exist"):
        SqliteLog(path, read_only=True)
    assert not path.exists()
    SqliteLog(path).close()
    log = SqliteLog(path, read_only=True)
    assert log.head(0) == 0
    log.close()


def test_kills_at_random_instants_lose_nothing_acknowledged_and_show_nothing_half(
    path: Path,
) -> None:
    chance = random.Random(7)
    for _ in range(5):
        process = writer(path, "acknowledge")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        acknowledged = process.communicate()[0].splitlines()
        log = SqliteLog(path)  # no stale lock
        last = batches(log)
        log.close()
        if acknowledged:
            assert last - int(acknowledged[-1]) in (0, 1)


@pytest.mark.parametrize("statement", ["insert into event", "insert into line", "commit"])
def test_a_kill_in_the_middle_of_a_transaction_leaves_nothing_of_it(
    path: Path, statement: str
) -> None:
    process = writer(path, "die", statement)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    log = SqliteLog(path)
    assert batches(log) == 1
    log.close()


def test_no_space_left_is_unavailable_and_writing_goes_on_when_there_is_some(path: Path) -> None:
    process = writer(path, "starve")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "nothing was written" in said
    assert "works again after" in said
    log = SqliteLog(path)
    assert batches(log) > 1
    log.close()


@pytest.mark.parametrize("junk", [b"this is no database\n" * 100, os.urandom(8192)])
def test_a_junk_file_is_refused_and_left_as_it_is(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)
    for read_only in (False, True):
        with pytest.raises(Refused, match="no log file"):
            SqliteLog(path, read_only=read_only)
    assert path.read_bytes() == junk


def test_a_database_of_something_else_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("create table theirs (x)")
    other.close()
    with pytest.raises(Refused, match="something else"):
        SqliteLog(path)


def test_a_truncated_file_is_refused_or_its_loss_is_said(path: Path) -> None:
    log = SqliteLog(path)
    write_everything(log, log.claim(0), n=1)
    log.close()
    os.truncate(path, 5_000)
    with pytest.raises(Refused, match="damaged"):
        SqliteLog(path)


def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    SqliteLog(path).close()
    database = sqlite3.connect(path)
    database.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
    database.close()
    for read_only in (False, True):
        with pytest.raises(Refused, match=f"version {SCHEMA_VERSION + 1} .* {SCHEMA_VERSION}:"):
            SqliteLog(path, read_only=read_only)


def test_a_log_of_schema_1_is_brought_up_to_date_and_loses_nothing(path: Path) -> None:
    _make_schema_1(path)
    with pytest.raises(Refused, match=r"schema version 1 .* brings it up to date"):
        SqliteLog(path, read_only=True)
    expected = MemoryLog()
    owner = expected.claim(0)
    for n in (1, 2):
        write_everything(expected, owner, n=n)
    sent, closed = a_delivery(A, 1, state="sent"), a_delivery(B, 2, state="closed")
    with expected.transaction(owner) as batch:
        batch.append([an_event(B, 1)], at_ms=5)
        batch.put_sessions([SessionRow(B, b"bee")])
        batch.put_deliveries([a_delivery(A, 1), a_delivery(A, 2)])
        batch.put_deliveries([a_delivery(B, 1, state="sending"), closed, a_delivery(A, 3), sent])
    log = SqliteLog(path)
    assert all_of(log) == all_of(expected)
    assert one_by_one(log) == one_by_one(expected)
    for each in (log, expected):  # what was open in the old file still is, and is ended once
        with each.transaction(each.claim(0)) as batch:
            batch.put_deliveries([a_delivery(B, 1, state="sent"), a_delivery(B, 4)])
            batch.put_sessions([SessionRow(A, b"waits no more")])
    assert all_of(log) == all_of(expected)
    log.close()
    SqliteLog(path, read_only=True).close()


def _make_schema_1(path: Path) -> None:
    """What release 0.1's first tree wrote, as `sqlite3.Connection.iterdump` shows it."""
    database = sqlite3.connect(path)
    database.executescript((Path(__file__).parent / "log_schema_1.sql").read_text())
    database.execute(f"pragma application_id = {APPLICATION_ID}")
    database.execute("pragma user_version = 1")
    database.close()


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="must exist"):
        SqliteLog(tmp_path / "nowhere" / "log.db")


def _open_as_nobody(path: Path, tell: "multiprocessing.connection.Connection[str, str]") -> None:
    if os.geteuid() == 0:  # permissions do not bind root
        os.setuid(65_534)
    try:
        SqliteLog(path)
        tell.send("opened")
    except Refused as error:
        tell.send(f"refused: {error}")


@pytest.mark.parametrize(("directory_mode", "file_mode"), [(0o555, 0o644), (0o777, 0o444)])
def test_what_may_not_be_written_is_refused(directory_mode: int, file_mode: int) -> None:
    directory = Path(tempfile.mkdtemp())
    path = directory / "log.db"
    try:
        SqliteLog(path).close()
        Path(f"{path}.lock").unlink()
        path.chmod(file_mode)
        directory.chmod(directory_mode)
        answer, tell = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=_open_as_nobody, args=(path, tell))
        process.start()
        process.join()
        assert answer.recv().startswith("refused:")
    finally:
        directory.chmod(0o755)
        shutil.rmtree(directory)


def test_readers_in_other_threads_see_whole_batches_while_one_writes(path: Path) -> None:
    log = SqliteLog(path)
    done = threading.Event()

    def look() -> int:
        looks = 0
        while not done.is_set() or not looks:
            lines = log.lines(A, after=0, limit=1_000)
            assert len(lines) % 2 == 0
            looks += 1
        return looks

    with ThreadPoolExecutor(3) as pool:
        looking = [pool.submit(look) for _ in range(3)]
        owner = log.claim(0)
        try:
            for n in range(40):
                with log.transaction(owner) as batch:
                    batch.append([an_event(A, n)], at_ms=n)
                    batch.put_lines([a_line(A, f"{n}a"), a_line(A, f"{n}b")])
        finally:
            done.set()
        assert all(one.result() for one in looking)
    assert len(log.lines(A, after=0, limit=1_000)) == 80
    log.close()


def test_a_second_batch_inside_one_is_a_mistake(path: Path) -> None:
    log = SqliteLog(path)
    owner = log.claim(0)
    with (
        pytest.raises(RuntimeError, match="one batch at a time"),
        log.transaction(owner),
        log.transaction(owner),
    ):
        pass
    write_everything(log, owner, n=1)
    log.close()


def test_the_write_ahead_log_is_emptied_again_and_again(path: Path) -> None:
    log = SqliteLog(path)
    assert log._writing is not None
    log._writing.database.execute("pragma wal_autocheckpoint = 20")
    owner = log.claim(0)
    for n in range(1, 60):
        write_everything(log, owner, n=n)
    assert Path(f"{path}-wal").stat().st_size < 1_000_000
    log.close()
