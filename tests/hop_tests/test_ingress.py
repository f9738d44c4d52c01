"""What a platform hands over becomes an event that can be recorded, or is refused and says why."""

import pytest
from msgspec.structs import replace

from engine import codec
from engine.errors import Refused
from engine.events import Event, MessageReceived
from engine.ports import DeadLetter, Incoming
from engine.pseudonym import Key
from streams.ingress import (
    ID_CHARS_MAX,
    REPLY_TOKEN_BYTES_MAX,
    Ingress,
    Taken,
    feedback_given,
    redriven,
    stop_requested,
)

NOW_MS = 1_700_000_000_000
IDS = {"message_id": "message id", "conversation": "conversation id", "sender": "sender id"}


INGRESS = Ingress(
    "dingtalk", "bot", keys=(Key(id="k1", secret=b"s" * 32),), known=lambda session_id: False
)


def taken(**given: object) -> tuple[Event, MessageReceived]:
    """The event that is made of a message, read back from its bytes."""
    fields = {"account": "bot", "conversation": "c", "sender": "s", "message_id": "m", "text": "hi"}
    incoming = Incoming(**(fields | given))  # type: ignore[arg-type]
    event = codec.decode_event(INGRESS.message(incoming, now_ms=NOW_MS).append.value)
    assert isinstance(event.body, MessageReceived)
    return event, event.body


@pytest.mark.parametrize("field", IDS)
@pytest.mark.parametrize(
    "broken", ["a\x00b", "a\nb", "\ta", "a\x7f", "a\x9fb", "a\ud800", "\udfffa"]
)
def test_an_id_with_what_cannot_be_recorded_is_refused(field: str, broken: str) -> None:
    with pytest.raises(Refused, match=rf"{IDS[field]} has control characters or halves"):
        taken(**{field: broken})


@pytest.mark.parametrize("field", IDS)
@pytest.mark.parametrize("length", [0, ID_CHARS_MAX + 1])
def test_an_id_of_no_characters_or_too_many_is_refused(field: str, length: int) -> None:
    with pytest.raises(Refused, match=rf"{IDS[field]} has {length} characters"):
        taken(**{field: "a" * length})


def test_an_id_is_recorded_as_it_came() -> None:
    _, body = taken(message_id=" m 1 ", conversation="群聊/1==", sender="$:LWCP_v1:$x+y")
    assert body.message_id == " m 1 "
    assert (body.address.conversation, body.address.sender) == ("群聊/1==", "$:LWCP_v1:$x+y")


@pytest.mark.parametrize("time_ms", [-1, -(2**70), 253_402_300_800_000, 2**70])
def test_a_time_that_no_clock_shows_counts_as_not_given(time_ms: int) -> None:
    event, body = taken(sent_ms=time_ms, reply_token="t", reply_token_expires_ms=time_ms)
    assert event.sent_ms is None
    assert body.address.reply_token == "t"
    assert body.address.reply_token_expires_ms is None


def test_a_time_that_a_clock_shows_is_kept() -> None:
    event, body = taken(sent_ms=NOW_MS - 1, reply_token="t", reply_token_expires_ms=NOW_MS + 1)
    assert event.sent_ms == NOW_MS - 1
    assert body.address.reply_token_expires_ms == NOW_MS + 1


@pytest.mark.parametrize(
    "token", ["t" * (REPLY_TOKEN_BYTES_MAX + 1), "汉" * 700, "a\nb", "a\udc00"]
)
def test_a_reply_token_that_cannot_be_one_counts_as_not_given(token: str) -> None:
    _, body = taken(reply_token=token, reply_token_expires_ms=NOW_MS)
    assert (body.address.reply_token, body.address.reply_token_expires_ms) == ("", None)


def test_the_longest_reply_token_is_kept() -> None:
    token = "t" * REPLY_TOKEN_BYTES_MAX
    assert taken(reply_token=token)[1].address.reply_token == token


def test_who_goes_back_to_their_first_verdict_is_heard_where_each_verdict_has_an_id() -> None:
    def event_id(verdict: str, request_id: str = "") -> str:
        return feedback_given(
            "s",
            "s/reply",
            verdict=verdict,  # type: ignore[arg-type]
            text="",
            now_ms=NOW_MS,
            request_id=request_id,
        ).append.event_id

    assert len({event_id("up", "1"), event_id("down", "2"), event_id("up", "3")}) == 3
    assert event_id("up", "1") == event_id("up", "1")
    # A client that gives none: the same verdict is the same event, however often it is sent.
    assert event_id("up") == event_id("up") != event_id("down")


def pressed(reply_id: str) -> list[Taken]:
    return [
        stop_requested("s", reply_id, request_id="1", now_ms=NOW_MS),
        feedback_given("s", reply_id, verdict="up", text="", now_ms=NOW_MS),
    ]


def test_a_press_names_a_reply_as_long_as_one_can_be_or_none() -> None:
    for reply_id in ("", "s/" + "0" * (ID_CHARS_MAX - 2)):
        for taken in pressed(reply_id):
            assert codec.decode_event(taken.append.value).body.reply_id == reply_id  # type: ignore[union-attr]


@pytest.mark.parametrize("reply_id", ["a" * (ID_CHARS_MAX + 1), "a\x00", "\ud800"])
def test_a_press_for_what_no_reply_is_called_is_refused(reply_id: str) -> None:
    with pytest.raises(Refused, match="reply id has "):
        stop_requested("s", reply_id, request_id="1", now_ms=NOW_MS)
    with pytest.raises(Refused, match="reply id has "):
        feedback_given("s", reply_id, verdict="up", text="", now_ms=NOW_MS)


def test_another_account_s_message_is_refused() -> None:
    with pytest.raises(Refused, match="gateway of 'dingtalk:bot'"):
        taken(account="web")
    assert INGRESS.is_ours(INGRESS.session_id("c", "s"))
    for session_id in ("dingtalk:bots:k1:0", "webchat:bot:k1:0", "dingtalk:bot:\ud800", ""):
        assert not INGRESS.is_ours(session_id)


def test_an_order_that_was_set_aside_is_no_event_and_is_not_taken_again() -> None:
    event, _ = taken()
    letter = DeadLetter(
        partition=3, offset=17, session_id="", error="e", value=codec.encode(event), at_ms=1
    )
    assert letter.number == "3:17"
    assert redriven(letter, operator="olga", now_ms=2).letter is not None
    order = replace(letter, topic="im.egress")
    with pytest.raises(Refused, match=r"im\.egress:3:17 is no event"):
        redriven(order, operator="olga", now_ms=2)
