"""How things look in a terminal: aligned columns, times, and text that cannot play tricks.

What people and models wrote may hold escape sequences, which a terminal would obey: nothing is
printed that did not go through `plain`. With `--json` nothing of this is used.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

SHOWN_CHARS_MAX = 72


def plain(text: str) -> str:
    """The text on as many lines as it has, with every control character made visible."""
    return "".join(
        character if character == "\n" or unicodedata.category(character) not in _UNSEEN else "�"
        for character in text
    )


# Controls, formatting (which turns the direction of text round), halves of characters.
_UNSEEN = ("Cc", "Cf", "Cs")


def one_line(text: str, width: int = SHOWN_CHARS_MAX) -> str:
    """The text on one line of at most so many columns, cut with an ellipsis."""
    flat = plain(" ".join(text.split()))
    if columns(flat) <= width:
        return flat
    kept = ""
    for character in flat:
        if columns(kept) + columns(character) > width - 1:
            break
        kept += character
    return kept + "…"


def columns(text: str) -> int:
    """How many columns a terminal needs for it: Chinese characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in aligned columns below their titles."""
    lines = [list(titles), *(list(row) for row in rows)]
    widths = [max(columns(line[n]) for line in lines) for n in range(len(titles))]
    for line in lines:
        cells = [c + " " * (w - columns(c)) for c, w in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def print_json(value: Any) -> None:
    """Print one JSON document, readable and with its Chinese as it is."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def when(ms: int | None) -> str:
    """A moment in local time, to the millisecond; `-` where there is none."""
    if ms is None:
        return "-"
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}"


def duration(ms: int) -> str:
    """A stretch of time in the unit that a person would take."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    minutes = ms // 60_000
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Bytes in the unit that a person would take (1 MB is 1 000 000)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
