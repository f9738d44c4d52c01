"""A flow that forgot what may come: it cannot be loaded."""

from engine.turn import Turn
from statemachines.flow import Flow


class Gaps(Flow):
    """No cell for stop, feedback, operators or failed sends."""

    name, version, initial = "gaps", 1, "new"
    states = ["new"]
    transitions = [dict(trigger="message_received", source="new", dest=None, before="answer")]

    def answer(self, turn: Turn) -> None:
        turn.say(turn.text)
