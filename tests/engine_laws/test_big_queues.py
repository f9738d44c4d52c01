"""Messages that each are within bounds, and that a session has no room for all the same.

JSON doubles a quotation mark and makes six characters of a control character, so that fewer than
`QUEUE_MAX` such messages fill a session. What has no room is refused and told so, as the ninth of a
queue is; what had its place keeps it.
"""

from typing import Any

import msgspec
import pytest

from engine import codec
from engine.effects import SendMessage
from engine.events import Event
from engine.limits import (
    EVENT_BYTES_MAX,
    MESSAGE_TEXT_BYTES_MAX,
    QUEUE_MAX,
    QUOTED_TEXT_BYTES_MAX,
    SESSION_BYTES_MAX,
)
from engine.session import Step
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig
from tests.engine_laws.strategies import Outcome, Play, Say, Wait
from tests.engine_laws.table_flow import TableFlow
from tests.flow_tests.dialog import Dialog

BIG = {
    "quotation marks": ('"' * MESSAGE_TEXT_BYTES_MAX, '"' * QUOTED_TEXT_BYTES_MAX),
    "control characters": ("\x01" * 10_000, ""),
    "backslashes that quote little": ("\\" * MESSAGE_TEXT_BYTES_MAX, "\\"),
}
big = pytest.mark.parametrize(("text", "quoted"), BIG.values(), ids=BIG)


def busy() -> Play:
    """A session in which messages wait for a skill."""
    return Play([TableFlow()]).play([Say("skill"), Wait(None)])


def send(play: Play, text: str, quoted: str) -> Step:
    event = play._message("")
    body = msgspec.structs.replace(event.body, text=text, quoted=quoted)
    event = msgspec.structs.replace(event, body=body)
    assert len(codec.encode(event)) <= EVENT_BYTES_MAX
    return play.record(event)


def fill(play: Play, text: str, quoted: str) -> list[Event]:
    """Send until one is not queued; those that were."""
    queued: list[Event] = []
    while send(play, text, quoted).record.note == "postponed":
        queued.append(play.events[-1])
        assert len(queued) <= QUEUE_MAX
    return queued


@big
def test_a_queue_too_big_refuses_its_last_message(text: str, quoted: str) -> None:
    play = busy()
    queued = fill(play, text, quoted)
    assert 0 < len(queued) < QUEUE_MAX
    last = play.steps[-1]
    assert last.record.note == "refused"
    assert last.record.error is None
    assert [(d.message, d.how) for d in last.record.dispositions] == [
        (play.events[-1].id, "refused")
    ]
    assert [effect.body for effect in last.record.effects] == [
        SendMessage(reply_id=play.replies[-1], text="too many at once")
    ]
    assert len(last.encoded) <= SESSION_BYTES_MAX


@big
def test_those_before_keep_their_places_and_what_they_wait_for_goes_on(
    text: str, quoted: str
) -> None:
    play = busy()
    queued = fill(play, text, quoted)
    assert list(play.session.postponed) == queued
    assert play.session.state == "bot.working"
    assert len(play.waiting()) == 1


@big
def test_a_small_message_still_finds_room_behind_big_ones(text: str, quoted: str) -> None:
    play = busy()
    queued = fill(play, text, quoted)
    play.act(Say("and this"))
    assert play.steps[-1].record.note == "postponed"
    assert list(play.session.postponed) == [*queued, play.events[-1]]


@big
def test_what_had_its_place_is_answered_when_its_turn_comes(text: str, quoted: str) -> None:
    play = busy()
    queued = fill(play, text, quoted)
    for _ in range(2 * len(queued) + 2):
        play.act(Outcome(0))
        play.act(Wait(None))
    assert not play.session.postponed
    ended = {d.message: d.how for step in play.steps for d in step.record.dispositions}
    assert {ended[event.id] for event in queued} <= {"answered", "merged"}
    assert not any(step.record.error for step in play.steps)


@pytest.mark.parametrize("busy", ["merge", "interrupt", "steer", "queue"])
@pytest.mark.parametrize("settle_s", [0, 2])
@pytest.mark.parametrize("text", ["a" * 16_000, '"' * 16_000], ids=["plain", "quotes"])
def test_who_writes_on_while_the_assistant_is_busy_is_refused_and_nothing_fails(
    busy: Any, settle_s: int, text: str
) -> None:
    dialog = Dialog(Assistant(AssistantConfig(busy=busy, settle_s=settle_s)))
    ends = [end.how for _ in range(30) for end in dialog.says(text).dispositions]
    assert "refused" in ends
    assert "failed" not in ends
    assert not [record.error for record in dialog.records if record.error]


def test_an_operator_may_talk_for_as_long_as_they_like() -> None:
    dialog = Dialog(Assistant())
    dialog.says("human")
    for n in range(60):
        dialog.operator_says(f"{n} " + "a" * 8_000)
    assert not [record.error for record in dialog.records if record.error]
    assert dialog.session.transcript[-1].bot.startswith("a")
    assert "59 a" in dialog.session.transcript[-1].bot
