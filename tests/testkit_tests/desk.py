"""A flow with a lost message: what comes while the model thinks is noted, and never asked."""

from engine.turn import Turn
from statemachines.flow import Flow, FlowData

QUIET = ["operator_said", "handed_back", "stop_requested", "feedback_given", "reply_undelivered"]


class Desk(Flow):
    name, version, initial = "desk", 1, "new"

    class Data(FlowData, frozen=True, kw_only=True):
        later: tuple[str, ...] = ()

    states = [
        "new",
        dict(
            name="open",
            initial="listening",
            children=[dict(name="listening", timeout=600, on_timeout="idle"), "thinking"],
        ),
    ]
    transitions = [
        dict(
            trigger="message_received",
            source=["new", "open.listening"],
            dest="open.thinking",
            before="ask",
        ),
        dict(trigger="message_received", source="open.thinking", dest=None, before="note"),
        dict(trigger="model_replied", source="open", dest="open.listening", before="answer"),
        dict(trigger="escalated", source="open", dest="open.listening", before="apologise"),
        dict(trigger="request_failed", source="open", dest="open.listening", before="apologise"),
        dict(trigger="idle", source="open.listening", dest="new"),
    ]
    ignore = {"new": QUIET, "open": QUIET}

    def ask(self, turn: Turn) -> None:
        turn.call_model(turn.text, within_s=30)

    def note(self, turn: Turn) -> None:
        turn.set(later=(*turn.data.later, turn.text))

    def answer(self, turn: Turn) -> None:
        turn.say(turn.text)

    def apologise(self, turn: Turn) -> None:
        turn.apologise("Sorry, please try again.")
