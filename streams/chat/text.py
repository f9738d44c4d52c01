"""Texts as a `.chat` file has them: escapes, repeats, wildcards, durations.

Read and written by `parse` and `write`. Whatever character a text has, its written form is
printable and begins and ends with none that a reader would miss.
"""

import re

REPEATED_MIN = 20
"""A character that stands more often in a row is written once, with its number."""

_RUN = re.compile(rf"(.)\1{{{REPEATED_MIN - 1},}}", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:(?P<times>\d+)\{(?P<of>\\u\{[0-9a-f]+\}|\\.|.)\}|u\{(?P<code>[0-9a-f]+)\}|(?P<one>.))",
    re.DOTALL,
)
_ONES = {"n": "\n", "s": " ", "t": "\t"}
REPEATS_MAX = 1_000_000
_UNITS = {"h": 3_600_000, "min": 60_000, "s": 1_000, "ms": 1}


class BadText(ValueError):
    """An escape that means nothing; the text says which, and what is allowed."""


def escape(text: str, special: str = "") -> str:
    """The written form on one line; `special`: characters that mean something where it stands."""
    return edges(_inside(text, special))


def _inside(text: str, special: str) -> str:
    parts: list[str] = []
    end = 0
    for run in _RUN.finditer(text):
        parts.append(_plainly(text[end : run.start()], special))
        parts.append(f"\\{run.end() - run.start()}{{{_plainly(run[1], special)}}}")
        end = run.end()
    parts.append(_plainly(text[end:], special))
    return "".join(parts)


def _plainly(text: str, special: str) -> str:
    return "".join(_one(character, special) for character in text)


def _one(character: str, special: str) -> str:
    if character == "\n":
        return "\\n"
    if character == "\\" or character in special:
        return "\\" + character
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"


def edges(written: str) -> str:
    """The same with blanks at its ends escaped, where they would be lost."""
    if written.endswith(" "):
        written = written[:-1] + "\\s"
    return "\\s" + written[1:] if written.startswith(" ") else written


def unescape(written: str) -> str:
    """The text. Raises BadText."""
    return _ESCAPE.sub(_meant, _whole(written))


def _whole(written: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*\\$", written):
        raise BadText(r"it ends with a single \: write \\ for the character itself")
    return written


def _meant(found: re.Match[str]) -> str:
    if found["times"]:
        times = int(found["times"])
        if times > REPEATS_MAX:
            raise BadText(f"{found[0][:40]} repeats {times} times, at most {REPEATS_MAX}")
        return unescape(found["of"]) * times
    if found["code"]:
        code = int(found["code"], 16)
        if code > 0x10FFFF:
            raise BadText(f"{found[0][:40]} is no character: at most \\u{{10ffff}}")
        return chr(code)
    one = found["one"]
    if one in _ONES:
        return _ONES[one]
    if one.isalnum():
        raise BadText(
            f"\\{one} means nothing; allowed are \\n, \\t, \\s (a blank), \\u{{263a}}, "
            r"\30{x} (x thirty times), and \ before a sign, for the sign itself"
        )
    return one


def split(written: str, sign: str) -> list[str]:
    """The parts between the signs that have no backslash before them, each still escaped."""
    parts, rest = [""], written
    while rest:
        escaped = _ESCAPE.match(rest)
        taken = escaped[0] if escaped else rest[0]
        rest = rest[len(taken) :]
        if taken == sign:
            parts.append("")
        else:
            parts[-1] += taken
    return parts


def escape_pieces(pieces: tuple[str, ...]) -> str:
    """A text with wildcards."""
    return edges("*".join(_inside(piece, "*") for piece in pieces))


def unescape_pieces(written: str) -> tuple[str, ...]:
    """Raises BadText."""
    return tuple(unescape(piece) for piece in split(_whole(written), "*"))


def matches(pieces: tuple[str, ...], text: str) -> bool:
    """Whether the text is these pieces with anything between them."""
    if len(pieces) == 1:
        return text == pieces[0]
    first, *inner, last = pieces
    if len(text) < len(first) + len(last):
        return False
    if not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in inner:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def duration(ms: int) -> str:
    """`90 s`, `15 min`: the biggest unit that leaves no rest."""
    unit = next(unit for unit, size in _UNITS.items() if ms % size == 0 and (ms or unit == "s"))
    return f"{ms // _UNITS[unit]} {unit}"


def counted(number: int, word: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def milliseconds(number: str, unit: str) -> int:
    """What `duration` wrote; a number may have a fraction where milliseconds are left whole."""
    whole, _, fraction = number.partition(".")
    size = _UNITS[unit]
    parts = int("1" + "0" * len(fraction))
    ms, rest = divmod(int(fraction or 0) * size, parts)
    if rest:
        raise BadText(f"{number} {unit} is no whole number of milliseconds")
    return int(whole) * size + ms
