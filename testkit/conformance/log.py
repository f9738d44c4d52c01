"""The suites of the ports `Log` and `Transaction`, and that of a log which outlives its process.

Use it in five lines; `log` is a new, empty storage with one partition or more:

    class TestLog(LogSuite):
        @pytest.fixture
        def log(self, tmp_path: Path) -> Iterator[Storage]:
            with closing(MyLog(tmp_path / "log")) as log:
                yield log

`OwnedLogSuite` is the part of it that holds where events are appended by others, and not in the
owner's transactions, as on a cluster. `DurableLogSuite` wants `opener`: a function that opens the
same storage, as a restart would.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.errors import Conflict, Refused
from engine.ports import Append, DeadLetter, LogRecord
from testkit.conformance.storage import (
    A,
    B,
    Boom,
    OwnedStorage,
    Storage,
    a_letter,
    a_line,
    a_step,
    all_of,
    an_event,
    at_default,
    decide,
    decided_in,
    fill,
    write_everything,
)


class OwnedLogSuite:
    """What any log promises to the one owner of a partition, whatever events are appended by.

    `log` is a new storage without sessions, of which this suite asks no more than `OwnedStorage`
    has: a transaction takes what an owner decided of events that stand in the log already.
    """

    def append(self, log: Any, events: Sequence[Append]) -> Sequence[int]:
        """How events come into this log; their offsets."""
        raise NotImplementedError

    def test_nothing_of_what_was_decided_is_visible_before_its_commit(
        self, log: OwnedStorage
    ) -> None:
        (offset,) = self.append(log, [an_event(A, 1)])
        before = decided_in(log)
        with log.transaction(log.claim(0)) as batch:
            decide(batch, 1, offset=offset)
            assert decided_in(log) == before
        assert decided_in(log) != before

    def test_an_error_leaves_nothing_decided(self, log: OwnedStorage) -> None:
        first, second = self.append(log, [an_event(A, 1), an_event(A, 2)])
        owner = log.claim(0)
        with log.transaction(owner) as batch:
            decide(batch, 1, offset=first)
        before = decided_in(log)
        with pytest.raises(Boom), log.transaction(owner) as batch:  # noqa: PT012
            decide(batch, 2, offset=second)
            raise Boom
        assert decided_in(log) == before
        with log.transaction(owner) as batch:
            decide(batch, 2, offset=second)
        assert log.watermark(0) == second

    def test_who_has_lost_the_partition_decides_nothing(self, log: OwnedStorage) -> None:
        first, second = self.append(log, [an_event(A, 1), an_event(A, 2)])
        old = log.claim(0)
        with log.transaction(old) as batch:
            decide(batch, 1, offset=first)
        new = log.claim(0)
        assert new.token > old.token
        before = decided_in(log)
        for _ in range(2):
            with pytest.raises(Conflict), log.transaction(old) as batch:
                decide(batch, 2, offset=second)
        assert decided_in(log) == before
        with log.transaction(new) as batch:
            decide(batch, 2, offset=second)
        assert [row.seq for row in log.steps(A, after_seq=0, limit=9)] == [1, 2]

    def test_a_claim_while_something_is_decided_makes_it_a_conflict(
        self, log: OwnedStorage
    ) -> None:
        (offset,) = self.append(log, [an_event(A, 1)])
        owner = log.claim(0)
        before = decided_in(log)
        with pytest.raises(Conflict), log.transaction(owner) as batch:  # noqa: PT012
            decide(batch, 1, offset=offset)
            new = log.claim(0)
        assert decided_in(log) == before
        with log.transaction(new) as batch:
            decide(batch, 1, offset=offset)
        assert log.watermark(0) == offset

    def test_the_steps_of_a_session_come_back_by_seq_with_their_times(
        self, log: OwnedStorage
    ) -> None:
        offsets = self.append(log, [*(an_event(A, n) for n in range(1, 6)), an_event(B, 1)])
        owner = log.claim(0)
        rows = [a_step(A, n, seq=n, offset=offsets[n - 1]) for n in range(1, 6)]
        for row in rows:
            with log.transaction(owner) as batch:
                batch.put_steps([row], at_ms=50 + row.seq)
        materialised = a_step(B, 9, seq=1, offset=0)
        with log.transaction(owner) as batch:
            batch.put_steps([materialised, a_step(B, 1, seq=2, offset=offsets[5])], at_ms=2)
        assert log.steps(A, after_seq=0, limit=99) == rows
        assert log.steps(A, after_seq=2, limit=2) == rows[2:4]
        assert log.step_times(A, after_seq=2, limit=2) == [(3, 53), (4, 54)]
        assert log.steps(B, after_seq=0, limit=1) == [materialised]

    def test_the_watermark_is_the_last_one_put(self, log: OwnedStorage) -> None:
        owner = log.claim(0)
        for offset in (3, 9):
            with log.transaction(owner) as batch:
                batch.put_watermark(offset)
            assert log.watermark(0) == offset

    def test_a_dead_letter_is_written_over_at_its_offset(self, log: OwnedStorage) -> None:
        owner = log.claim(0)
        later = DeadLetter(
            partition=0, offset=4, session_id=A, error="x", value=b"v", at_ms=3, redriven_ms=9
        )
        assert at_default(later) == ["topic"]  # a log's own letters are of its events
        with log.transaction(owner) as batch:
            batch.put_dead_letters([a_letter(4), a_letter(2)])
        with log.transaction(owner) as batch:
            batch.put_dead_letters([later])
        assert log.dead_letters() == [a_letter(2), later]


class LogSuite(OwnedLogSuite):
    """What `Log` and `Transaction` promise, and the reads of `Storage` that go with them.

    Beyond `OwnedLogSuite`: events are appended in the transaction that holds what came of them.
    """

    def append(self, log: Storage, events: Sequence[Append]) -> Sequence[int]:
        """In a transaction, by whoever owns the partition just then."""
        with log.transaction(log.claim(0)) as batch:
            return batch.append(events, at_ms=1)

    def test_an_empty_log_has_nothing(self, log: Storage) -> None:
        assert log.head(0) == log.watermark(0) == 0
        assert log.read(0, after=0, limit=10) == []
        assert log.find_event(f"{A}/{'0' * 32}") is None
        assert log.step_of(f"{A}/{'0' * 32}") is None
        assert log.dead_letters() == []
        assert log.deaths() == []
        assert log.sessions(limit=9) == []

    def test_records_come_back_in_order_with_growing_offsets(self, log: Storage) -> None:
        owner = log.claim(0)
        with log.transaction(owner) as batch:
            first = batch.append([an_event(A, 1), an_event(B, 2)], at_ms=10)
            second = batch.append([an_event(A, 3)], at_ms=11)
        with log.transaction(owner) as batch:
            third = batch.append([an_event("", 4)], at_ms=12)
        offsets = [*first, *second, *third]
        assert offsets == sorted(set(offsets))
        assert offsets[0] >= 1
        assert log.read(0, after=0, limit=10) == [
            LogRecord(offsets[0], A, b'{"n":1}', 10),
            LogRecord(offsets[1], B, b'{"n":2}', 10),
            LogRecord(offsets[2], A, b'{"n":3}', 11),
            LogRecord(offsets[3], "", b'{"n":4}', 12),
        ]
        assert log.head(0) == offsets[3]

    def test_a_page_begins_after_the_offset_and_ends_at_the_limit(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            offsets = batch.append([an_event(A, n) for n in range(5)], at_ms=1)
        page = log.read(0, after=offsets[1], limit=2)
        assert [one.offset for one in page] == offsets[2:4]
        assert log.read(0, after=offsets[4], limit=2) == []

    def test_nothing_of_a_batch_is_visible_before_its_commit(self, log: Storage) -> None:
        before = all_of(log)
        with log.transaction(log.claim(0)) as batch:
            fill(batch, 1)
            assert all_of(log) == before
        assert all_of(log) != before

    def test_an_exception_leaves_nothing_behind(self, log: Storage) -> None:
        owner = log.claim(0)
        write_everything(log, owner, n=1)
        before = all_of(log)
        with pytest.raises(Boom), log.transaction(owner) as batch:  # noqa: PT012
            fill(batch, 2)
            batch.put_lines([a_line(B, "first line of a session that never was")])
            raise Boom
        assert all_of(log) == before
        write_everything(log, owner, n=2)
        assert [one.n for one in log.lines(A, after=0, limit=9)] == [1, 2]

    def test_an_empty_batch_is_no_error(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            assert batch.append([], at_ms=1) == []
            assert batch.put_lines([]) == []

    def test_a_newer_owner_makes_the_older_one_worthless(self, log: Storage) -> None:
        old = log.claim(0)
        new = log.claim(0)
        assert new.token > old.token
        with pytest.raises(Conflict), log.transaction(old) as batch:
            batch.append([an_event(A, 1)], at_ms=1)
        write_everything(log, new, n=2)
        assert log.history(A) == log.read(0, after=0, limit=9)
        assert len(log.history(A)) == 1

    def test_a_claim_during_a_batch_makes_its_commit_a_conflict(self, log: Storage) -> None:
        owner = log.claim(0)
        write_everything(log, owner, n=1)
        before = all_of(log)
        with pytest.raises(Conflict), log.transaction(owner) as batch:  # noqa: PT012
            fill(batch, 2)
            new = log.claim(0)
            fill(batch, 3)
        assert all_of(log) == before
        write_everything(log, new, n=2)

    def test_a_partition_that_is_not_there_is_refused(self, log: Storage) -> None:
        with pytest.raises(Refused, match="partition 7"):
            log.claim(7)
        with pytest.raises(Refused, match="partition 7"):
            log.read(7, after=0, limit=1)

    def test_a_history_holds_one_session_s_records_only(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            for n in range(6):
                batch.append([an_event((A, B, "")[n % 3], n)], at_ms=n)
        for session_id in (A, B, ""):
            expected = [r for r in log.read(0, after=0, limit=9) if r.session_id == session_id]
            assert log.history(session_id) == expected
            assert len(expected) == 2

    def test_an_event_is_found_by_its_id(self, log: Storage) -> None:
        odd = Append(A, f"{A}/{'ABCDEF' * 5}AB", b"capitals")
        spaced = Append(A, f"{A}/{'ab ' * 10}ab", b"spaces")
        with log.transaction(log.claim(0)) as batch:
            batch.append([an_event(A, 1), an_event("", 2), odd, spaced], at_ms=1)
        for event in (an_event(A, 1), an_event("", 2), odd, spaced):
            found = log.find_event(event.event_id)
            assert found is not None
            assert found.value == event.value
        assert log.find_event(an_event(B, 1).event_id) is None
        assert log.find_event(odd.event_id.lower()) is None

    def test_the_first_record_of_a_repeated_event_is_the_one_found(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            offsets = batch.append([an_event(A, 1)._replace(value=b"x"), an_event(A, 1)], at_ms=1)
        found = log.find_event(an_event(A, 1).event_id)
        assert found is not None
        assert found.offset == offsets[0]
        assert len(log.history(A)) == 2

    def test_a_session_with_records_only_is_not_there(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            batch.append([an_event(A, 1), an_event("", 1)], at_ms=1)
            batch.put_lines([a_line(A, "m1")])
        assert log.get(A) is None
        assert log.get("") is None
        assert log.sessions(limit=9) == []

    def test_steps_come_back_by_seq_with_their_times(self, log: Storage) -> None:
        owner = log.claim(0)
        rows = []
        for n in range(1, 6):
            with log.transaction(owner) as batch:
                offset = batch.append([an_event(A, n)], at_ms=n)[0]
                rows.append(a_step(A, n, seq=n, offset=offset))
                batch.put_steps([rows[-1]], at_ms=50 + n)
        assert log.steps(A, after_seq=0, limit=99) == rows
        assert log.steps(A, after_seq=2, limit=2) == rows[2:4]
        assert log.step_times(A, after_seq=2, limit=2) == [(3, 53), (4, 54)]
        assert log.steps(B, after_seq=0, limit=99) == []
        assert log.step_of(rows[3].event_id) == rows[3]

    def test_a_materialised_step_stands_beside_the_others(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            offset = batch.append([an_event(A, 1)], at_ms=1)[0]
            materialised = [a_step(one, 9, seq=1, offset=0) for one in (A, B)]
            batch.put_steps(materialised, at_ms=2)
            batch.put_steps([a_step(A, 1, seq=2, offset=offset)], at_ms=2)
        assert log.steps(A, after_seq=0, limit=9) == [
            materialised[0],
            a_step(A, 1, seq=2, offset=offset),
        ]
        assert log.step_of(materialised[1].event_id) == materialised[1]

    def test_the_last_control_record_up_to_an_offset_is_found(self, log: Storage) -> None:
        owner = log.claim(0)
        assert log.last_control(up_to=99) is None
        with log.transaction(owner) as batch:
            offsets = batch.append([an_event(one, 1) for one in ("", A, "", B)], at_ms=1)
        for up_to, expected in zip(offsets, (0, 0, 2, 2), strict=True):
            found = log.last_control(up_to=up_to)
            assert found is not None
            assert found.offset == offsets[expected]

    def test_deaths_are_counted_by_event(self, log: Storage) -> None:
        owner = log.claim(0)
        first, second = an_event(A, 1).event_id, an_event(B, 2).event_id
        for offset, event_id, deaths in ((5, first, 1), (0, second, 1), (6, first, 2)):
            with log.transaction(owner) as batch:
                batch.put_deaths(offset, event_id, deaths=deaths)
        assert log.deaths() == [(0, second, 1), (6, first, 2)]


class DurableLogSuite:
    """What a log promises that outlives its process. `opener` opens the same storage each time."""

    def test_what_was_committed_is_there_when_it_is_opened_again(
        self, opener: Callable[[], Storage]
    ) -> None:
        log = opener()
        owner = log.claim(0)
        write_everything(log, owner, n=1)
        with pytest.raises(Boom), log.transaction(owner) as batch:  # noqa: PT012
            fill(batch, 2)
            raise Boom
        before = all_of(log)
        log.close()
        again = opener()
        assert all_of(again) == before
        newer = again.claim(0)
        assert newer.token > owner.token
        write_everything(again, newer, n=2)
        again.close()

    def test_a_storage_in_use_is_refused_to_a_second_one(
        self, opener: Callable[[], Storage]
    ) -> None:
        log = opener()
        with pytest.raises(Refused):
            opener()
        write_everything(log, log.claim(0), n=1)
        log.close()
        opener().close()
