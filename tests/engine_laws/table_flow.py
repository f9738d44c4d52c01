"""A second implementation of `engine.flow.Flow`, without `transitions`: a table read by hand.

It has what the engine knows: every kind of cell, nested states, timeouts (0 among them), postponed
messages, conditions, every method of the turn, a state that hands over, and callbacks that fail.
A message's text says what its callbacks do, so that a generated history reaches all of it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from engine import codec
from engine.effects import FallbackStrategy
from engine.errors import InvalidRecord
from engine.events import FlowRef
from engine.flow import Cell, Moved, Timeout
from engine.session import Considered
from engine.turn import Turn


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """`asked`: what the next request is for."""

    asked: tuple[str, ...] = ()
    failures: int = 0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `Turn` looks for in a configuration, and nothing else."""

    system_prompt: str = "be brief"
    max_tokens: int = 64
    fallback_strategies: tuple[FallbackStrategy, ...] = (
        FallbackStrategy(pattern="^ERROR", action="escalate_to_human"),
    )


Callback = Callable[[Turn], None]
Condition = Callable[[Turn], bool]


class Row(NamedTuple):
    """`dest`: a leaf, `=` to leave and enter the source again, or None to stay."""

    trigger: str
    source: str
    dest: str | None
    do: Callback
    when: Condition | None = None


# ---- callbacks ---------------------------------------------------------------------------------


def note(turn: Turn) -> None:
    _obey(turn)
    turn.set(asked=(*turn.data.asked, turn.text))


def greet_and_note(turn: Turn) -> None:
    turn.say("hello", answers=False)
    note(turn)


def ask_model(turn: Turn) -> None:
    stream = "plain" not in turn.data.asked
    turn.call_model("\n".join(turn.data.asked), within_s=45, stream=stream)


def ask_skill(turn: Turn) -> None:
    # In the scope of the whole bot: a row within it does not cancel the request.
    turn.run_skill("sum", "\n".join(turn.data.asked), within_s=10, scope="bot")


def ask_intent(turn: Turn) -> None:
    turn.find_intent("\n".join(turn.data.asked), within_s=3)


def ask_at_once(turn: Turn) -> None:
    turn.call_model("now or never", within_s=0)


def note_and_ask(turn: Turn) -> None:
    note(turn)
    ask_model(turn)


def answer(turn: Turn) -> None:
    if turn.text == "break":
        raise LookupError("the answer cannot be said")
    turn.say(turn.text)
    turn.set(asked=())


def answer_twice(turn: Turn) -> None:
    answer(turn)
    turn.say("and one thing more", answers=False)


def answer_and_ask_the_rest(turn: Turn) -> None:
    turn.say(turn.text)
    if turn.unanswered:
        turn.set(asked=turn.data.asked[-len(turn.unanswered) :])
        ask_model(turn)
    else:
        turn.set(asked=())


def is_alone(turn: Turn) -> bool:
    """Nothing came while the model answered: there is nothing more to ask."""
    asked_for = turn.answered.turn if turn.answered is not None else 0
    return all(waiting.turn <= asked_for for waiting in turn.unanswered)


def apologise(turn: Turn) -> None:
    turn.apologise(f"sorry: {turn.failure}")
    turn.set(asked=(), failures=turn.data.failures + 1)


def refuse(turn: Turn) -> None:
    turn.refuse("not that")


def hand_over(turn: Turn) -> None:
    turn.say("a person will answer", answers=False)
    turn.forward()
    turn.set(asked=())


def forward(turn: Turn) -> None:
    turn.forward()


def pass_on(turn: Turn) -> None:
    turn.say(turn.text, author="operator")


def stop(turn: Turn) -> None:
    turn.stop()
    turn.withdraw()
    turn.set(asked=())


def nothing(turn: Turn) -> None:
    """The row itself is all."""


def _obey(turn: Turn) -> None:
    """What a message's own text asks its callback to do wrong."""
    match turn.text:
        case "raise":
            raise KeyError("a callback's error")
        case "grow":
            turn.set(asked=("x" * 300_000,))
        case "shout":
            turn.say("y" * 300_000, answers=False)
        case "misplace":
            turn.find_intent("where?", within_s=3, scope="person")


