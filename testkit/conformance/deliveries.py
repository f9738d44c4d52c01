"""The suite of the port `Deliveries`: replies on their way out, and the outbox of lines.

Use it in five lines; `log` is a new, empty storage, the one that the log's suite gets:

    class TestDeliveries(DeliveriesSuite):
        @pytest.fixture
        def log(self, tmp_path: Path) -> Iterator[Storage]:
            with closing(MyLog(tmp_path / "log")) as log:
                yield log
"""

from msgspec.structs import replace

from engine.events import Address
from engine.ids import derive
from engine.ports import Delivery, Line, SessionRow
from testkit.conformance.storage import A, B, Storage, a_delivery, a_line, an_event, at_default


class DeliveriesSuite:
    """What `Deliveries` promises, and the numbering of lines."""

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
                [
                    a_delivery(B, 1, state="sent"),
                    a_delivery(A, 0, state="sending"),
                    a_delivery(B, 3, state="closed"),
                ]
            )
        assert log.undelivered() == [
            a_delivery(A, 0, state="sending"),
            a_delivery(A, 2),
            a_delivery(A, 4),
        ]
        assert log.deliveries_of(B) == [
            a_delivery(B, 1, state="sent"),
            a_delivery(B, 3, state="closed"),
        ]

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
            again = [a_line(A, reply, text="other"), a_line(A, "2"), a_line(A, "1", text="other")]
            assert batch.put_lines(again) == [2, 3, 1]
        assert log.lines(A, after=0, limit=2) == before
        assert [one.id for one in log.lines(A, after=0, limit=9)] == ["1", reply, "2"]

    def test_a_client_gets_the_lines_after_the_last_it_has(self, log: Storage) -> None:
        owner = log.claim(0)
        for n in range(1, 8):
            with log.transaction(owner) as batch:
                batch.put_lines([a_line(A, f"m{n}", text=f"text {n}\x00 中")])
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
