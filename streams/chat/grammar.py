"""The lines of a `.chat` file, one rule for each: its shape, and the record that it means.

Used by `parse`. Rules are tried in order: what a person says comes last, since anybody may be
called anything that is no word of the format.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

from streams.chat import lines
from streams.chat.text import BadText, milliseconds, unescape, unescape_pieces

Found = Mapping[str, Any]
"""What a pattern's groups matched."""

RESERVED = (
    *("bot", "model", "skill", "intent", "request", "operator", "wait", "again", "late", "crash"),
    *("partition", "disk", "platform", "flow", "config", "world", "users", "seed", "limit"),
)
"""Words of the format: nobody can be called so."""

REASONS = get_args(lines.Reason)
ENDINGS = get_args(lines.Ending)
PLATFORM: Mapping[str, lines.PlatformHow] = {
    "is away": "away",
    "refuses": "refuses",
    "is slow": "slow",
    "is silent": "silent",
}
POINTS = get_args(lines.Point)

NAME = r"[^\W\d][\w-]*"
_NUMBER = r"(?: (?P<number>-?\d+))?"
_FOR = rf"(?: for (?P<who>{NAME}))?"
_TO = rf"(?: to (?P<who>{NAME}))?"
_TEXT = r"\s*[:：]\s*(?P<text>.*)"
_TIME = r"(?P<count>\d+(?:\.\d+)?) ?(?P<unit>ms|s|min|h)"
_KIND = r"(?P<kind>model|skill|intent)"
_ANY = r"(?P<kind>model|skill|intent|request)"
_CLASS = r"(?: \((?P<kind>(?:\\.|[^()\\])*)\))?"


class Rule(NamedTuple):
    """`shape`: how a person would be told to write it. `make`: the record of what was found."""

    shape: str
    pattern: re.Pattern[str]
    make: Callable[[Found], lines.AnyLine]


def _rule(shape: str, pattern: str, make: Callable[[Found], lines.AnyLine]) -> Rule:
    return Rule(shape, re.compile(pattern, re.DOTALL), make)


def _who(found: Found) -> str:
    return found.get("who") or ""


def _number(found: Found) -> int | None:
    return int(found["number"]) if found.get("number") else None


def _named(record: type[Any], **more: Any) -> Callable[[Found], Any]:
    """A record of `who` alone."""
    return lambda found: record(who=_who(found), **more)


def _fails(found: Found) -> lines.Fails:
    return lines.Fails(
        kind=found["kind"],
        reason=found["reason"] or "error",
        number=_number(found),
        who=_who(found),
    )


def _says(found: Found) -> lines.Says:
    age = milliseconds(found["count"], found["unit"]) if found["count"] else 0
    return lines.Says(
        who=found["who"],
        text=unescape(found["text"]),
        kind=unescape(found["kind"] or ""),
        age_ms=age,
    )


def _jump(found: Found) -> lines.ClockJumps:
    ms = milliseconds(found["count"], found["unit"])
    back = found["way"] == "back"
    return lines.ClockJumps(worker=int(found["number"]), ms=-ms if back else ms)


def _waits(found: Found) -> lines.Waits:
    return lines.Waits(ms=milliseconds(found["count"], found["unit"]) if found["count"] else None)


