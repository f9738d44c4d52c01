"""From the lines of a `.chat` file to stimuli: what a person wrote, for a world.

What worlds take by index is looked up here, and nothing happens. The other way is `testkit.chat`.
"""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from engine.crash_points import CrashPoint
from engine.errors import Refused
from streams.chat import lines
from streams.chat.lines import Chat, Head
from streams.chat.text import counted
from streams.chat.write import write_line
from testkit import stimuli
from testkit.script import FAILURES, Script
from testkit.stimuli import AnyStimulus

REASONS: tuple[lines.Reason, ...] = FAILURES  # type: ignore[assignment]  # a test compares them
Expectation = tuple[int, lines.AnyLine]
"""What is expected once so many stimuli have happened."""


class Read(NamedTuple):
    """What a dialog of a `.chat` file is for a world."""

    stimuli: tuple[AnyStimulus, ...]
    script: Script
    expectations: tuple[Expectation, ...]


def from_chat(chat: Chat, dialog: int = 0) -> Read:
    """The stimuli of the `dialog`-th dialog, its words, and what it expects when.

    `model: TEXT` is the first request's end, whatever it is of: the oldest of its kind is known
    only where a world is running (`testkit.chat_world`). Raises Refused for what no stimulus says.
    """
    one = chat.dialogs[dialog]
    head = chat.head_of(one)
    people = lines.people(head, one.lines)
    script = script_of(head, one.lines, people=people)
    reader = Reader(script, people)
    found: list[AnyStimulus] = []
    expected: list[Expectation] = []
    for line in one.lines:
        if isinstance(line, lines.Expects):
            expected.append((len(found), line))
        elif not isinstance(line, lines.Note):
            found.append(reader.stimulus(line))
    return Read(tuple(found), script, tuple(expected))


# ---- words ---------------------------------------------------------------------------------------


def script_of(head: Head, dialog: Sequence[lines.AnyLine], *, people: Sequence[str]) -> Script:
    """The words at the top, and those of the lines behind them."""
    says = {name: [*texts] for name, texts in head.words.says}
    intents = dict(head.words.intents)
    model, skill = [*head.words.model], [*head.words.skill]
    operator = [*head.words.operator]
    last = ""
    for line in dialog:
        match line:
            case lines.Says(text=text, kind=kind):
                last = kind or _class_of(text, says) or text
                _add(says.setdefault(last, []), text)
            case lines.Answers(kind="model", text=text) | lines.Shows(text=text):
                _add(model, text)
            case lines.Answers(kind="skill", text=text):
                _add(skill, text)
            case lines.Answers(kind="intent", text=text):
                if not head.words.intents:
                    intents[last] = text
            case lines.OperatorSays(text=text):
                _add(operator, text)
            case _:
                pass
    if len(operator) > 1 and not head.words.operator:
        raise Refused(
            "on a world, operators of one dialog say one text: it takes turns with others"
        )
    default = Script()
    return Script(
        users=len(people),
        says={name: tuple(texts) for name, texts in says.items()} or default.says,
        intents=intents,
        model=tuple(model) or default.model,
        skill=tuple(skill) or default.skill,
        operator=tuple(operator) or default.operator,
    )


def _add(texts: list[str], text: str) -> None:
    if text not in texts:
        texts.append(text)


def _class_of(text: str, says: dict[str, list[str]]) -> str:
    return next((name for name, texts in says.items() if text in texts), "")


# ---- a line as a stimulus ------------------------------------------------------------------------


class Reader:
    """Reads one dialog's lines in order: some say `ann's message 2`, which is a count of all."""

    def __init__(self, script: Script, people: Sequence[str]) -> None:
        self._script = script
        self._people = list(people)
        self._spoke: list[str] = []
        self._of = self._people[0]

    def stimulus(self, line: lines.Happens | lines.Fault) -> AnyStimulus:
        """What the line is for a world. Raises Refused, which quotes the line."""
        self._of = getattr(line, "who", "") or self._of
        match line:
            case lines.Says():
                return self._say(line)
            case lines.Answers():
                i = _index(line)
                return stimuli.Outcome(i, "ok", self._variant(line.kind, line.text))
            case lines.EndsWith():
                return stimuli.Outcome(line.number - 1, "ok", line.word - 1)
            case lines.Fails():
                if line.reason not in REASONS:
                    raise _refused(line, f"here a runner fails with {', '.join(REASONS)}")
                variant = REASONS.index(line.reason)
                return stimuli.Outcome(_index(line), "fail", variant)
            case lines.Breaks():
                return stimuli.Outcome(_index(line), "die")
            case lines.Shows():
                i = 0 if line.number is None else line.number - 1
                return stimuli.Frame(i, self._variant("model", line.text))
            case lines.Late():
                return stimuli.Late(line.number - 1)
            case lines.Again():
                return self._again(line)
            case lines.Waits():
                return stimuli.Wait(line.ms)
            case lines.OperatorSays() | lines.HandsBack() | lines.Stops() | lines.Judges():
                return self._asks(line)
            case _:
                return fault(line)

    def _say(self, line: lines.Says) -> stimuli.Say:
        if line.quoted:
            raise _refused(line, "nobody quotes here; only the pure step has it")
        self._spoke.append(line.who)
        kind = line.kind or self._script.kind_of(line.text)
        variant = list(self._script.says[kind]).index(line.text)
        return stimuli.Say(self._people.index(line.who), kind, variant, line.age_ms)

    def _again(self, line: lines.Again) -> stimuli.Again:
        if not line.who:
            return stimuli.Again(line.number - 1)
        theirs = [n for n, who in enumerate(self._spoke) if who == line.who]
        if not 1 <= line.number <= len(theirs):
            written = counted(len(theirs), "message")
            raise _refused(line, f"{line.who} has written {written} so far")
        return stimuli.Again(theirs[line.number - 1])

    def _asks(
        self, line: lines.OperatorSays | lines.HandsBack | lines.Stops | lines.Judges
    ) -> stimuli.Operator | stimuli.Stop | stimuli.Feedback:
        user = self._people.index(line.who or self._of)
        match line:
            case lines.OperatorSays():
                return stimuli.Operator(user, "say")
            case lines.HandsBack():
                return stimuli.Operator(user, "hand back")
            case lines.Stops():
                return stimuli.Stop(user)
            case lines.Judges():
                return stimuli.Feedback(user, line.verdict)

    def _variant(self, kind: lines.Kind, text: str) -> int:
        match kind:
            case "model":
                return list(self._script.model).index(text)
            case "skill":
                return list(self._script.skill).index(text)
            case "intent":
                return 0  # the message's class says which


def fault(line: lines.Fault) -> AnyStimulus:
    """What breaks."""
    match line:
        case lines.PlatformIs():
            return stimuli.Platform(line.how)
        case lines.DiskIsFull():
            return stimuli.Disk()
        case lines.Crash():
            return stimuli.Crash(CrashPoint(line.at))
        case lines.Moves():
            return stimuli.Move(line.partition - 1)
        case lines.Zombie():
            return stimuli.Zombie(line.partition - 1)
        case lines.ClockJumps():
            return stimuli.Skew(line.worker - 1, line.ms)
        case lines.Redrives():
            return stimuli.Redrive(line.number - 1)
        case _:
            assert_never(line)


def _index(line: lines.Answers | lines.Fails | lines.Breaks) -> int:
    if line.number is not None:
        return line.number - 1
    if line.who:
        raise _refused(line, f"say which by its number: {line.kind} 1")
    return 0


def _refused(line: lines.AnyLine, why: str) -> Refused:
    return Refused(f"“{write_line(line)}”: {why}")
