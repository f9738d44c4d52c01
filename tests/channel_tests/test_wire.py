"""The wire protocol and the follower, without a wire."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.channels.webchat_follow import Follower
from adapters.channels.webchat_wire import (
    CONVERSATIONS_MAX,
    FRAME_CHARS_MAX,
    RUBBISH_MAX,
    ErrorFrame,
    Hello,
    Message,
    Ping,
    Wire,
    encode,
    language,
    read_hello,
    read_message,
)
from engine.ports import Frame, Line, SessionView

C = "conversation-1"
HELLO = {"type": "hello", "conversation": C}
MESSAGE = {"type": "message", "conversation": C, "id": "message-1", "text": "hi"}

VERDICT = {"type": "feedback", "conversation": C, "reply": "r", "verdict": "up"}


def greeted() -> Wire:
    wire = Wire()
    assert isinstance(wire.take(json.dumps(HELLO)), Hello)
    return wire


def line(n: int, author: str = "bot", text: str = "text") -> Line:
    return Line(session_id="s", id=f"line-{n}", author=author, text=text, at_ms=n, n=n)


def frame(n: int, attempt: int = 0, reply: str = "r") -> Frame:
    return Frame(reply_id=reply, session_id="s", attempt=attempt, n=n, text=f"text {n}")


def follower() -> Follower:
    made = Follower(C, "s", wake=lambda: None)
    made.begin(0)
    return made


@pytest.mark.parametrize(
    ("sent", "code", "names"),
    [
        ("junk", "bad_frame", "not valid JSON"),
        ("", "bad_frame", "not valid JSON"),
        ("[]", "bad_frame", "JSON object"),
        ("null", "bad_frame", "JSON object"),
        ("{}", "bad_frame", "field `type`"),
        ({"type": "nonsense"}, "bad_frame", "hello, message, stop, feedback, ping"),
        ({"type": 1}, "bad_frame", "field `type`"),
        ({"type": "hello"}, "bad_frame", "field `conversation`"),
        ({"type": "hello", "conversation": "short"}, "bad_frame", "8 to 64"),
        ({"type": "hello", "conversation": "a" * 65}, "bad_frame", "8 to 64"),
        ({"type": "hello", "conversation": C + "\n"}, "bad_frame", "8 to 64"),
        ({**HELLO, "after": -1}, "bad_frame", "field `after`"),
        ({**HELLO, "after": "1"}, "bad_frame", "field `after`"),
        ({**HELLO, "after": 2**60}, "bad_frame", "field `after`"),
        ({**HELLO, "locale": "<b>"}, "bad_frame", "field `locale`"),
        ({**MESSAGE, "text": None}, "bad_frame", "field `text`"),
        ({**MESSAGE, "text": ""}, "bad_frame", "field `text`"),
        ({**MESSAGE, "text": " \n"}, "bad_frame", "field `text`"),
        ({**MESSAGE, "id": "with space"}, "bad_frame", "field `id`"),
        ({**MESSAGE, "text": "x" * 16_385}, "too_long", "at most 16384"),
        ({**MESSAGE, "text": "字" * 5_462}, "too_long", "16386 bytes"),
        ({**MESSAGE, "quoted": "x" * 8_193}, "too_long", "field `quoted`"),
        ({**MESSAGE, "text": "x" * 1_000_000}, "too_long", str(FRAME_CHARS_MAX)),
        ({**VERDICT, "verdict": "so-so"}, "bad_frame", "up or down"),
        (json.dumps({**MESSAGE, "text": "\ud800"}), "bad_frame", "surrogates"),
        ('{"type":"ping","x":"\ud800"}', "bad_frame", "surrogates"),
        (b"\x00\x01", "bad_frame", "binary"),
        ("[" * 5_000, "bad_frame", "JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_answered_with_the_field_and_the_fix(
    sent: Any, code: str, names: str
) -> None:
    wire = greeted()
    got = wire.take(sent if isinstance(sent, str | bytes) else json.dumps(sent))
    assert isinstance(got, ErrorFrame)
    assert got.code == code
    assert names in got.text
    assert isinstance(wire.take(json.dumps(MESSAGE)), Message)


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.text(), st.lists).map(str)))
def test_nothing_that_a_client_sends_raises(sent: str | bytes) -> None:
    assert greeted().take(sent) is not None


def test_a_message_needs_a_hello_for_its_conversation() -> None:
    got = Wire().take(json.dumps(MESSAGE))
    assert isinstance(got, ErrorFrame)
    assert (got.code, got.conversation, got.id) == ("hello_first", C, "message-1")


def test_a_socket_follows_a_bounded_number_of_conversations() -> None:
    wire = Wire()
    for n in range(CONVERSATIONS_MAX):
        assert isinstance(wire.take(json.dumps({**HELLO, "conversation": f"number-{n:03}"})), Hello)
    got = wire.take(json.dumps({**HELLO, "conversation": "one-too-many"}))
    assert isinstance(got, ErrorFrame)
    assert got.code == "too_many_conversations"
    assert isinstance(wire.take(json.dumps({**HELLO, "conversation": "number-000"})), Hello)


def test_only_rubbish_in_a_row_makes_a_socket_hopeless() -> None:
    wire = greeted()
    for _ in range(RUBBISH_MAX - 1):
        wire.take("junk")
    assert isinstance(wire.take('{"type":"ping"}'), Ping)
    for n in range(RUBBISH_MAX):
        assert not wire.hopeless, n
        wire.take("junk")
    assert wire.hopeless


def test_the_twins_check_what_the_socket_checks() -> None:
    assert isinstance(read_message(C, b'{"id":"message-1","text":"hi"}'), Message)
    assert isinstance(read_hello(C, "12"), Hello)
    for bad in (
        read_message("short", b'{"id":"message-1","text":"hi"}'),
        read_message(C, b'{"id":"message-1"}'),
        read_message(C, b"\xff"),
        read_hello(C, "-1"),
        read_hello(C, "many"),
    ):
        assert isinstance(bad, ErrorFrame)


def test_the_first_accepted_language_is_taken_and_nothing_else() -> None:
    assert language("zh-CN,zh;q=0.9,en;q=0.8") == "zh-CN"
    assert language("en;q=0.8") == "en"
    assert language("") == language("*") == language("<script>") == ""


def test_frames_have_the_contract_s_shape() -> None:
    follow = follower()
    follow.stepped(SessionView(session_id="s", state="bot.answering", busy=True, person=False))
    follow.show(frame(3, attempt=1))
    state, shown = follow.next_state(), follow.next_frame()
    assert state is not None
    assert shown is not None
    assert json.loads(encode(state)) == {
        "type": "state", "conversation": C, "state": "bot.answering", "busy": True, "person": False,
    }  # fmt: skip
    assert json.loads(encode(shown)) == {
        "type": "frame", "conversation": C, "reply": "r", "attempt": 1, "n": 3,
        "text": "text 3", "html": "<p>text 3</p>\n",
    }  # fmt: skip


def test_a_line_is_sent_only_when_it_is_the_next_one() -> None:
    follow = follower()
    assert follow.take(line(2)) is None
    assert follow.take(line(1)) is not None
    assert follow.take(line(1)) is None
    assert follow.take(line(2)) is not None


@given(st.lists(st.integers(1, 8), max_size=40))
def test_whatever_order_lines_are_told_in_they_are_sent_once_and_in_order(told: list[int]) -> None:
    log = [line(n) for n in range(1, 9)]
    follow = follower()
    sent: list[int] = []

    def write() -> None:
        while follow.behind:
            writes = follow.writes
            lines = follow.held() or log[follow.cursor : max([0, *told])]
            before = follow.cursor
            sent.extend(got.n for one in lines if (got := follow.take(one)))
            if follow.cursor == before:
                follow.caught_up(writes)
                return

    for n in told:
        follow.wrote(log[n - 1])
        if n % 2:
            write()
    write()
    assert sent == list(range(1, max([0, *told]) + 1))


def test_a_line_written_while_the_log_was_read_is_not_forgotten() -> None:
    follow = follower()
    writes = follow.writes
    follow.wrote(line(1))
    follow.caught_up(writes)
    assert follow.behind


def test_frames_are_coalesced_and_older_ones_dropped() -> None:
    follow = follower()
    for shown in (
        frame(1),
        frame(3),
        frame(2),
        frame(9, attempt=0),
        frame(1, attempt=1),
        frame(10),
    ):
        follow.show(shown)
    got = follow.next_frame()
    assert got is not None
    assert (got.attempt, got.n) == (1, 1)
    assert follow.next_frame() is None


def test_a_reply_that_has_its_line_shows_no_frame_any_more() -> None:
    follow = follower()
    follow.show(frame(1, reply="line-1"))
    follow.take(line(1))
    follow.show(frame(2, reply="line-1"))
    assert follow.next_frame() is None


def test_a_follower_holds_a_bounded_number_of_records() -> None:
    follow = follower()
    for n in range(1, 5_000):
        follow.wrote(line(n))
        follow.show(frame(1, reply=f"r{n}"))
    held = [value for value in vars(follow).values() if hasattr(value, "__len__")]
    assert sum(map(len, held)) < 300


def test_a_reply_that_ended_while_its_client_was_elsewhere_is_not_shown_as_open() -> None:
    # Behind with reading, a host shows the frames of an outage before it hears how they ended; its
    # client has those lines from another host, and asked for what comes after them.
    made = follower()
    made.show(frame(1, reply="line-7"))
    made.show(frame(1, reply="open"))
    made.begin(7)
    made.wrote(line(7))
    made.caught_up(made.writes)
    shown = made.next_frame()
    assert shown is not None
    assert shown.reply == "open"
    assert made.next_frame() is None