def _text_is(text: str) -> Condition:
    return lambda turn: turn.text == text


# ---- the table -----------------------------------------------------------------------------------

MESSAGE = "message_received"
PATHS: Mapping[str, tuple[str, ...]] = {
    "new": ("new",),
    "person": ("person",),
    **{
        f"bot.{leaf}": (f"bot.{leaf}", "bot")
        for leaf in (
            "listening",
            "settling",
            "answering",
            "steering",
            "working",
            "routing",
            "hopping",
            "stuck",
        )
    },
}
ROWS = (
    Row(MESSAGE, "new", "bot.settling", greet_and_note),
    Row(MESSAGE, "bot.listening", "bot.hopping", note, _text_is("hop")),
    Row(MESSAGE, "bot.listening", "bot.stuck", note, _text_is("loop")),
    Row(MESSAGE, "bot.listening", None, refuse, _text_is("refuse")),
    Row(MESSAGE, "bot.listening", "bot.routing", ask_at_once, _text_is("at once")),
    Row(MESSAGE, "bot.listening", "bot.settling", note),
    Row(MESSAGE, "bot.settling", "=", note),
    Row(MESSAGE, "bot.answering", "bot.settling", note),
    Row(MESSAGE, "bot.steering", None, note),
    Row(MESSAGE, "bot.working", None, note, _text_is("also")),
    Row(MESSAGE, "person", None, forward),
    Row("settled", "bot.settling", "bot.working", ask_skill, lambda t: "skill" in t.data.asked),
    Row("settled", "bot.settling", "bot.routing", ask_intent, lambda t: "which" in t.data.asked),
    Row("settled", "bot.settling", "bot.steering", ask_model, lambda t: "steer" in t.data.asked),
    Row("settled", "bot.settling", "bot.answering", ask_model),
    Row("hopped", "bot.hopping", "bot.answering", ask_model),
    Row("turned", "bot.stuck", "=", nothing),
    Row("intent_found", "bot.routing", "bot.answering", ask_model),
    Row("model_replied", "bot.answering", "bot.listening", answer_twice, _text_is("twice")),
    Row("model_replied", "bot.answering", "bot.listening", answer),
    Row("model_replied", "bot.routing", "bot.listening", answer),
    Row("model_replied", "bot.steering", "bot.listening", answer, is_alone),
    Row("model_replied", "bot.steering", None, answer_and_ask_the_rest),
    Row("skill_done", "bot", "bot.listening", answer),
    Row("escalated", "bot", "person", hand_over),
    Row("request_failed", "bot.routing", "bot.answering", ask_model, lambda t: bool(t.data.asked)),
    Row("request_failed", "bot", "bot.listening", apologise),
    Row("person_requested", "bot", "person", hand_over),
    Row("person_requested", "new", "person", hand_over),
    Row("person_requested", "person", None, forward),
    Row("operator_said", "person", "=", pass_on),
    Row("operator_said", "bot", "person", pass_on),
    Row("handed_back", "person", "bot.listening", nothing),
    Row("nobody_came", "person", "bot.listening", apologise),
    Row("stop_requested", "bot.steering", None, stop),  # the request goes on, and speaks anew
    Row("stop_requested", "bot", "bot.listening", stop),
    Row("idle", "bot.listening", "new", nothing),
    Row("reply_undelivered", "bot", None, nothing),
)
IGNORED = {
    ("person", "stop_requested"),
    ("person", "reply_undelivered"),
    ("new", "reply_undelivered"),
    ("new", "stop_requested"),
    ("new", "operator_said"),
    ("new", "handed_back"),
    ("bot", "handed_back"),
    ("bot.routing", "skill_done"),
    *((state, "feedback_given") for state in ("new", "bot", "person")),
}
POSTPONED = {(f"bot.{leaf}", MESSAGE) for leaf in ("working", "routing", "hopping", "stuck")}
DECLARED = {**dict.fromkeys(IGNORED, Cell.IGNORE), **dict.fromkeys(POSTPONED, Cell.POSTPONE)}
TIMEOUTS = {
    "bot.listening": Timeout(1_800_000, "idle"),
    "bot.settling": Timeout(2_000, "settled"),
    "bot.hopping": Timeout(0, "hopped"),
    "bot.stuck": Timeout(0, "turned"),
    "person": Timeout(900_000, "nobody_came"),
}


