"""One partition of a cluster, without a cluster: what its rows say, and what a new owner reads."""

import json
from collections.abc import Iterable, Sequence

import pytest
from msgspec.structs import replace

from adapters.kafka.records import Fetched, Row
from engine import codec
from engine.errors import Refused
from engine.events import ClockReached, Event, FlowActivated, ModelReplied
from engine.flow import Flow
from engine.fold import fold
from engine.ids import outcome_event_id
from engine.limits import EVENT_BYTES_MAX
from engine.ports import Append, Incoming
from engine.pseudonym import Key
from engine.step import new_session
from statemachines import registry
from streams import ingress, wire
from streams.ingress import Ingress
from streams.partition import Partition
from streams.sessions import activated
from streams.topics import T

KEYS = (Key(id="k1", secret=b"s" * 32),)
CONFIG = b"{}"
WEB = Ingress("webchat", "web", keys=KEYS, known=lambda session_id: False)
DING = Ingress("dingtalk", "bot", keys=KEYS, known=lambda session_id: False)
START_MS = 1_800_000_000_000


def build(body: FlowActivated) -> Flow:
    return registry.build(body.flow, bytes(body.config))


class Log:
    """What `conversation.events` and `conversation.sessions` hold of partition 0."""

    def __init__(self) -> None:
        flow = registry.build("assistant", CONFIG)
        self.control = activated(flow, CONFIG, at_ms=START_MS)
        self.events: list[Fetched] = []
        self.rows: list[Row] = []
        self.now_ms = START_MS
        self.append(Append("", self.control.id, codec.encode(self.control)))

    def append(self, append: Append, *, key: str | None = None) -> Fetched:
        key = append.session_id if key is None else key
        record = Fetched(T.EVENTS, 0, len(self.events), self.now_ms, key.encode(), append.value, ())
        self.events.append(record)
        return record

    def say(self, text: str, *, who: str = "ann", message: str = "", by: Ingress = WEB) -> Append:
        self.now_ms += 1_000
        incoming = Incoming(
            account="bot" if by is DING else "web",
            conversation=who,
            sender=who,
            message_id=message or f"m{len(self.events)}",
            text=text,
        )
        append = by.message(incoming, now_ms=self.now_ms).append
        self.append(append)
        return append

    def reply(self, partition: Partition, text: str) -> None:
        """The outcome of the newest request."""
        self.now_ms += 1_000
        request = wire.request_of(as_fetched([r for r in self.rows if r.topic == T.MODEL])[-1])
        event = Event(
            id=outcome_event_id(request.effect_id),
            session_id=request.session_id,
            at_ms=self.now_ms,
            source="runner",
            effect=request.effect_id,
            body=ModelReplied(text=text),
        )
        self.append(Append(event.session_id, event.id, codec.encode(event)))

    def owner(self, *, shown: str | None = None, outbox: Sequence[str] = ("webchat",)) -> Partition:
        partition = Partition(
            0, build=build, outbox=frozenset(outbox), shown=lambda reply_id: shown
        )
        partition.recover(as_fetched([row for row in self.rows if row.topic == T.SESSIONS]))
        partition.recovered()
        return partition

    def step(self, partition: Partition, *, deadly: bool = False) -> list[Row]:
        """Step all that is new; its rows, durable."""
        decided = partition.decide(self.events, now_ms=self.now_ms, deadly=deadly)
        if decided is None:
            return []
        partition.confirm(decided)
        self.rows += decided.rows
        return decided.rows


def as_fetched(rows: Iterable[Row]) -> list[Fetched]:
    return [
        Fetched(row.topic, 0, at, 0, row.key, row.value, row.headers) for at, row in enumerate(rows)
    ]


def lines(rows: Iterable[Row]) -> list[tuple[int, str, str]]:
    shown = [wire.shown_of(row.value) for row in rows if row.topic == T.OUTBOX]
    said = [one.line for one in shown if isinstance(one, wire.Said)]
    return [(line.n, line.author, line.text) for line in said]


def views(rows: Iterable[Row]) -> list[wire.View]:
    shown = [wire.shown_of(row.value) for row in rows if row.topic == T.OUTBOX]
    return [one for one in shown if isinstance(one, wire.View)]


def of(rows: Iterable[Row], topic: T) -> list[Row]:
    return [row for row in rows if row.topic == topic]


