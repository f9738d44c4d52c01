"""The documents of this repository, taken apart: snippets, links, code words and headings.

What it never does: judge them; the tests do.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
READMES = (ENGLISH, CHINESE)

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"(^|\s+)# .*$", re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^(#+) (.+)$", re.M)


class Snippet(NamedTuple):
    """A fenced block: its language, its text without comments, and where it begins."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def text_of(page: str) -> str:
    """Return the whole text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def snippets(page: str) -> tuple[Snippet, ...]:
    """Return all fenced blocks of a page, in order; their comments are not compared or run."""
    text = text_of(page)
    return tuple(
        Snippet(page, text.count("\n", 0, m.start()) + 1, m[1], _COMMENT.sub("", m[2]))
        for m in _FENCED.finditer(text)
    )


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCED.sub("", text_of(page))


def links(page: str) -> list[str]:
    """Return where the links of a page lead, in order."""
    return _LINK.findall(prose(page))


def code_words(page: str) -> list[str]:
    """Return what stands between backticks in a page's sentences."""
    return _CODE.findall(prose(page))


def levels(page: str) -> list[int]:
    """Return the level of each heading of a page, in order."""
    return [len(m[1]) for m in _HEADING.finditer(prose(page))]


def anchors(page: str) -> set[str]:
    """Return what a link may name behind `#` in a page."""
    titles = (re.sub(r"[^\w\- ]", "", m[2].lower()) for m in _HEADING.finditer(prose(page)))
    return {title.replace(" ", "-") for title in titles}
