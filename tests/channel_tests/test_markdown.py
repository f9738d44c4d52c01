"""Markdown of a reply, rendered so that a page may insert it."""

import re

import pytest

from adapters.channels.markdown import plain, render


def test_what_a_model_usually_writes_is_rendered() -> None:
    html = render("# Title\n\n**bold** `code`\n\n- one\n- two\n\n|a|b|\n|:-|-:|\n|1|2|\n\n~~gone~~")
    for part in ("<h1>", "<strong>", "<code>", "<li>one</li>", "<table>", "<s>gone</s>"):
        assert part in html
    assert '<td class="right">2</td>' in html
    assert "style=" not in html


def test_lines_of_a_paragraph_stay_lines() -> None:
    assert render("one\ntwo") == "<p>one<br>\ntwo</p>\n"


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example)",
        "[x](/operator)",
        "<javascript:alert(1)>",
        "![x](https://evil.example/pixel.png)",
        '[x](https://a.example "onmouseover=alert(1)")',
        "[x]: javascript:alert(1)\n\n[x]",
        '```"><script>alert(1)</script>\n```',
        "<svg/onload=alert(1)>",
        "a\x00<b\x00>",
    ],
)
def test_nothing_gets_through_but_text_and_safe_links(attack: str) -> None:
    html = render(attack)
    tags = re.findall(r"<(\w+)([^>]*)>", html)
    assert {tag for tag, _ in tags} <= {"p", "a", "code", "pre", "br"}
    for tag, attributes in tags:
        if tag == "a":
            assert re.search(r'href="(https?:|mailto:)', attributes)
            assert 'rel="noopener noreferrer nofollow"' in attributes
            assert 'target="_blank"' in attributes
        assert not re.search(r"(^|\s)on\w+=(?!.*title)", attributes.split(' title="')[0])


@pytest.mark.parametrize("unit", ["[", "[[", "![", "*a ", "`", "> ", "a\n", "***a", "|", "\n- a"])
def test_a_text_made_to_be_slow_is_shown_plain(unit: str) -> None:
    text = (unit * 24_576)[:24_576]
    assert render(text) == plain(text)


def test_a_table_made_to_be_wide_is_shown_plain() -> None:
    text = "|" + "a|" * 3_000 + "\n|" + "-|" * 3_000 + "\n" + "|\n" * 3_000
    assert render(text) == plain(text)


def test_plain_text_keeps_lines_and_escapes() -> None:
    assert plain("a <b>\nc & d") == "<p>a &lt;b&gt;<br>\nc &amp; d</p>\n"


def test_a_text_over_the_limit_is_shown_plain() -> None:
    assert "<strong>" not in render("**x** " + "y" * 40_000)
