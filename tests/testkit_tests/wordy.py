"""Flows that say too much: a word twice, or without an end."""

from engine.turn import Turn
from tests.testkit_tests.desk import Desk


class Twice(Desk):
    """Says each answer twice: in the reply that it streamed, and in another one."""

    def answer(self, turn: Turn) -> None:
        turn.say(turn.text)
        turn.say(turn.text, answers=False)


class Excuses(Desk):
    """Apologises twice."""

    def apologise(self, turn: Turn) -> None:
        turn.apologise("Sorry, please try again.")
        turn.say("Sorry, please try again.", answers=False)


class Restless(Desk):
    """Asks again at each answer."""

    transitions = [
        dict(
            trigger="message_received",
            source=["new", "open.listening"],
            dest="open.thinking",
            before="ask",
        ),
        dict(trigger="message_received", source="open.thinking", dest=None, before="note"),
        dict(trigger="model_replied", source="open.thinking", dest="=", before="ask"),
        dict(trigger="escalated", source="open", dest="open.listening", before="apologise"),
        dict(trigger="request_failed", source="open", dest="open.listening", before="apologise"),
        dict(trigger="idle", source="open.listening", dest="new"),
    ]

    def ask(self, turn: Turn) -> None:
        turn.call_model("again?", within_s=30)
