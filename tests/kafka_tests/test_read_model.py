"""The read model holds what im.outbox said, over restarts, and can always be made again."""

from pathlib import Path

import pytest

from adapters.kafka.records import Fetched
from engine.errors import Refused
from engine.ids import derive
from engine.ports import Line
from streams.cluster.read_model import CLOSED_KEPT_MS, KEPT_MS, ReadModel, rebuild_needed
from streams.host_state import HandedOver
from streams.topics import T
from streams.wire import Said, View, outbox_row

ANN = "webchat:web:k1:" + "a" * 24
BEN = "webchat:web:k1:" + "b" * 24
CARD = "dingtalk:im:k1:" + "c" * 24


class Outbox:
    """Records as the topic would number them."""

    def __init__(self) -> None:
        self.ends = [0, 0]
        self.at_ms = 1_000

    def put(self, shown: View | Said, partition: int = 0) -> Fetched:
        row = outbox_row(shown, partition=partition)
        offset, self.ends[partition] = self.ends[partition], self.ends[partition] + 1
        return Fetched(T.OUTBOX, partition, offset, self.at_ms, row.key, row.value, row.headers)

    def line(self, session_id: str, n: int, partition: int = 0, **more: str) -> Fetched:
        author = more.get("author", "bot")
        line_id = derive(session_id, "reply", n) if author == "bot" else f"message-{n}"
        line = Line(session_id=session_id, id=line_id, author=author, text=f"{n}", at_ms=n, n=n)
        return self.put(Said(line=line), partition)


def over(session_id: str, since_ms: int) -> HandedOver:
    channel, account = session_id.split(":")[:2]
    return HandedOver(
        session_id=session_id,
        channel=channel,
        account=account,
        state="person",
        since_ms=since_ms,
        last_ms=since_ms,
        last_text="help",
        waiting=1,
    )