def test_what_a_person_wrote_stands_above_what_it_led_to_and_lines_are_numbered() -> None:
    log = Log()
    owner = log.owner()
    log.say("hi")
    log.say("转人工")
    rows = log.step(owner)
    told = lines(rows)
    assert [n for n, _, _ in told] == list(range(1, len(told) + 1))
    assert [(author, text) for _, author, text in told if author == "user"] == [
        ("user", "hi"),
        ("user", "转人工"),
    ]
    assert told[0][2] == "hi"
    asked = next(at for at, line in enumerate(told) if line[2] == "转人工")
    assert any(author == "bot" for _, author, _ in told[asked + 1 :])


def test_a_reply_of_web_chat_is_a_line_and_no_order_and_another_channels_is_an_order() -> None:
    log = Log()
    owner = log.owner()
    log.say("hi")
    log.step(owner)
    log.reply(owner, "Good day.")
    rows = log.step(owner)
    assert lines(rows)[-1][1:] == ("bot", "Good day.")
    assert of(rows, T.EGRESS) == []

    other = log.owner(outbox=())
    assert other.watermark == owner.watermark
    log.say("hi", who="bob", by=DING)
    log.step(other)
    log.reply(other, "Good evening.")
    rows = log.step(other)
    assert of(rows, T.OUTBOX) == []
    (order,) = of(rows, T.EGRESS)
    assert order.key == b"dingtalk:bot"
    read = wire.order_of(as_fetched([order])[0])
    assert read.address is not None
    assert "Good evening." in (order.value or b"").decode()


def test_a_repeated_message_has_one_line() -> None:
    log = Log()
    owner = log.owner()
    log.say("hi", message="m")
    log.step(owner)
    log.say("hi", message="m")
    rows = log.step(owner)
    assert lines(rows) == []
    assert len(of(rows, T.STEPS)) == 1


def test_a_new_owner_goes_on_where_the_last_one_was() -> None:
    log = Log()
    owner = log.owner()
    for turn in range(4):
        log.say(f"question {turn}")
        log.step(owner)
        log.reply(owner, f"answer {turn}")
        log.step(owner)
        owner = log.owner()  # after each turn a new one
    told = lines(log.rows)
    assert [n for n, _, _ in told] == list(range(1, len(told) + 1))

    plain = Log()
    one_owner = plain.owner()
    plain.events = log.events
    plain.now_ms = log.now_ms
    plain.step(one_owner)
    newest = {row.key: row.value for row in of(log.rows, T.SESSIONS) if row.key[:1] != b"#"}
    at_once = {row.key: row.value for row in of(plain.rows, T.SESSIONS) if row.key[:1] != b"#"}
    assert newest == at_once
    assert len(newest) == 1

    # And the engine's own fold says the same.
    ((key, value),) = newest.items()
    flow = registry.build("assistant", CONFIG)
    events = [codec.decode_event(r.value or b"") for r in log.events if r.key == key]
    folded = fold(flow, events, new_session(flow, key.decode()))
    assert codec.encode(folded) == value


def test_what_was_applied_is_not_applied_again() -> None:
    log = Log()
    owner = log.owner()
    log.say("hi")
    log.step(owner)
    assert owner.decide(log.events, now_ms=log.now_ms) is None
    assert log.owner().decide(log.events, now_ms=log.now_ms) is None


def test_events_before_a_flow_are_refused_not_set_aside() -> None:
    log = Log()
    log.events.clear()
    log.say("hi")
    with pytest.raises(Refused, match="no flow was activated for partition 0"):
        log.step(log.owner())


def test_an_owner_without_the_active_version_refuses_the_partition() -> None:
    log = Log()
    log.step(log.owner())

    def lacks(body: FlowActivated) -> Flow:
        raise Refused(f"flow {body.flow} is not in this version")

    partition = Partition(0, build=lacks, outbox=frozenset())
    partition.recover(as_fetched(of(log.rows, T.SESSIONS)))
    with pytest.raises(Refused, match="not in this version"):
        partition.recovered()


@pytest.mark.parametrize(
    "alien",
    [
        Row(T.SESSIONS, b"\xff\xfe", b"x"),
        Row(T.SESSIONS, b"\xff\xfe", None),
        Row(T.SESSIONS, b"webchat:web:k1:x", b"x", (("due", b"soon"),)),
        Row(T.SESSIONS, b"webchat:web:k1:x", b"x", (("since", None),)),  # type: ignore[arg-type]
        Row(T.SESSIONS, b"webchat:web:k1:x", b"x", (("excused", b"\xff"),)),
    ],
)
def test_a_session_row_that_cannot_be_read_is_as_if_it_were_not_there(alien: Row) -> None:
    log = Log()
    said = log.say("hi")
    log.step(log.owner())
    log.rows += [alien, alien._replace(key=said.session_id.encode()) if alien.headers else alien]
    owner = log.owner()
    assert len(owner) == 1
    assert owner.unreadable == 2
    log.say("and again")
    assert [n for n, author, _ in lines(log.step(owner)) if author == "user"] == [2]


