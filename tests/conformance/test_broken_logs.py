"""The suites of the log's ports notice what is wrong: each test fails for a log broken there.

The logs are the one in memory with one method, of it or of its batch, that does something else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.logs import memory
from adapters.logs.memory import MemoryBatch, MemoryLog
from engine.ports import Owner
from testkit.conformance import (
    DeliveriesSuite,
    DurableLogSuite,
    LogSuite,
    SessionStoreSuite,
)
from tests.conformance.failing import fails, names_of

Method = Callable[..., Any]
Broken = dict[str, tuple[type, str, Method]]


def applied_at_once(batch: MemoryBatch, events: Any, *, at_ms: int) -> Any:
    offsets = MemoryBatch.append(batch, events, at_ms=at_ms)
    for apply in batch.todo:
        apply()
    batch.todo.clear()
    return offsets


@contextmanager
def committed_in_any_case(log: MemoryLog, owner: Owner) -> Iterator[MemoryBatch]:
    log._check(owner)
    batch = MemoryBatch(log, log.committed[0])
    try:
        yield batch
    finally:
        for apply in batch.todo:
            apply()


def counted_in_all(batch: MemoryBatch, lines: Any) -> list[int]:
    numbers = MemoryBatch.put_lines(batch, lines)
    return [number + (len(batch._log.outbox) > 1) for number in numbers]


def put_over_the_old(batch: MemoryBatch, lines: Any) -> list[int]:
    for line in lines:
        old = batch._log.outbox.get(line.session_id, [])
        old[:] = [line if one.id == line.id else one for one in old]
    return MemoryBatch.put_lines(batch, lines)


def rewritten(batch: MemoryBatch, sessions: Any) -> None:
    MemoryBatch.put_sessions(batch, sessions)
    for session in sessions:
        batch.todo.append(batch._log.outbox.get(session.session_id, []).clear)


def first_stays(batch: MemoryBatch, sessions: Any) -> None:
    for row in sessions:
        batch.todo.append(partial(batch._log.session_bytes.setdefault, row[0], row[1]))


def never_rested(batch: MemoryBatch, sessions: Any) -> None:
    MemoryBatch.put_sessions(batch, [row._replace(waits=True) for row in sessions])


def stepped_at_once(batch: MemoryBatch, steps: Any, *, at_ms: int) -> None:
    MemoryBatch.put_steps(batch, steps, at_ms=at_ms)
    batch.todo.pop()()


OWNED: Broken = {
    "nothing_of_what_was_decided_is_visible_before_its_commit": (
        MemoryBatch,
        "put_steps",
        stepped_at_once,
    ),
    "an_error_leaves_nothing_decided": (MemoryLog, "transaction", committed_in_any_case),
    "who_has_lost_the_partition_decides_nothing": (MemoryLog, "_check", lambda log, owner: None),
    "a_claim_while_something_is_decided_makes_it_a_conflict": (
        MemoryLog,
        "_check",
        lambda log, owner: None,
    ),
    "the_steps_of_a_session_come_back_by_seq_with_their_times": (
        MemoryLog,
        "steps",
        lambda log, session_id, **page: [row for row, _ in log.step_rows.get(session_id, [])],
    ),
    "the_watermark_is_the_last_one_put": (MemoryBatch, "put_watermark", lambda batch, offset: None),
    "a_dead_letter_is_written_over_at_its_offset": (
        MemoryLog,
        "dead_letters",
        lambda log: list(log.committed[0].dead_letters.values()),
    ),
}
LOG: Broken = {
    **OWNED,
    "a_session_with_records_only_is_not_there": (
        MemoryLog,
        "get",
        lambda log, session_id: b"" if log.outbox.get(session_id) else None,
    ),
    "an_empty_log_has_nothing": (MemoryLog, "head", lambda log, partition: -1),
    "records_come_back_in_order_with_growing_offsets": (
        MemoryLog,
        "read",
        lambda log, partition, **page: MemoryLog.read(log, partition, **page)[::-1],
    ),
    "a_page_begins_after_the_offset_and_ends_at_the_limit": (
        MemoryLog,
        "read",
        lambda log, partition, after, limit: log.committed[0].records[after:],
    ),
    "nothing_of_a_batch_is_visible_before_its_commit": (MemoryBatch, "append", applied_at_once),
    "an_exception_leaves_nothing_behind": (MemoryLog, "transaction", committed_in_any_case),
    "an_empty_batch_is_no_error": (
        MemoryBatch,
        "append",
        lambda batch, events, at_ms: events[0],
    ),
    "a_newer_owner_makes_the_older_one_worthless": (MemoryLog, "_check", lambda log, owner: None),
    "a_claim_during_a_batch_makes_its_commit_a_conflict": (
        MemoryLog,
        "_check",
        lambda log, owner: None,
    ),
    "a_partition_that_is_not_there_is_refused": (
        MemoryLog,
        "_partition",
        lambda log, partition: log.committed[0],
    ),
    "a_history_holds_one_session_s_records_only": (
        MemoryLog,
        "history",
        lambda log, session_id: log.committed[0].records,
    ),
    "an_event_is_found_by_its_id": (
        MemoryLog,
        "find_event",
        lambda log, event_id: {k.lower(): v for k, v in log.event_records.items()}.get(
            event_id.lower()
        ),
    ),
    "the_first_record_of_a_repeated_event_is_the_one_found": (
        MemoryLog,
        "find_event",
        lambda log, event_id: log.committed[0].records[-1],
    ),
    "steps_come_back_by_seq_with_their_times": (
        MemoryLog,
        "steps",
        lambda log, session_id, **page: [row for row, _ in log.step_rows.get(session_id, [])],
    ),
    "a_materialised_step_stands_beside_the_others": (
        MemoryBatch,
        "put_steps",
        lambda batch, steps, at_ms: MemoryBatch.put_steps(
            batch, [row for row in steps if row.offset], at_ms=at_ms
        ),
    ),
    "the_last_control_record_up_to_an_offset_is_found": (
        MemoryLog,
        "last_control",
        lambda log, up_to: MemoryLog.last_control(log, up_to=up_to - 1),
    ),
    "deaths_are_counted_by_event": (
        MemoryLog,
        "deaths",
        lambda log: MemoryLog.deaths(log)[::-1],
    ),
}
STORE: Broken = {
    "a_session_is_what_was_last_put": (MemoryBatch, "put_sessions", first_stays),
    "sessions_are_listed_by_id_page_by_page": (
        MemoryLog,
        "sessions",
        lambda log, limit, after="": list(log.session_bytes.items())[:limit],
    ),
    "what_waits_is_found_with_its_bytes": (MemoryBatch, "put_sessions", never_rested),
}
DELIVERIES: Broken = {
    "a_delivery_comes_back_as_it_was_put": (
        MemoryBatch,
        "put_deliveries",
        lambda batch, many: MemoryBatch.put_deliveries(batch, [replace(d, how="") for d in many]),
    ),
    "a_line_comes_back_as_it_was_put": (
        MemoryBatch,
        "put_lines",
        lambda batch, lines: MemoryBatch.put_lines(batch, [replace(o, how="") for o in lines]),
    ),
    "only_the_queued_and_the_sending_are_undelivered": (
        MemoryLog,
        "undelivered",
        lambda log: list(log.delivery_of.values()),
    ),
    "lines_are_numbered_without_gaps_in_each_session": (MemoryBatch, "put_lines", counted_in_all),
    "a_line_put_again_changes_nothing": (MemoryBatch, "put_lines", put_over_the_old),
    "a_client_gets_the_lines_after_the_last_it_has": (
        MemoryLog,
        "lines",
        lambda log, session_id, after, limit: log.outbox.get(session_id, [])[after - 1 :][:limit],
    ),
    "any_page_of_a_long_conversation_is_whole": (
        MemoryLog,
        "lines",
        lambda log, session_id, after, limit: MemoryLog.lines(
            log, session_id, after=after, limit=min(limit, 64)
        ),
    ),
    "a_line_is_known_by_its_id_in_its_session": (
        MemoryLog,
        "has_line",
        lambda log, session_id, line_id: any(
            one.id == line_id for lines in log.outbox.values() for one in lines
        ),
    ),
    "lines_survive_a_session_being_rewritten": (MemoryBatch, "put_sessions", rewritten),
}
SUITES: list[tuple[type, Broken]] = [
    (LogSuite, LOG),
    (SessionStoreSuite, STORE),
    (DeliveriesSuite, DELIVERIES),
]
CASES = [
    pytest.param(suite, test, *broken, id=test)
    for suite, tests in SUITES
    for test, broken in tests.items()
]


@pytest.mark.parametrize(("suite", "test", "base", "name", "method"), CASES)
def test_it_is_noticed(
    suite: type,
    test: str,
    base: type,
    name: str,
    method: Method,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not fails(suite(), test, log=MemoryLog())
    broken = type("Broken", (base,), {name: method})
    if base is MemoryBatch:
        monkeypatch.setattr(memory, "MemoryBatch", broken)
    assert fails(suite(), test, log=broken() if base is MemoryLog else MemoryLog())


def test_a_log_that_forgets_or_that_two_may_write_to_is_noticed() -> None:
    durable = DurableLogSuite()
    test = "what_was_committed_is_there_when_it_is_opened_again"
    assert fails(durable, test, opener=MemoryLog)
    shared = MemoryLog()
    assert not fails(durable, test, opener=lambda: shared)
    test = "a_storage_in_use_is_refused_to_a_second_one"
    assert fails(durable, test, opener=lambda: shared)


def test_each_test_of_the_suites_has_a_log_that_it_fails_for() -> None:
    for suite, tests in SUITES:
        assert set(names_of(suite)) == set(tests)
    assert len(names_of(DurableLogSuite)) == 2
