"""Rows that are read without a partition, a role or a broker."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from adapters.kafka.records import Fetched, Headers
from engine import codec
from engine.effects import Effect, SendMessage, SkillRequest
from engine.errors import InvalidRecord
from engine.events import Address
from engine.limits import EFFECT_BYTES_MAX, EVENT_BYTES_MAX
from engine.ports import Frame
from streams import wire
from streams.cluster.newest_frames import newest_frames
from streams.sessions import Order
from streams.topics import T

SESSION = "ding:bot:ann"


def fetched(reply: str, *, attempt: int, n: int, offset: int) -> Fetched:
    frame = Frame(reply_id=reply, session_id=SESSION, attempt=attempt, n=n, text="so far")
    row = wire.frame_row(frame, outbox=frozenset())
    return Fetched(T.FRAMES, 0, offset, 0, row.key, row.value, row.headers)


def test_a_request_whose_id_leads_to_another_session_is_not_performed() -> None:
    good = SkillRequest(
        session_id=SESSION,
        effect_id=f"{SESSION}/1",
        skill="echo",
        text="hi",
        locale="",
        expires_ms=1,
    )
    assert wire.request_of(requested(good)) == good
    for effect_id in ("abc", "ding:bot:ben/1"):
        with pytest.raises(InvalidRecord, match="not of the session"):
            wire.request_of(requested(replace(good, effect_id=effect_id)))
    with pytest.raises(InvalidRecord, match="of no session"):
        wire.request_of(requested(replace(good, session_id="abc", effect_id="abc/1")))


def requested(request: SkillRequest) -> Fetched:
    return Fetched(T.SKILL, 0, 0, 0, SESSION.encode(), codec.encode(request), ())


def test_the_newest_frame_of_each_reply_counts_and_one_of_nobody_holds_up_none() -> None:
    nobodys = Fetched(T.FRAMES, 0, 2, 0, b"", b"{}")
    records = [
        fetched(f"{SESSION}:1", attempt=1, n=9, offset=0),
        fetched(f"{SESSION}:1", attempt=2, n=1, offset=1),
        nobodys,
        fetched(f"{SESSION}:1", attempt=2, n=0, offset=3),
        fetched("webchat:web:ben:1", attempt=1, n=1, offset=4),
        fetched(f"{SESSION}:2", attempt=1, n=1, offset=5),
    ]
    newest = newest_frames(records, ours=lambda reply: reply.startswith("ding:"))
    assert {reply: record.offset for reply, record in newest.of.items()} == {
        f"{SESSION}:1": 1,
        f"{SESSION}:2": 5,
    }
    assert newest.unreadable == 1


def test_an_order_is_as_long_as_an_effect_with_an_address_and_no_longer() -> None:
    """What is made of a longer one fits no batch: it would end the egress of its partition."""

    def ordered(text: int, token: int) -> Fetched:
        body = SendMessage(reply_id=f"{SESSION}/r", text="x" * text)
        effect = Effect(id=f"{SESSION}/e", session_id=SESSION, epoch=1, cause="c", body=body)
        more = Address(
            channel="d", account="b", conversation="c", sender="s", reply_token="x" * token
        )
        row = wire.order_row(Order(effect, more, at_ms=2**47, excuse=True))
        return Fetched(T.EGRESS, 0, 0, 0, row.key, row.value)

    assert wire.order_of(ordered(EFFECT_BYTES_MAX - 200, EVENT_BYTES_MAX - 200)).excuse
    with pytest.raises(InvalidRecord, match=r"order of 3[0-9]+ bytes: at most 327680"):
        wire.order_of(ordered(EFFECT_BYTES_MAX, EVENT_BYTES_MAX))


def test_an_order_whose_reply_is_no_reply_of_its_session_is_not_taken() -> None:
    """Its delivery would stand where the partition's watermark does."""
    body = SendMessage(reply_id="#watermark", text="x")
    effect = Effect(id=f"{SESSION}/e", session_id=SESSION, epoch=1, cause="c", body=body)
    row = wire.order_row(Order(effect, None))
    with pytest.raises(InvalidRecord, match="order is not of the session"):
        wire.order_of(Fetched(T.EGRESS, 0, 0, 0, row.key, row.value))


@pytest.mark.parametrize("read", [wire.frame_of, wire.delivery_of])
def test_a_frame_or_a_delivery_that_would_fit_no_batch_is_not_read(
    read: Callable[[bytes | None], object],
) -> None:
    with pytest.raises(InvalidRecord, match="of 900000 bytes: at most"):
        read(b"x" * 900_000)


@pytest.mark.parametrize("name", ["lines", "due", "since", "unwoken"])
@pytest.mark.parametrize("value", [b"-5", b"9223372036854775808", b"soon", b"", None])
def test_a_header_that_is_no_count_and_no_time_makes_its_row_unreadable(
    name: str, value: bytes | None
) -> None:
    headers: Headers = ((name, value),)  # type: ignore[assignment]  # anybody may make it null
    with pytest.raises(InvalidRecord, match=f"header `{name}`"):
        wire.kept_of(b"{}", headers)


def test_a_time_of_appending_that_no_clock_shows_is_not_believed() -> None:
    record = Fetched(T.EVENTS, 0, 0, 7, b"", b"", (("appended", b"9223372036854775808"),))
    assert wire.appended_ms(record) == 7
    assert wire.appended_ms(record._replace(headers=(("appended", b"5"),))) == 5
