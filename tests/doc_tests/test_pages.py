"""Documents: their links lead somewhere, the files they name exist, both READMEs say the same."""

import re
from pathlib import Path

import pytest

from adapters.skills.base import SkillContext
from adapters.skills.summary import DocumentSummary
from statemachines.assistant import Assistant
from tests.doc_tests import pages
from tests.tidy import sources

PAGES = tuple(str(path) for path in sources.files() if path.suffix == ".md")
_FILE = re.compile(r"[\w.-]+/[\w./-]+\.\w+")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_of_the_repository(page: str) -> None:
    broken = []
    for link in pages.links(page):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:", target):
            continue
        file = (pages.ROOT / page).parent / target if target else pages.ROOT / page
        if not file.exists():
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in pages.anchors(str(file.relative_to(pages.ROOT))):
            broken.append(f"{link}: no such heading")
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_a_package_that_a_page_names_exists(page: str) -> None:
    tops = {path.parts[0] for path in sources.files()}
    named = [word for word in pages.code_words(page) if _FILE.fullmatch(word)]
    ours = [word for word in named if Path(word).parts[0] in tops]
    assert [word for word in ours if not (pages.ROOT / word).exists()] == []


def test_both_readmes_have_the_same_snippets_in_the_same_order() -> None:
    english, chinese = (
        [(snippet.kind, snippet.text) for snippet in pages.snippets(page)]
        for page in (pages.ENGLISH, pages.CHINESE)
    )
    assert chinese == english


def test_both_readmes_have_the_same_parts_links_and_words_of_code() -> None:
    assert pages.levels(pages.CHINESE) == pages.levels(pages.ENGLISH)
    own = {pages.ENGLISH: pages.CHINESE, pages.CHINESE: pages.ENGLISH}
    swapped = [own.get(link, link) for link in pages.links(pages.CHINESE)]
    assert swapped == pages.links(pages.ENGLISH)
    assert sorted(pages.code_words(pages.CHINESE)) == sorted(pages.code_words(pages.ENGLISH))


@pytest.mark.parametrize("page", pages.READMES)
def test_the_words_that_start_something_are_in_the_readme(page: str) -> None:
    text = pages.prose(page)
    card = DocumentSummary(SkillContext()).get_metadata()
    begins = ("summarise", "summarize", "摘要", "总结")
    assert [word for word in (card["name"], *begins) if word not in text] == []
    assert {word for word in begins if word not in card["trigger_words"]} == set()
    assert [w for w in card["trigger_words"] if not any(begin in w for begin in begins)] == []
    words = [word for word in pages.code_words(page) if word in ("human", "转人工", "人工")]
    assert words == ["human", "转人工", "人工"]
    assert [Assistant().command(word) for word in words] == ["person_requested"] * 3
    assert Assistant().command("I want a human") is None
