"""The suite of the port `SessionStore`: sessions as canonical bytes, in the log's transaction.

Use it in five lines; `log` is a new, empty storage, the one that the log's suite gets:

    class TestSessionStore(SessionStoreSuite):
        @pytest.fixture
        def log(self, tmp_path: Path) -> Iterator[Storage]:
            with closing(MyLog(tmp_path / "log")) as log:
                yield log
"""

from contextlib import suppress

from engine.ports import SessionRow
from testkit.conformance.storage import A, B, Boom, OwnedStorage


class SessionStoreSuite:
    """What `SessionStore` promises."""

    def test_a_session_is_what_was_last_put(self, log: OwnedStorage) -> None:
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

    def test_sessions_are_listed_by_id_page_by_page(self, log: OwnedStorage) -> None:
        owner = log.claim(0)
        for n in (3, 1, 2, 0):
            with log.transaction(owner) as batch:
                batch.put_sessions([SessionRow(f"s{n}", b"%d" % n)])
        assert log.sessions(limit=3) == [("s0", b"0"), ("s1", b"1"), ("s2", b"2")]
        assert log.sessions(limit=3, after="s2") == [("s3", b"3")]

    def test_what_waits_is_found_with_its_bytes(self, log: OwnedStorage) -> None:
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
