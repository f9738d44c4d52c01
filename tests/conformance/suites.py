"""What every log must do: one base class per port, with a fixture `log` given by the backend.

A backend's test module subclasses each suite and nothing more. `Storage` is what the suites need
beyond one port: the three ports in one object, and the reads that recovery and the console use.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
import pytest
from msgspec.structs import replace

from engine.errors import Conflict, Refused
from engine.events import Address
from engine.ids import derive
from engine.ports import (
    Append,
    DeadLetter,
    Deliveries,
    Delivery,
    DeliveryState,
    Line,
    Log,
    LogRecord,
    Owner,
    SessionRow,
    SessionStore,
    StepRow,
)

A, B = "webchat/main/k1/aaaa", "webchat/main/k1/bbbb"


class Storage(Log, SessionStore, Deliveries, Protocol):
    """The three ports as one object, and the reads beside them."""

    def has_line(self, session_id: str, line_id: str) -> bool: ...
    def sessions(self, *, limit: int, after: str = "") -> list[tuple[str, bytes]]: ...
    def steps(self, session_id: str, *, after_seq: int, limit: int) -> list[StepRow]: ...
    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> list[tuple[int, int]]: ...
    def history(self, session_id: str) -> list[LogRecord]: ...
    def last_control(self, *, up_to: int) -> LogRecord | None: ...
    def find_event(self, event_id: str) -> LogRecord | None: ...
    def step_of(self, event_id: str) -> StepRow | None: ...
    def dead_letters(self) -> list[DeadLetter]: ...
    def deaths(self) -> list[tuple[int, str, int]]: ...
    def deliveries_of(self, session_id: str) -> list[Delivery]: ...
    def close(self) -> None: ...


def an_event(session_id: str, n: int) -> Append:
    event_id = derive(session_id, "message", "main", f"m{n}")
    return Append(session_id, event_id, b'{"n":%d}' % n)


def a_step(session_id: str, n: int, *, seq: int, offset: int) -> StepRow:
    return StepRow(session_id, seq, an_event(session_id, n).event_id, offset, b"step %d" % seq)


def a_line(session_id: str, line_id: str, text: str = "hello") -> Line:
    return Line(session_id=session_id, id=line_id, author="user", text=text, at_ms=7)


def a_delivery(session_id: str, n: int, state: DeliveryState = "queued") -> Delivery:
    address = Address(channel="webchat", account="main", conversation="室", sender="p")
    return Delivery(
        reply_id=derive(session_id, "reply", n),
        session_id=session_id,
        cause=an_event(session_id, n).event_id,
        kind="message",
        address=address,
        state=state,
        text=f"reply {n} ✓",
        queued_ms=5,
    )


def at_default(record: msgspec.Struct) -> list[str]:
    """Fields that hold their default: whether a log keeps them is not seen by such a record."""
    fields = msgspec.structs.fields(record)
    return [one.name for one in fields if getattr(record, one.name) == one.default]


class Boom(Exception):
    """Ends a block early."""


def write_everything(log: Storage, owner: Owner, n: int) -> None:
    """One batch with something of every kind, numbered `n`."""
    with log.transaction(owner) as batch:
        fill(batch, n)


def fill(batch, n: int) -> None:  # type: ignore[no-untyped-def]
    offset = batch.append([an_event(A, n)], at_ms=100 + n)[0]
    batch.put_sessions([SessionRow(A, b"session after %d" % n, True)])
    batch.put_steps([a_step(A, n, seq=n, offset=offset)], at_ms=200 + n)
    batch.put_deliveries([a_delivery(A, n)])
    batch.put_lines([a_line(A, f"m{n}")])
    batch.put_dead_letters([a_letter(offset)])
    batch.put_deaths(offset, an_event(A, n).event_id, deaths=1)
    batch.put_watermark(offset)


def a_letter(offset: int) -> DeadLetter:
    return DeadLetter(
        partition=0, offset=offset, session_id=A, error="it is rubbish", value=b"\xff", at_ms=3
    )


def all_of(log: Storage) -> Sequence[object]:
    """Everything that a reader can see of sessions A and B and the log."""
    both = (A, B)
    return (
        log.read(0, after=0, limit=10_000),
        log.watermark(0),
        log.head(0),
        log.sessions(limit=100),
        [log.steps(one, after_seq=0, limit=10_000) for one in both],
        [log.step_times(one, after_seq=0, limit=10_000) for one in both],
        [log.history(one) for one in (*both, "")],
        log.dead_letters(),
        log.deaths(),
        sorted(log.waiting()),
        [log.last_control(up_to=offset) for offset in (0, 3, 10_000)],
        log.undelivered(),
        [log.deliveries_of(one) for one in both],
        [log.lines(one, after=0, limit=10_000) for one in both],
    )


class LogSuite:
    """Log and Transaction."""

    def test_an_empty_log_has_nothing(self, log: Storage) -> None:
        assert log.head(0) == log.watermark(0) == 0
        assert log.read(0, after=0, limit=10) == []
        assert log.find_event(f"{A}/{'0' * 32}") is None
        assert log.step_of(f"{A}/{'0' * 32}") is None
        assert log.dead_letters() == log.deaths() == log.sessions(limit=9) == []

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
        write_everything(log, owner, 1)
        before = all_of(log)
        with pytest.raises(Boom), log.transaction(owner) as batch:  # noqa: PT012
            fill(batch, 2)
            batch.put_lines([a_line(B, "first line of a session that never was")])
            raise Boom
        assert all_of(log) == before
        write_everything(log, owner, 2)
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
        write_everything(log, new, 2)
        assert log.history(A) == log.read(0, after=0, limit=9)
        assert len(log.history(A)) == 1

    def test_a_claim_during_a_batch_makes_its_commit_a_conflict(self, log: Storage) -> None:
        owner = log.claim(0)
        write_everything(log, owner, 1)
        before = all_of(log)
        with pytest.raises(Conflict), log.transaction(owner) as batch:  # noqa: PT012
            fill(batch, 2)
            new = log.claim(0)
            fill(batch, 3)
        assert all_of(log) == before
        write_everything(log, new, 2)

    def test_a_partition_that_is_not_there_is_refused(self, log: Storage) -> None:
        with pytest.raises(Refused, match="no partition 7"):
            log.claim(7)
        with pytest.raises(Refused, match="no partition 7"):
            log.read(7, after=0, limit=1)

    def test_the_watermark_is_the_last_one_put(self, log: Storage) -> None:
        owner = log.claim(0)
        for offset in (3, 9):
            with log.transaction(owner) as batch:
                batch.put_watermark(offset)
            assert log.watermark(0) == offset

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

    def test_a_dead_letter_is_written_over_at_its_offset(self, log: Storage) -> None:
        owner = log.claim(0)
        later = DeadLetter(
            partition=0, offset=4, session_id=A, error="x", value=b"v", at_ms=3, redriven_ms=9
        )
        assert at_default(later) == []
        with log.transaction(owner) as batch:
            batch.put_dead_letters([a_letter(4), a_letter(2)])
        with log.transaction(owner) as batch:
            batch.put_dead_letters([later])
        assert log.dead_letters() == [a_letter(2), later]

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


class SessionStoreSuite:
    """SessionStore."""

    def test_a_session_is_what_was_last_put(self, log: Storage) -> None:
        owner = log.claim(0)
        assert log.get(A) is None
        with log.transaction(owner) as batch:
            batch.put_sessions(
                [
                    SessionRow(A, b"one"),
                    SessionRow(B, b"b"),
                    SessionRow(A, b"two"),
                ]
            )
            batch.put_sessions([SessionRow(A, b"three")])
        assert (log.get(A), log.get(B)) == (b"three", b"b")
        with log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"x" * 300_000)])
        assert log.get(A) == b"x" * 300_000

    def test_a_session_with_records_only_is_not_there(self, log: Storage) -> None:
        with log.transaction(log.claim(0)) as batch:
            batch.append([an_event(A, 1), an_event("", 1)], at_ms=1)
            batch.put_lines([a_line(A, "m1")])
        assert log.get(A) is None
        assert log.get("") is None
        assert log.sessions(limit=9) == []

    def test_sessions_are_listed_by_id_page_by_page(self, log: Storage) -> None:
        owner = log.claim(0)
        for n in (3, 1, 2, 0):
            with log.transaction(owner) as batch:
                batch.put_sessions([SessionRow(f"s{n}", b"%d" % n)])
        assert log.sessions(limit=3) == [("s0", b"0"), ("s1", b"1"), ("s2", b"2")]
        assert log.sessions(limit=3, after="s2") == [("s3", b"3")]

    def test_what_waits_is_found_with_its_bytes(self, log: Storage) -> None:
        owner = log.claim(0)
        assert list(log.waiting()) == []
        with log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"a", True), SessionRow(B, b"b")])
        assert sorted(log.waiting()) == [SessionRow(A, b"a", True)]
        with log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"a2", True), SessionRow(B, b"b2", True)])
        assert sorted(log.waiting()) == [SessionRow(A, b"a2", True), SessionRow(B, b"b2", True)]
        with log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"a3", True), SessionRow(A, b"a4")])
        assert sorted(log.waiting()) == [SessionRow(B, b"b2", True)]
        with suppress(Boom), log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"a5", True), SessionRow(B, b"b5")])
            raise Boom
        assert sorted(log.waiting()) == [SessionRow(B, b"b2", True)]
        with log.transaction(owner) as batch:
            batch.put_sessions([SessionRow(A, b"a6"), SessionRow(B, b"b6")])
        assert sorted(log.waiting()) == []


class DeliveriesSuite:
    """Deliveries and the outbox."""

    def test_a_delivery_comes_back_as_it_was_put(self, log: Storage) -> None:
        full = Delivery(
            reply_id=derive(A, "reply", 1),
            session_id=A,
            cause="an id of no known form",
            kind="reply",
            address=Address(
                channel="x",
                account="y",
                conversation="c",
                sender="s",
                reply_token="t",
                reply_token_expires_ms=4,
            ),
            state="unknown",
            text="the end",
            how="stopped",
            author="operator",
            attempt=3,
            queued_ms=1,
            sending_ms=2,
            receipted_ms=3,
            platform_ids=("p1", "p2"),
            error="time-out",
            withdrawn_ms=5,
        )
        assert at_default(full) == at_default(full.address) == []
        bare = Delivery(
            reply_id=derive(B, "reply", 2),
            session_id=B,
            cause=an_event(B, 2).event_id,
            kind="message",
            address=a_delivery(B, 2).address,
            state="queued",
        )
        with log.transaction(log.claim(0)) as batch:
            batch.put_deliveries([full, bare, a_delivery(B, 3)])
        assert log.delivery(full.reply_id) == full
        assert log.delivery(bare.reply_id) == bare
        assert log.delivery(derive(B, "reply", 3)) == a_delivery(B, 3)
        assert log.delivery(derive(B, "reply", 4)) is None

    def test_a_line_comes_back_as_it_was_put(self, log: Storage) -> None:
        full = Line(session_id=A, id="m1", author="user", text="✓", at_ms=7, n=1, how="expired")
        assert at_default(full) == []
        with log.transaction(log.claim(0)) as batch:
            batch.put_lines([full, a_line(A, "m2")])
        assert log.lines(A, after=0, limit=9) == [full, replace(a_line(A, "m2"), n=2)]

    def test_only_the_queued_and_the_sending_are_undelivered(self, log: Storage) -> None:
        owner = log.claim(0)
        with log.transaction(owner) as batch:
            batch.put_deliveries([a_delivery((A, B)[n % 2], n) for n in range(5)])
        with log.transaction(owner) as batch:
            batch.put_deliveries(
                [a_delivery(B, 1, "sent"), a_delivery(A, 0, "sending"), a_delivery(B, 3, "closed")]
            )
        assert log.undelivered() == [
            a_delivery(A, 0, "sending"),
            a_delivery(A, 2),
            a_delivery(A, 4),
        ]
        assert log.deliveries_of(B) == [a_delivery(B, 1, "sent"), a_delivery(B, 3, "closed")]

    def test_lines_are_numbered_without_gaps_in_each_session(self, log: Storage) -> None:
        owner = log.claim(0)
        with log.transaction(owner) as batch:
            assert batch.put_lines([a_line(A, "1"), a_line(B, "1"), a_line(A, "2")]) == [1, 1, 2]
            assert batch.put_lines([a_line(A, "3")]) == [3]
        with log.transaction(owner) as batch:
            assert batch.put_lines([a_line(B, "2"), a_line(A, "4")]) == [2, 4]
        assert [(one.n, one.id) for one in log.lines(A, after=0, limit=9)] == [
            (1, "1"),
            (2, "2"),
            (3, "3"),
            (4, "4"),
        ]
        assert [one.n for one in log.lines(B, after=0, limit=9)] == [1, 2]

    def test_a_line_put_again_changes_nothing(self, log: Storage) -> None:
        owner = log.claim(0)
        reply = derive(A, "reply", 1)
        with log.transaction(owner) as batch:
            assert batch.put_lines([a_line(A, "1"), a_line(A, reply), a_line(A, "1")]) == [1, 2, 1]
        before = log.lines(A, after=0, limit=9)
        with log.transaction(owner) as batch:
            again = [a_line(A, reply, "other"), a_line(A, "2"), a_line(A, "1", "other")]
            assert batch.put_lines(again) == [2, 3, 1]
        assert log.lines(A, after=0, limit=2) == before
        assert [one.id for one in log.lines(A, after=0, limit=9)] == ["1", reply, "2"]

    def test_a_client_gets_the_lines_after_the_last_it_has(self, log: Storage) -> None:
        owner = log.claim(0)
        for n in range(1, 8):
            with log.transaction(owner) as batch:
                batch.put_lines([a_line(A, f"m{n}", f"text {n}\x00 中")])
        page = log.lines(A, after=3, limit=2)
        assert [(one.n, one.text) for one in page] == [(4, "text 4\x00 中"), (5, "text 5\x00 中")]
        assert [one.n for one in log.lines(A, after=6, limit=9)] == [7]
        assert log.lines(A, after=7, limit=9) == log.lines(B, after=0, limit=9) == []
        assert len(log.lines(A, after=-1, limit=9)) == 7

    def test_any_page_of_a_long_conversation_is_whole(self, log: Storage) -> None:
        owner = log.claim(0)
        for first in range(1, 200, 11):
            with log.transaction(owner) as batch:
                for n in range(first, first + 11):
                    batch.put_lines([a_line(B, f"other{n}"), a_line(A, f"m{n}")])
        whole = log.lines(A, after=0, limit=1_000)
        assert [one.n for one in whole] == list(range(1, 210))
        for after in range(-1, 212):
            for limit in (1, 2, 63, 64, 65, 1_000):
                page = log.lines(A, after=after, limit=limit)
                assert page == whole[max(after, 0) :][:limit]

    def test_a_line_is_known_by_its_id_in_its_session(self, log: Storage) -> None:
        reply = derive(A, "reply", 1)
        with log.transaction(log.claim(0)) as batch:
            batch.put_lines([a_line(A, "m1"), a_line(A, reply)])
            assert not log.has_line(A, "m1")
        assert log.has_line(A, "m1")
        assert log.has_line(A, reply)
        assert not log.has_line(A, "m2")
        assert not log.has_line(B, "m1")

    def test_lines_survive_a_session_being_rewritten(self, log: Storage) -> None:
        owner = log.claim(0)
        for n in range(1, 4):
            with log.transaction(owner) as batch:
                batch.put_lines([a_line(A, f"m{n}")])
                batch.put_sessions([SessionRow(A, b"session %d" % n)])
            with log.transaction(owner) as batch:
                batch.put_sessions([SessionRow(A, b"again %d" % n)])
        assert [one.n for one in log.lines(A, after=0, limit=9)] == [1, 2, 3]
        assert log.get(A) == b"again 3"