def test_a_row_that_holds_another_session_sets_the_events_of_its_own_aside() -> None:
    """Whose words it has must not become an answer to somebody else."""
    log = Log()
    ann, ben = log.say("hi", who="ann"), log.say("hi", who="ben")
    log.step(log.owner())
    (bens,) = [row for row in of(log.rows, T.SESSIONS) if row.key == ben.session_id.encode()]
    log.rows.append(bens._replace(key=ann.session_id.encode()))
    log.say("again", who="ann")
    log.say("again", who="ben")
    rows = log.step(log.owner())
    (letter,) = wire.letters_of(as_fetched(of(rows, T.DEAD)))
    assert letter.session_id == ann.session_id
    assert "holds another session" in letter.error
    assert [step.key for step in of(rows, T.STEPS)] == [ben.session_id.encode()]
    assert {view.session_id for view in views(rows)} == {ben.session_id}


@pytest.mark.parametrize("key", [wire.WATERMARK, wire.FLOW, wire.ATTEMPT, wire.PROMOTION])
def test_an_own_row_that_cannot_be_read_is_refused_with_its_place(key: bytes) -> None:
    log = Log()
    log.step(log.owner())
    log.rows.append(Row(T.SESSIONS, key, b"{}"))
    with pytest.raises(Refused, match=r"conversation\.sessions:0:\d+: .*write the row anew"):
        log.owner()


def test_a_record_that_cannot_be_read_is_set_aside_and_the_next_is_stepped() -> None:
    log = Log()
    owner = log.owner()
    log.append(Append("webchat:web:k1:x", "x", b"rubbish"))
    log.append(Append("webchat:web:k1:x", "x", b""))
    mine = log.say("hi")
    log.append(mine, key="webchat:web:k1:somebody-else")
    log.append(mine, key="\udcff".encode("utf-8", "surrogateescape").decode("latin-1"))
    rows = log.step(owner)
    letters = wire.letters_of(as_fetched(of(rows, T.DEAD)))
    assert [letter.offset for letter in letters] == [1, 2, 4, 5]
    assert "not of the session" in letters[2].error
    assert ("user", "hi") in [line[1:] for line in lines(rows)]
    assert owner.watermark == 5


@pytest.mark.parametrize("session_id", ["", "abc", "a:b", "#watermark", "#flow:a:b"])
@pytest.mark.parametrize("body", ["message", "wake"])
def test_an_event_of_no_session_is_set_aside_and_writes_nothing_else(
    session_id: str, body: str
) -> None:
    log = Log()
    log.step(log.owner())
    said = codec.decode_event(log.say("转人工", by=DING).value)
    log.events.pop()
    event = replace(said, session_id=session_id, id=f"{session_id}/x")
    if body == "wake":
        event = replace(event, body=ClockReached(due_ms=1))
    log.append(Append(session_id, event.id, codec.encode(event)))
    log.say("hi")
    rows = log.step(log.owner())
    (letter,) = wire.letters_of(as_fetched(of(rows, T.DEAD)))
    assert (letter.offset, letter.session_id) == (1, session_id)
    assert next(line[1] for line in lines(rows)) == "user"
    assert of(rows, T.EGRESS) == []
    named = {row.key for row in of(rows, T.SESSIONS)}
    assert session_id.encode() not in named - {wire.WATERMARK}
    assert log.owner().watermark == 2  # the next owner reads what it left


def test_an_event_under_another_sessions_key_changes_neither_session() -> None:
    log = Log()
    log.step(log.owner())
    mine = log.say("hi")
    log.events.pop()
    log.append(mine, key="webchat:web:k1:somebody-else")
    rows = log.step(log.owner())
    assert len(of(rows, T.DEAD)) == 1
    assert lines(rows) == []
    assert {row.key for row in of(rows, T.SESSIONS)} == {wire.WATERMARK}