class TableFlow:
    """The table as a flow. `version` 2 has no `bot.steering`, and a longer settling time.

    `way_out`: whether `step_failed` has a cell; `broken` makes its callback fail as well.
    """

    initial = "new"
    apology = "something went wrong"
    queue_full = "too many at once"
    hands_over = frozenset({"person"})

    def __init__(self, *, version: int = 1, way_out: str = "none") -> None:
        self.ref = FlowRef(name="table", version=version, digest=f"{version:08d}{way_out}")
        self.config = Config()
        self._paths = dict(PATHS)
        self._rows = list(ROWS)
        self.timeouts = dict(TIMEOUTS)
        if version == 2:
            del self._paths["bot.steering"]
            self._rows = [row for row in ROWS if "bot.steering" not in (row.source, row.dest)]
            self.timeouts["bot.settling"] = Timeout(4_000, "settled")
        if way_out != "none":
            do = apologise if way_out == "works" else ask_nothing_there
            self._rows.append(Row("step_failed", "bot", "bot.listening", do))
        self._at: dict[tuple[str, str], list[tuple[int, Row]]] = {}
        for index, row in enumerate(self._rows):
            self._at.setdefault((row.source, row.trigger), []).append((index, row))

    def cell(self, state: str, trigger: str) -> Cell:
        for name in self.path(state):
            if (name, trigger) in self._at:
                return Cell.MOVE
            if (name, trigger) in DECLARED:
                return DECLARED[name, trigger]
        return Cell.IMPOSSIBLE

    def otherwise(self, state: str, trigger: str) -> Cell:
        found = ((name, trigger) for name in self.path(state) if (name, trigger) in DECLARED)
        return next((DECLARED[cell] for cell in found), Cell.IMPOSSIBLE)

    def command(self, text: str) -> str | None:
        return "person_requested" if text.strip().casefold() == "human" else None

    def move(self, turn: Turn, trigger: str) -> Moved | None:
        considered = []
        for name in self.path(turn.state):
            for index, row in self._at.get((name, trigger), ()):
                if not _holds(turn, row):
                    considered.append(Considered(row=index, failed="when"))
                    continue
                return self._taken(turn, index, row, tuple(considered))
        return None

    def new_data(self) -> Data:
        return Data()

    def decode_data(self, data: bytes) -> Data:
        try:
            return msgspec.json.decode(data, type=Data)
        except msgspec.DecodeError as error:
            raise InvalidRecord(str(error)) from None

    def encode_data(self, data: object) -> bytes:
        return msgspec.json.encode(data)

    def migrate(self, old: FlowRef, state: str, *, data: bytes) -> tuple[str, object]:
        if old.name != self.ref.name:
            raise InvalidRecord("data of another flow")
        return (state if state in self._paths else self.initial), self.decode_data(data)

    def path(self, state: str) -> tuple[str, ...]:
        return self._paths[state]

    def _taken(self, turn: Turn, index: int, row: Row, considered: tuple[Considered, ...]) -> Moved:
        source = turn.state
        row.do(turn)
        if row.dest is None:
            return Moved(index, source, source, (), (), considered)
        dest = source if row.dest == "=" else row.dest
        left, held = self.path(source), self.path(dest)
        exited = tuple(s for s in left if s not in held or s == dest)
        entered = tuple(s for s in reversed(held) if s not in left or s == dest)
        return Moved(index, source, dest, exited, entered, considered)


def ask_nothing_there(turn: Turn) -> None:
    turn.find_intent("where?", within_s=3, scope="nowhere")


def _holds(turn: Turn, row: Row) -> bool:
    if row.when is None:
        return True
    turn.sealed = True
    try:
        return row.when(turn)
    finally:
        turn.sealed = False


def canonical_config(flow: TableFlow) -> bytes:
    """What an activation of this flow carries."""
    return codec.encode(flow.config)
