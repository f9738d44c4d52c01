"""The assistant with a callback that does what a callback must not: by the last text asked."""

from engine.turn import Turn
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig


class Died(BaseException):
    """Ends an engine inside a test's process as a signal would: nothing catches it."""


class Rogue(Assistant):
    """`broken`: it does them; a corrected release does not."""

    name, version = "rogue", 1

    class Config(AssistantConfig, frozen=True, kw_only=True):
        broken: bool = True

    def ask(self, turn: Turn) -> None:
        if turn.config.broken:
            misbehave(turn.data.asked[-1])
            if turn.data.asked[-1] == "flood":
                turn.say("x" * 300_000, answers=False)
        turn.call_model("\n".join(turn.data.asked), within_s=turn.config.model_within_s)


def misbehave(text: str) -> None:
    match text:
        case "raise":
            raise ValueError("a bug in a callback")
        case "recurse":
            misbehave(text)
        case "hang":
            while True:
                pass
        case "die":
            raise Died
        case "be killed":
            kill()


def kill() -> None:
    """What the load check lets no flow do; `rogue_plugin` gives it to this one all the same."""
    raise NotImplementedError