def test_a_record_of_any_size_has_a_letter_that_fits_a_record() -> None:
    log = Log()
    log.step(log.owner())
    log.append(Append("k" * 500_000, "x", b"x" * 1_000_000))
    (row,) = of(log.step(log.owner()), T.DEAD)
    assert len(row.value or b"") < 2 * EVENT_BYTES_MAX


def test_a_configuration_that_no_record_can_hold_is_refused() -> None:
    config = json.dumps({"system_prompt": "x" * 70_000}).encode()
    with pytest.raises(Refused, match=r"at most 65536: shorten .*flow\.system_prompt"):
        activated(registry.build("assistant", config), config, at_ms=START_MS)


def test_an_event_begun_three_times_is_set_aside_and_its_person_told_once() -> None:
    log = Log()
    log.step(log.owner())
    said = log.say("poison")
    record = log.events[-1]
    for _ in range(3):  # each owner dies in its step
        attempt = log.owner().attempt(record, last=record.offset)
        assert attempt is not None
        log.rows.append(attempt)
    owner = log.owner()
    assert owner.doubtful == record.offset
    assert owner.attempt(record, last=record.offset) is None
    rows = log.step(owner, deadly=True)
    assert len(of(rows, T.DEAD)) == 1
    flow = registry.build("assistant", CONFIG)
    assert [line[1:] for line in lines(rows)] == [("user", "poison"), ("bot", flow.apology)]

    # The page sends it again, since nobody acknowledged it in time: nobody is told a second time.
    log.append(said)
    rows = log.step(log.owner(), deadly=True)
    assert len(of(rows, T.DEAD)) == 1
    assert lines(rows) == []

    # The next message is stepped, and its line is the third.
    log.say("hi")
    assert next(n for n, _, _ in lines(log.step(log.owner()))) == 3


def test_a_reply_that_is_stopped_keeps_what_was_last_shown() -> None:
    log = Log()
    owner = log.owner(shown="Once upon")
    said = log.say("tell me a story")
    log.step(owner)
    (reply,) = views(log.rows)[-1].replies
    stop = ingress.stop_requested(said.session_id, reply, request_id="r", now_ms=log.now_ms + 1)
    log.append(stop.append)
    rows = log.step(owner)
    assert lines(rows)[-1][1:] == ("bot", "Once upon")
    (view,) = views(rows)
    assert view.closed == (reply,)
    assert view.replies == ()
    assert not view.busy
    assert len(of(rows, T.CANCEL)) == 1


def test_one_that_showed_nothing_ends_without_a_line() -> None:
    log = Log()
    owner = log.owner(shown=None)
    said = log.say("tell me a story")
    log.step(owner)
    (reply,) = views(log.rows)[-1].replies
    log.append(
        ingress.stop_requested(said.session_id, reply, request_id="r", now_ms=log.now_ms).append
    )
    rows = log.step(owner)
    assert all(author == "user" for _, author, _ in lines(rows))
    assert views(rows)[0].closed == (reply,)


def test_a_handed_over_session_is_told_of_on_every_channel_until_it_is_back() -> None:
    log = Log()
    owner = log.owner()
    said = log.say("转人工", who="bob", by=DING)
    (view,) = views(log.step(owner))
    assert view.handed_over is not None
    since_ms = view.handed_over.since_ms
    assert since_ms == log.now_ms

    owner = log.owner()  # remembered over a move
    log.say("anybody there?", who="bob", by=DING)
    (view,) = views(log.step(owner))
    assert view.handed_over is not None
    assert view.handed_over.since_ms == since_ms

    log.now_ms += 1_000
    back = ingress.handed_back(said.session_id, operator="eve", request_id="r", now_ms=log.now_ms)
    log.append(back.append)
    (view,) = views(log.step(owner))
    assert view.handed_over is None
    log.say("hi", who="bob", by=DING)
    assert views(log.step(owner)) == []


def test_a_session_row_says_when_it_is_due_and_a_watermark_comes_with_each_batch() -> None:
    log = Log()
    owner = log.owner()
    log.say("hi")
    rows = log.step(owner)
    (session,) = [row for row in of(rows, T.SESSIONS) if row.key[:1] != b"#"]
    due_ms = wire.due_of(session.headers)
    assert due_ms is not None
    assert due_ms > log.now_ms
    (mark,) = [row for row in of(rows, T.SESSIONS) if row.key == wire.WATERMARK]
    assert wire.watermark_of(mark.value or b"").offset == log.events[-1].offset
    assert {row.partition for row in of(rows, T.SESSIONS)} == {0}
