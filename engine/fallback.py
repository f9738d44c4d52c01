"""Fallback strategies: patterns over what a model or skill says that hand the dialog to a person.

The runners hop asks a `Gate` before it shows anything: text that could still become the beginning
of a match is held back, so that a match ends the call before anything of it was shown. Patterns
come from a configuration file and run in a pure step's neighbourhood: they are bounded, because a
slow one would hang it.
"""

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]

from engine.effects import FallbackStrategy
from engine.errors import Refused

PATTERN_CHARS_MAX = 200
HELD_BACK_CHARS_MAX = 200
"""What is held back of a stream for a pattern without a greatest length."""
ACTIONS = ("escalate_to_human",)

_REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT, getattr(sre, "POSSESSIVE_REPEAT", None)}
_NOT_RE2 = {
    sre.ASSERT: "look-around",
    sre.ASSERT_NOT: "look-around",
    sre.GROUPREF: "a back-reference",
    sre.GROUPREF_EXISTS: "a conditional group",
}


def check_pattern(pattern: str) -> None:
    """Refuse what RE2 would not take or what could run long: nested repeats above all."""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX:
        raise Refused(
            f"a pattern has 1 to {PATTERN_CHARS_MAX} characters, this one has {len(pattern)}"
        )
    try:
        parsed = sre_parser.parse(pattern)
    except re.error as error:
        raise Refused(f"not a regular expression: {error}") from None
    _check(parsed, inside_repeat=False)


def _check(parsed: object, *, inside_repeat: bool) -> None:
    for operator, argument in parsed:  # type: ignore[attr-defined]
        if operator in _NOT_RE2:
            raise Refused(f"{_NOT_RE2[operator]} is not allowed: it has no bound on its time")
        repeats = operator in _REPEATS
        if repeats and inside_repeat and argument[1] > 1:
            raise Refused("a repeat inside a repeat is not allowed: it can take for ever")
        parts = argument if isinstance(argument, tuple | list) else ()
        for part in parts:
            inside = inside_repeat or (repeats and argument[1] > 1)
            if isinstance(part, sre_parser.SubPattern):
                _check(part, inside_repeat=inside)
            elif isinstance(part, list):
                for branch in part:
                    if isinstance(branch, sre_parser.SubPattern):
                        _check(branch, inside_repeat=inside)


class Gate:
    """Decides how much of one growing text may be shown.

    One gate per call. It never lets out a character that a later match could begin with, as far
    back as the longest match of its patterns (200 characters where a pattern has no longest).
    """

    def __init__(self, strategies: tuple[FallbackStrategy, ...]) -> None:
        self._patterns = [(re.compile(s.pattern), s.action) for s in strategies]
        self._held = max((_longest(s.pattern) for s in strategies), default=1) - 1

    def match(self, text: str) -> str | None:
        """The action of the first strategy that the text matches, if one does."""
        for pattern, action in self._patterns:
            if pattern.search(text):
                return action
        return None

    def shown(self, text: str) -> str:
        """The beginning of an unfinished text that may be shown."""
        return text[: max(0, len(text) - self._held)] if self._held else text


def _longest(pattern: str) -> int:
    return max(1, min(int(sre_parser.parse(pattern).getwidth()[1]), HELD_BACK_CHARS_MAX))
