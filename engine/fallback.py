"""Fallback strategies: patterns over what a model or skill says that hand the dialog to a person.

The runners hop asks a `Gate` before it shows anything: text that could still become the beginning
of a match is held back, so that a match ends the call before anything of it was shown. Patterns
come from a configuration file and run in a pure step's neighbourhood: they are bounded, because a
slow one would hang it. What a pattern may cost is computed from its text, never measured.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from re import _compiler as sre_compiler  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import NamedTuple

from engine.effects import FallbackStrategy
from engine.errors import Refused

PATTERN_CHARS_MAX = 200
HELD_BACK_CHARS_MAX = 200
"""What a repeat without an upper bound takes at most, and so what is held back of a stream for it.
A pattern means this wherever it is matched: `a.*b` is `a.{0,200}b`."""
OPEN_REPEATS_MAX = 1
"""In one pattern: each would multiply the time by 200."""
STEPS_MAX = 10_000
"""That a pattern may need at one place of a text, all its ways to match tried: with the longest
answer (24 KiB) some tenths of a second, once in an answer, and only for a text made for it."""
COMPILED_MAX = 1_000
"""Patterns that stay compiled: more than all flows of a host have."""
ACTIONS = ("escalate_to_human",)

_BEGINNINGS = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_NOT_RE2 = {
    sre.ASSERT: "look-around",
    sre.ASSERT_NOT: "look-around",
    sre.GROUPREF: "a back-reference",
    sre.GROUPREF_EXISTS: "a conditional group",
    getattr(sre, "ATOMIC_GROUP", None): "an atomic group",
    getattr(sre, "POSSESSIVE_REPEAT", None): "a possessive repeat",
}


@lru_cache(maxsize=COMPILED_MAX)
def check_pattern(pattern: str) -> None:
    """Refuse what RE2 would not take or what could run long: ambiguous repeats above all."""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX:
        raise Refused(
            f"a pattern has 1 to {PATTERN_CHARS_MAX} characters, this one has {len(pattern)}"
        )
    try:
        parsed = sre_parser.parse(pattern)
        open_repeats = _bound(parsed)
    except (re.error, OverflowError, RecursionError) as error:
        raise Refused(f"not a regular expression: {error}") from None
    _, steps = _cost(parsed, inside_repeat=False)
    if open_repeats > OPEN_REPEATS_MAX:
        raise Refused(
            f"more than {OPEN_REPEATS_MAX} repeat without an upper bound: "
            "give the others one, as in .{0,20}"
        )
    if steps > STEPS_MAX:
        raise Refused(
            f"it may take {steps} steps at each character of a text, at most {STEPS_MAX}: "
            "use fewer repeats and alternatives, or narrower ones, as in .{0,20}"
        )


def _bound(parsed: object) -> int:
    """Give each open repeat its upper bound, in place; how many there were."""
    open_repeats = 0
    for index, (operator, argument) in enumerate(parsed):  # type: ignore[arg-type, var-annotated]
        for part in _parts(argument):
            open_repeats += _bound(part)
        if operator in _REPEATS and argument[1] == sre.MAXREPEAT:
            low, _, part = argument
            wide = max(1, int(part.getwidth()[1]))
            high = low + max(1, HELD_BACK_CHARS_MAX // wide)
            parsed[index] = (operator, (low, high, part))  # type: ignore[index]
            open_repeats += 1
    return open_repeats


def _cost(parsed: object, *, inside_repeat: bool) -> tuple[int, int]:
    """In how many ways it may match at one place, and in how many steps all of them are tried.

    Upper bounds. Raises Refused for what is never allowed.
    """
    ways, steps = 1, 0
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
        within = inside_repeat or (repeats and argument[1] > 1)
        parts = [_cost(part, inside_repeat=within) for part in _parts(argument)] or [(1, 1)]
        its_ways, its_steps = sum(w for w, _ in parts), sum(s for _, s in parts)
        if repeats:
            its_ways *= argument[1] - argument[0] + 1
            its_steps *= max(1, argument[1])
        # What follows is tried anew for each way in which this matched.
        steps += ways * its_steps
        ways *= its_ways
    return ways, steps


def _parts(argument: object) -> Iterator[object]:
    """The patterns inside one operator's argument."""
    if isinstance(argument, sre_parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _parts(part)


class Gate:
    """Decides how much of one growing text may be shown.

    One gate per call, of patterns that `check_pattern` takes. It never lets out a character that a
    later match could begin with, as far back as the longest match of its patterns.
    """

    def __init__(self, strategies: tuple[FallbackStrategy, ...]) -> None:
        compiled = [(_compiled(s.pattern), s.action) for s in strategies]
        self._patterns = [(one.pattern, one.behind, action) for one, action in compiled]
        self._held = max((one.held for one, _ in compiled), default=0)
        self._clear = ""  # the longest text so far without a match that counts

    def match(self, text: str, *, finished: bool = True) -> str | None:
        """The action of the first strategy that the text matches, if one does.

        Of a text that goes on (not `finished`) a match counts only if nothing that may follow can
        undo it: two characters stand behind it, if its pattern asks what stands there. Then `$`
        (which also holds before a last line feed) and `\\b` are decided. A text that continues the
        one asked about before is searched only where a new match may begin.
        """
        begin = len(self._clear) - self._held if text.startswith(self._clear) else 0
        for pattern, behind, action in self._patterns:
            found = pattern.search(text, max(0, begin))
            if found is not None and (finished or found.end() <= len(text) - behind):
                return action
        if not finished:
            self._clear = text
        return None

    def shown(self, text: str) -> str:
        """The beginning of an unfinished text that may be shown."""
        return text[: max(0, len(text) - self._held)] if self._held else text


class _Compiled(NamedTuple):
    """`behind`: characters that must stand behind a match to settle it; `held`: back from the end
    of a growing text."""

    pattern: re.Pattern[str]
    behind: int
    held: int


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(pattern: str) -> _Compiled:
    """A pattern is compiled once, not for each call that carries it."""
    parsed = _parsed(pattern)
    # All of the longest match, and a character more: a match that ends before the last one
    # may still wait for its second character behind it, see `Gate.match`.
    held = int(parsed.getwidth()[1]) + 1
    return _Compiled(sre_compiler.compile(parsed), 2 if _looks_behind_itself(parsed) else 0, held)


def _parsed(pattern: str) -> sre_parser.SubPattern:
    """The pattern as it is matched: each of its repeats has an upper bound."""
    parsed = sre_parser.parse(pattern)
    _bound(parsed)
    return parsed


def _looks_behind_itself(parsed: object) -> bool:
    """Whether what follows a match can undo it: `$` and the word boundaries ask for it."""
    return any(
        (operator is sre.AT and argument not in _BEGINNINGS)
        or any(_looks_behind_itself(part) for part in _parts(argument))
        for operator, argument in parsed  # type: ignore[attr-defined]
    )
