"""A reply ends once: what a callback says after it closed one is a new message."""

import pytest

from engine.effects import CloseReply, SendMessage
from engine.events import StopRequested
from engine.turn import Turn
from statemachines.flow import Flow
from tests.flow_tests.dialog import Dialog

_NOTED = ["feedback_given", "reply_undelivered", "handed_back", "operator_said"]


class _AsksAgain(Flow):
    name, version, initial = "asks_again", 1, "new"
    states = ["new", "asking"]
    transitions = [
        dict(trigger="message_received", source="new", dest="asking", before="ask"),
        dict(trigger="model_replied", source="asking", dest="new", before="refuse_it"),
        dict(trigger="request_failed", source="asking", dest="new", before="fail"),
        dict(trigger="escalated", source="asking", dest="new", before="fail"),
        dict(trigger="stop_requested", source="asking", dest="new", before="stop_it"),
    ]
    postpone = {"asking": ["message_received"]}
    ignore = {
        "new": [*_NOTED, "stop_requested"],
        "asking": _NOTED,
    }

    def ask(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=45)

    def refuse_it(self, turn: Turn) -> None:
        turn.refuse("No.")
        turn.say("Anything else?", answers=False)

    def fail(self, turn: Turn) -> None:
        turn.apologise("Sorry.")
        turn.say("Anything else?", answers=False)

    def stop_it(self, turn: Turn) -> None:
        turn.stop()
        turn.say("Anything else?", answers=False)


@pytest.mark.parametrize("how", ["fails", "answers", "stops"])
def test_a_reply_that_was_closed_is_not_said_again_under_its_id(how: str) -> None:
    dialog = Dialog(_AsksAgain())
    dialog.says("hello")
    if how == "fails":
        record = dialog.model_fails()
    elif how == "answers":
        record = dialog.model_says("yes")
    else:
        record = dialog.happens(StopRequested())
    bodies = [e.body for e in record.effects if isinstance(e.body, CloseReply | SendMessage)]
    assert len({body.reply_id for body in bodies}) == len(bodies) >= 2
