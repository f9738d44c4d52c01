"""Renders a reply's markdown to HTML that a page may insert, at the end of the data path.

Raw HTML is escaped, links lead to http, https and mailto only, and images become links: nothing is
loaded from elsewhere. A text that would take long (the parser is quadratic in brackets and slow on
wide tables) is shown as plain text; what passes the limits renders in under 60 ms.

What it never does: raise, whatever the text; keep a text for longer than a short cache.
"""

import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

TEXT_CHARS_MAX = 32 * 1024
"""More than the longest reply; a longer text comes from elsewhere and is shown plain."""

MARKS_MAX = 4_000
BRACKETS_MAX = 500
"""Characters that make the parser work; a long answer with a table has a few hundred."""

_MARKS = "*_~`|#>-+\n"
_LINKS = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def _allowed(url: str) -> bool:
    return _LINKS.match(url.strip()) is not None


def _open_link(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    at: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    tokens[at].attrSet("target", "_blank")
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, at, options, env)


def _cell(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    at: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    # The page's policy forbids inline style: a column's side is a class.
    side = str(tokens[at].attrs.pop("style", "")).removeprefix("text-align:")
    if side in ("center", "right"):
        tokens[at].attrSet("class", side)
    return renderer.renderToken(tokens, at, options, env)


def _make() -> MarkdownIt:
    settings = {"html": False, "breaks": True, "xhtmlOut": False, "maxNesting": 20}
    parser = MarkdownIt("commonmark", settings)
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.validateLink = _allowed  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _open_link)
    parser.add_render_rule("th_open", _cell)
    parser.add_render_rule("td_open", _cell)
    return parser


_parser = _make()


def plain(text: str) -> str:
    """The text as it was written, escaped, its lines kept."""
    return "<p>" + escape(text).replace("\n", "<br>\n") + "</p>\n"


@lru_cache(maxsize=128)
def render(text: str) -> str:
    """The text's markdown as safe HTML; as plain text where it is over a limit."""
    too_much = (
        len(text) > TEXT_CHARS_MAX
        or text.count("[") > BRACKETS_MAX
        or sum(map(text.count, _MARKS)) > MARKS_MAX
    )
    if too_much:
        return plain(text)
    try:
        return str(_parser.render(text))
    except Exception:  # a parser's bug costs the formatting, never the reply
        return plain(text)
