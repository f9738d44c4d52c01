"""Fallback strategies: patterns over what a model or skill says that hand the dialog to a person.

The runners hop asks a `Gate` before it shows anything: text that could still become the beginning
of a match is held back, so that a match ends the call before anything of it was shown. Patterns
come from a configuration file and run in a pure step's neighbourhood: they are bounded, because a
slow one would hang it.
"""

import re
from collections.abc import Iterator
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]

from engine.effects import FallbackStrategy
from engine.errors import Refused

PATTERN_CHARS_MAX = 200
HELD_BACK_CHARS_MAX = 200
"""What is held back of a stream for a pattern without a greatest length."""
OPEN_REPEATS_MAX = 2
"""In one pattern: each makes its time grow with one more power of the text's length."""
ACTIONS = ("escalate_to_human",)

_NO_LONGEST = int(sre.MAXREPEAT) - 1
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_NOT_RE2 = {
    sre.ASSERT: "look-around",
    sre.ASSERT_NOT: "look-around",
    sre.GROUPREF: "a back-reference",
    sre.GROUPREF_EXISTS: "a conditional group",
    getattr(sre, "ATOMIC_GROUP", None): "an atomic group",
    getattr(sre, "POSSESSIVE_REPEAT", None): "a possessive repeat",
}


def check_pattern(pattern: str) -> None:
    """Refuse what RE2 would not take or what could run long: ambiguous repeats above all."""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX:
        raise Refused(
            f"a pattern has 1 to {PATTERN_CHARS_MAX} characters, this one has {len(pattern)}"
        )
    try:
        parsed = sre_parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Refused(f"not a regular expression: {error}") from None
    if _check(parsed, inside_repeat=False) > OPEN_REPEATS_MAX:
        raise Refused(
            f"more than {OPEN_REPEATS_MAX} repeats without an upper bound: "
            "give them one, as in .{0,20}"
        )


def _check(parsed: object, *, inside_repeat: bool) -> int:
    """How many open repeats it has. Raises Refused for what is never allowed."""
    open_repeats = 0
    for operator, argument in parsed:  # type: ignore[attr-defined]
        if operator in _NOT_RE2:
            raise Refused(f"{_NOT_RE2[operator]} is not allowed: it has no bound on its time")
        # Inside a repeat each text may match in one way only: of (a|ab)*, (a?a)* and (a+)* there
        # are as many ways as there are sums that make a number.
        repeats = operator in _REPEATS
        if inside_repeat and (repeats or operator is sre.BRANCH):
            raise Refused(
                "a repeat or an alternative inside a repeat is not allowed: it can take for ever"
            )
        again = repeats and argument[1] > 1
        open_repeats += repeats and argument[1] > HELD_BACK_CHARS_MAX
        for part in _parts(argument):
            open_repeats += _check(part, inside_repeat=inside_repeat or again)
    return open_repeats


def _parts(argument: object) -> Iterator[object]:
    """The patterns inside one operator's argument."""
    if isinstance(argument, sre_parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _parts(part)


class Gate:
    """Decides how much of one growing text may be shown.

    One gate per call. It never lets out a character that a later match could begin with, as far
    back as the longest match of its patterns (200 characters where a pattern has no longest).
    """

    def __init__(self, strategies: tuple[FallbackStrategy, ...]) -> None:
        self._patterns = [(re.compile(s.pattern), s.action) for s in strategies]
        # All of the longest match, its last character too: whether `\\B` holds after a text is
        # known only with the next character.
        self._held = max((_longest(s.pattern) for s in strategies), default=0)

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
    longest = int(sre_parser.parse(pattern).getwidth()[1])
    return longest if longest < _NO_LONGEST else HELD_BACK_CHARS_MAX
