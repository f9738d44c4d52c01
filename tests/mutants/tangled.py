"""A flow for the hunt that has what the shipped ones lack: several things pending at once.

A request beside one of an outer scope, timers inside timers, one of no time at all, a state that
ignores messages, and a callback that raises after it asked for much.
"""

from engine.turn import Turn
from statemachines.flow import Flow, FlowData

_EVERYBODY = ["operator_said", "handed_back", "feedback_given", "reply_undelivered"]


class Tangled(Flow):
    """Asks a model and a recogniser at once, and breaks when it is told to."""

    name, version, initial = "tangled", 1, "new"

    class Data(FlowData, frozen=True, kw_only=True):
        """`topic`: what the recogniser found last; `rounds`: how often the model was asked."""

        topic: str = ""
        rounds: int = 0

    commands = {"reset_requested": "reset"}
    states = [
        "new",
        dict(
            name="desk",
            initial="open",
            timeout=60,
            on_timeout="tired",
            children=[
                "open",
                dict(name="asking", timeout=20, on_timeout="slow"),
                dict(name="deaf", timeout=5, on_timeout="hears"),
                dict(name="passing", timeout=0, on_timeout="passed"),
            ],
        ),
    ]
    postpone = {"desk.asking": ["message_received"], "desk.passing": ["message_received"]}
    ignore = {
        "new": [*_EVERYBODY, "stop_requested"],
        "desk": _EVERYBODY,
        "desk.open": ["stop_requested"],
        "desk.deaf": ["message_received", "stop_requested"],
        "desk.passing": ["stop_requested"],
    }
    transitions = [
        dict(trigger="message_received", source="new", dest="desk.asking", before="ask"),
        dict(trigger="message_received", source="desk.open", dest="desk.asking", before="ask"),
        dict(trigger="model_replied", source="desk.asking", dest="desk.passing", before="answer"),
        dict(trigger="intent_found", source="desk", dest=None, before="note"),
        dict(trigger="escalated", source="desk", dest="desk.deaf", before="excuse"),
        dict(trigger="request_failed", source="desk", dest="desk.deaf", before="excuse"),
        dict(trigger="step_failed", source="desk", dest="desk.deaf", before="excuse"),
        dict(trigger="slow", source="desk.asking", dest="desk.open", before="excuse"),
        dict(trigger="passed", source="desk.passing", dest="desk.open"),
        dict(trigger="hears", source="desk.deaf", dest="desk.open"),
        dict(trigger="tired", source="desk", dest="new", before="excuse"),
        dict(trigger="stop_requested", source="desk.asking", dest="desk.open", before="stop"),
        dict(trigger="reset_requested", source="desk", dest="new", before="excuse"),
        dict(trigger="reset_requested", source="new", dest=None, before="greet"),
    ]

    def ask(self, turn: Turn) -> None:
        turn.set(rounds=turn.data.rounds + 1)
        turn.call_model(turn.text, within_s=10)
        turn.find_intent(turn.text, within_s=30, scope="desk")
        if turn.text.startswith("boom"):
            raise RuntimeError("told to break")

    def answer(self, turn: Turn) -> None:
        turn.say(turn.text)

    def note(self, turn: Turn) -> None:
        turn.set(topic="known")

    def excuse(self, turn: Turn) -> None:
        turn.apologise("not now")

    def stop(self, turn: Turn) -> None:
        turn.stop()

    def greet(self, turn: Turn) -> None:
        turn.say("nothing to reset")