RULES: tuple[Rule, ...] = (
    _rule(
        "model: TEXT",
        rf"{_KIND}{_NUMBER}{_FOR}{_TEXT}",
        lambda f: lines.Answers(
            kind=f["kind"],
            text=unescape(f["text"]),
            number=_number(f),
            who=_who(f),
        ),
    ),
    _rule(
        f"model fails: {' | '.join(REASONS)}",
        rf"{_ANY}{_NUMBER}{_FOR} fails(?:\s*[:：]\s*(?P<reason>{'|'.join(REASONS)}))?",
        _fails,
    ),
    _rule(
        "model breaks",
        rf"{_ANY}{_NUMBER}{_FOR} breaks",
        lambda f: lines.Breaks(kind=f["kind"], number=_number(f), who=_who(f)),
    ),
    _rule(
        "request 1 ends with word 2",
        r"request (?P<number>-?\d+) ends with word (?P<word>-?\d+)",
        lambda f: lines.EndsWith(number=int(f["number"]), word=int(f["word"])),
    ),
    _rule(
        "model shows half of: TEXT",
        rf"model{_NUMBER} shows half of{_TEXT}",
        lambda f: lines.Shows(text=unescape(f["text"]), number=_number(f)),
    ),
    _rule(
        "model is asked: PATTERN",
        rf"{_KIND}{_FOR} is asked{_TEXT}",
        lambda f: lines.IsAsked(
            kind=f["kind"],
            pieces=unescape_pieces(f["text"]),
            who=_who(f),
        ),
    ),
    _rule(
        "bot: PATTERN",
        rf"bot{_TO}{_TEXT}",
        lambda f: lines.BotSays(pieces=unescape_pieces(f["text"]), who=_who(f)),
    ),
    _rule("bot says nothing", rf"bot{_TO} says nothing", _named(lines.BotIsSilent)),
    _rule("bot says anything", rf"bot{_TO} says anything", _named(lines.BotMaySay)),
    _rule(
        "operator: TEXT",
        rf"operator{_TO}{_TEXT}",
        lambda f: lines.OperatorSays(text=unescape(f["text"]), who=_who(f)),
    ),
    _rule(
        "operator hands back", rf"operator hands(?: (?P<who>{NAME}))? back", _named(lines.HandsBack)
    ),
    _rule(
        "operator reads: PATTERN",
        rf"operator reads(?: of (?P<who>{NAME}))?{_TEXT}",
        lambda f: lines.OperatorReads(pieces=unescape_pieces(f["text"]), who=_who(f)),
    ),
    _rule(
        "operator redrives dead letter 1",
        r"operator redrives dead letter (?P<number>-?\d+)",
        lambda f: lines.Redrives(number=int(f["number"])),
    ),
    _rule("wait 30 s | 15 min | 2 h | next", rf"wait (?:next|{_TIME})", _waits),
    _rule(
        "late: answer 1",
        r"late\s*[:：]\s*answer (?P<number>-?\d+)",
        lambda f: lines.Late(number=int(f["number"])),
    ),
    _rule(
        "again: ann's message 1",
        rf"again\s*[:：]\s*(?:(?P<who>{NAME})['’]s )?message (?P<number>-?\d+)",
        lambda f: lines.Again(number=int(f["number"]), who=_who(f)),
    ),
    _rule(
        f"the platform {' | '.join(PLATFORM)}",
        rf"the platform (?P<how>{'|'.join(PLATFORM)})",
        lambda f: lines.PlatformIs(how=PLATFORM[f["how"]]),
    ),
    _rule("the disk is full", r"the disk is full", lambda f: lines.DiskIsFull()),
    _rule(
        f"crash at {' | '.join(POINTS)}",
        rf"crash at (?P<at>{'|'.join(POINTS)})",
        lambda f: lines.Crash(at=f["at"]),
    ),
    _rule(
        "partition 1 moves",
        rf"partition{_NUMBER} moves",
        lambda f: lines.Moves(partition=int(f["number"] or 1)),
    ),
    _rule(
        "a zombie on partition 1",
        rf"a zombie(?: on partition{_NUMBER})?",
        lambda f: lines.Zombie(partition=int(f["number"] or 1)),
    ),
    _rule(
        "clock 1 jumps 5 s ahead | back",
        rf"clock (?P<number>-?\d+) jumps {_TIME} (?P<way>ahead|back)",
        _jump,
    ),
    _rule(
        "[STATE] or [ann: STATE]",
        rf"\[(?:(?P<who>{NAME})\s*[:：]\s*)?(?P<state>[\w.*-]+)\]",
        lambda f: lines.IsIn(state=f["state"], who=_who(f)),
    ),
    _rule(
        f"ann's message is {' | '.join(ENDINGS)}",
        rf"(?P<who>{NAME})['’]s message{_NUMBER} is (?P<how>{'|'.join(ENDINGS)})",
        lambda f: lines.MessageIs(who=f["who"], how=f["how"], number=_number(f)),
    ),
    _rule("ann stops", rf"(?P<who>{NAME}) stops", _named(lines.Stops)),
    _rule("ann likes it", rf"(?P<who>{NAME}) likes it", _named(lines.Judges, verdict="up")),
    _rule("ann dislikes it", rf"(?P<who>{NAME}) dislikes it", _named(lines.Judges, verdict="down")),
    _rule(
        "ann: TEXT",
        rf"(?P<who>{NAME}){_CLASS}(?:, {_TIME} ago)?{_TEXT}",
        _says,
    ),
)
QUOTES = re.compile(rf"(?P<who>{NAME}) quotes{_TEXT}", re.DOTALL)
"""`ann quotes: TEXT`: a part of the message that follows."""


def record_of(written: str) -> lines.AnyLine | None:
    """What a line means; None where it has no shape of a line. Raises BadText."""
    if written.startswith("#"):
        return lines.Note(text=written[1:].strip())
    for rule in RULES:
        found = rule.pattern.fullmatch(written)
        if found is None:
            continue
        record = rule.make(found.groupdict())
        who = getattr(record, "who", "")
        if who in RESERVED:
            raise BadText(f"{who!r} is a word of the format, nobody can be called so")
        return record
    return None


def shapes_like(written: str) -> list[str]:
    """The shapes that begin with the same word; all of them where none does."""
    first = "[STATE]" if written.startswith("[") else re.split(r"[\s:：]", written, maxsplit=1)[0]
    same = [rule.shape for rule in RULES if rule.shape.split()[0].rstrip(":") == first]
    if first in ("skill", "intent", "request"):
        same = [shape.replace("model", first) for shape in shapes_like("model")]
    if same:
        return same
    if re.match(rf"{NAME}['’ ]", written):
        return [rule.shape for rule in RULES if rule.shape.startswith("ann")]
    return [rule.shape for rule in RULES]