@pytest.fixture(params=["memory", "file"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ReadModel:
    file = tmp_path / "gateway.sqlite" if request.param == "file" else None
    return ReadModel(file, installation="cluster/")


def test_lines_and_views_come_back(model: ReadModel) -> None:
    box = Outbox()
    view = View(session_id=ANN, seq=1, state="bot.answering", busy=True, replies=("r",))
    news = model.apply(
        [box.line(ANN, 1, author="user"), box.put(view), box.line(BEN, 1), box.line(ANN, 2)]
    )
    assert [line.n for line in news.lines] == [1, 1, 2]
    assert news.views == [view]
    assert [line.text for line in model.lines(ANN, after=0, limit=9)] == ["1", "2"]
    assert [line.n for line in model.lines(ANN, after=1, limit=9)] == [2]
    assert [line.n for line in model.lines(ANN, after=0, limit=1)] == [1]
    assert model.view(ANN) == view
    assert model.view(BEN) is None
    assert model.knows(BEN)
    assert not model.knows(CARD)
    assert model.has_line(ANN, "message-1")
    assert not model.has_line(BEN, "message-1")
    assert model.count() == 2


@pytest.mark.parametrize("number", [b"9223372036854775808", b"-5"])
def test_a_number_that_no_line_or_view_has_is_left_out(model: ReadModel, number: bytes) -> None:
    """It would end every gateway that reads it, in each of its lives."""
    box = Outbox()
    view = View(session_id=ANN, seq=777, state="person", handed_over=over(ANN, 888))
    asked = [(box.line(ANN, 777), b"777"), (box.put(view), b"777"), (box.put(view), b"888")]
    alien = [r._replace(value=(r.value or b"").replace(good, number)) for r, good in asked]
    news = model.apply([*alien, box.line(BEN, 1)])
    assert (news.unread, [line.session_id for line in news.lines]) == (3, [BEN])
    assert model.offsets() == {0: 4}


def test_a_line_is_there_once_by_number_and_by_id(model: ReadModel) -> None:
    box = Outbox()
    model.apply([box.line(ANN, 1)])
    model.apply([box.line(ANN, 1)])
    other = Line(session_id=ANN, id=derive(ANN, "reply", 1), author="bot", text="x", at_ms=1, n=2)
    model.apply([box.put(Said(line=other))])
    assert [line.text for line in model.lines(ANN, after=0, limit=9)] == ["1"]


def test_the_newest_view_holds(model: ReadModel) -> None:
    box = Outbox()
    model.apply([box.put(View(session_id=ANN, seq=n, state=f"s{n}")) for n in (1, 2)])
    model.apply([box.put(View(session_id=ANN, seq=3, state="s3"))])
    view = model.view(ANN)
    assert view is not None
    assert view.state == "s3"


def test_replies_end_by_their_line_or_by_a_view(model: ReadModel) -> None:
    box = Outbox()
    closed = View(session_id=ANN, seq=2, state="bot.listening", closed=(f"{ANN}/stopped",))
    news = model.apply([box.line(ANN, 1), box.put(closed)])
    assert news.closed == [(ANN, derive(ANN, "reply", 1)), (ANN, f"{ANN}/stopped")]
    assert model.has_ended(ANN, derive(ANN, "reply", 1))
    assert model.has_ended(ANN, f"{ANN}/stopped")
    assert not model.has_ended(ANN, f"{ANN}/open")


def test_handed_over_sessions_of_every_channel_longest_first(model: ReadModel) -> None:
    box = Outbox()
    model.apply(
        [
            box.put(View(session_id=ANN, seq=1, state="person", handed_over=over(ANN, 20))),
            box.put(View(session_id=CARD, seq=1, state="person", handed_over=over(CARD, 10))),
        ]
    )
    assert [one.session_id for one in model.handed_over()] == [CARD, ANN]
    model.apply([box.put(View(session_id=CARD, seq=2, state="bot.listening"))])
    assert model.handed_over() == [over(ANN, 20)]


def test_a_record_that_cannot_be_read_is_passed_over(model: ReadModel) -> None:
    box = Outbox()
    broken = box.line(ANN, 1)._replace(value=b"{")
    news = model.apply([broken, box.line(BEN, 1)])
    assert (news.unread, [line.session_id for line in news.lines]) == (1, [BEN])
    assert model.offsets() == {0: 2}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    box = Outbox()
    model = ReadModel(tmp_path / "m", installation="cluster/")
    model.apply([box.line(ANN, 1), box.line(BEN, 1, partition=1), box.line(ANN, 2)])
    model.close()
    again = ReadModel(tmp_path / "m", installation="cluster/")
    assert again.offsets() == {0: 2, 1: 1}
    assert len(again.lines(ANN, after=0, limit=9)) == 2
    again.close()


def test_where_it_is_may_be_past_the_last_record(model: ReadModel) -> None:
    box = Outbox()
    model.apply([box.line(ANN, 1), box.line(BEN, 1, partition=1)])
    model.reached({0: 2, 1: 1})
    assert model.offsets() == {0: 2, 1: 1}
    assert not rebuild_needed(model.offsets(), begins={0: 2, 1: 0}, ends={0: 2, 1: 1})


@pytest.mark.parametrize("how", ["another cluster", "another schema", "damaged"])
def test_another_installation_or_a_damaged_file_is_made_anew(how: str, tmp_path: Path) -> None:
    file = tmp_path / "m"
    model = ReadModel(file, installation="cluster/")
    model.apply([Outbox().line(ANN, 1)])
    if how == "another schema":
        model._db.execute("pragma user_version = 99")
    model.close()
    if how == "damaged":
        file.write_bytes(b"x" * 8_192)
    again = ReadModel(file, installation="other/" if how == "another cluster" else "cluster/")
    assert again.offsets() == {}
    assert not again.knows(ANN)
    again.apply([Outbox().line(ANN, 1)])
    again.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    model = ReadModel(tmp_path / "m", installation="cluster/")
    with pytest.raises(Refused, match="in use by another process"):
        ReadModel(tmp_path / "m", installation="cluster/")
    model.close()


def test_what_the_topic_keeps_no_longer_goes_the_oldest_first(model: ReadModel) -> None:
    box = Outbox()
    model.apply([box.line(ANN, 1), box.line(BEN, 1)])
    box.at_ms += 500
    model.apply([box.line(ANN, 2)])
    assert model.prune(1_000 + KEPT_MS) == 0
    assert model.prune(1_001 + KEPT_MS) == 3  # two lines and Ben's session
    assert [line.n for line in model.lines(ANN, after=0, limit=9)] == [2]
    assert not model.knows(BEN)
    model.prune(2_000 + KEPT_MS)
    assert not model.knows(ANN)


def test_who_waits_for_a_person_is_never_let_go(model: ReadModel) -> None:
    box = Outbox()
    model.apply([box.put(View(session_id=ANN, seq=1, state="person", handed_over=over(ANN, 1)))])
    model.prune(10 * KEPT_MS)
    assert [one.session_id for one in model.handed_over()] == [ANN]


def test_ended_replies_are_remembered_longer_than_their_frames(model: ReadModel) -> None:
    box = Outbox()
    closed = View(session_id=ANN, seq=1, state="s", closed=(f"{ANN}/r",))
    model.apply([box.put(closed)])
    model.prune(1_000 + CLOSED_KEPT_MS)
    assert model.has_ended(ANN, f"{ANN}/r")
    model.prune(1_001 + CLOSED_KEPT_MS)
    assert not model.has_ended(ANN, f"{ANN}/r")


@pytest.mark.parametrize(
    ("begins", "ends", "needed"),
    [
        ({0: 0}, {0: 5}, False),
        ({0: 5}, {0: 9}, False),
        ({0: 6}, {0: 9}, True),
        ({0: 0}, {0: 4}, True),
    ],
)
def test_a_topic_that_does_not_go_on_is_read_anew(
    begins: dict[int, int], ends: dict[int, int], needed: bool
) -> None:
    assert rebuild_needed({0: 5}, begins=begins, ends=ends) is needed
