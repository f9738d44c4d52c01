"""The registry: built-in and installed skills, and a clear word about each that is no use."""

from pathlib import Path

import pytest

from adapters.skills.metadata import SkillCard, SkillProblem, SkillSource, check
from adapters.skills.registry import enabled, listed, survey
from adapters.skills.runner import SkillPool, SkillSettings
from adapters.skills.summary import TRIGGER_WORDS
from engine.errors import Refused
from engine.events import SkillDone
from tests.skill_tests.pools import NOW_MS, request, source

GOOD: dict[str, object] = {"name": "天气", "version": "1.0", "trigger_words": ["天气", "weather"]}


def test_the_built_in_skill_is_found_and_described() -> None:
    (first, *_) = survey(listed()).cards
    assert first == SkillCard(
        name="文档摘要",
        version="1.0",
        trigger_words=tuple(TRIGGER_WORDS),
        source=SkillSource(
            entry="summary", target="adapters.skills.summary:DocumentSummary", origin="built in"
        ),
    )
    assert enabled(["summary"]) == (first,)


@pytest.mark.parametrize("shape", ["Echo", "Static", "Bare", "OfTheClass"])
def test_every_usual_way_to_write_get_metadata_works(shape: str) -> None:
    found = survey([source(shape)])
    assert [card.name for card in found.cards] == [shape]
    assert found.problems == ()


async def test_a_skill_of_an_installed_package_is_found_by_its_entry_point_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shouting.py").write_text(
        "class Shout:\n"
        "    def __init__(self, context): pass\n"
        "    def execute(self, input_text): return input_text.upper()\n"
        "    def get_metadata(self):\n"
        "        return {'name': 'shout', 'version': '0.2', 'trigger_words': ['shout']}\n"
    )
    info = tmp_path / "shouting-0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[ai_assistant.skills]\nshout = shouting:Shout\n")
    monkeypatch.syspath_prepend(tmp_path)

    cards = enabled(["summary", "shout"])
    shout = next(card for card in cards if card.name == "shout")
    assert shout.source.origin == "package shouting 0.2"
    skills = SkillPool(SkillSettings(cards=cards, workers=1, spare=1))
    await skills.start()
    done = await skills.run(request("shout", "hello"), NOW_MS)
    await skills.close()
    assert isinstance(done, SkillDone)
    assert done.text == "HELLO"


def test_a_skill_that_is_enabled_and_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(Refused, match="skill weather is not installed; installed are summary"):
        enabled(["weather"])


def test_a_skill_that_is_enabled_and_broken_or_there_twice_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[ai_assistant.skills]\nbroken = nowhere:Skill\nsummary = nowhere:Skill\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refused, match=r"package broken 1, nowhere:Skill.*ModuleNotFoundError"):
        enabled(["broken"])
    with pytest.raises(Refused, match="built in, package broken 1; uninstall all but one"):
        enabled(["summary"])


@pytest.mark.parametrize(
    ("skill", "key", "found"),
    [
        ("Missing", "import", "that it raised AttributeError"),
        ("not_a_class", "import", "that it raised TypeError"),
        ("SlowToDescribe", "get_metadata", "no answer in time"),
        ("DiesDescribing", "get_metadata", "that its process died"),
        ("RaisesDescribing", "get_metadata", "that it raised RuntimeError"),
        ("NoJson", "metadata", "that it raised TypeError"),
    ],
)
def test_a_skill_that_cannot_say_what_it_is_harms_nobody_else(
    skill: str, key: str, found: str
) -> None:
    surveyed = survey([source(skill), source("Echo")], within_s=3)
    assert [card.name for card in surveyed.cards] == ["Echo"]
    (problem,) = surveyed.problems
    assert (problem.key, problem.found) == (key, found)
    assert str(problem).startswith(f"skill {skill} (these tests, tests.skill_tests.rogues:{skill})")
    assert problem.fix
    assert "secret" not in str(problem)


def test_of_two_skills_with_one_name_or_trigger_word_the_first_is_kept() -> None:
    surveyed = survey([source("Echo"), source("Twin"), source("Copycat")])
    assert [card.name for card in surveyed.cards] == ["Echo"]
    twin, copycat = surveyed.problems
    assert (twin.key, twin.found) == ("name", "'ECHO'")
    assert (copycat.key, copycat.found) == ("trigger_words[1]", "'RUN echo'")
    assert "Echo (these tests) has it already" in str(copycat)


@pytest.mark.parametrize(
    ("change", "key", "found"),
    [
        ({"name": ""}, "name", "''"),
        ({"name": 7}, "name", "7"),
        ({"name": " 天气"}, "name", "' 天气'"),
        ({"name": "a" * 33}, "name", repr("a" * 33)),
        ({"name": "a\nb"}, "name", r"'a\nb'"),
        ({"name": "!!"}, "name", "'!!'"),
        ({"version": 1.0}, "version", "1.0"),
        ({"version": ""}, "version", "''"),
        ({"version": "one two"}, "version", "'one two'"),
        ({"version": "1" * 40}, "version", repr("1" * 40)),
        ({"trigger_words": "天气"}, "trigger_words", "'天气'"),
        ({"trigger_words": []}, "trigger_words", "[]"),
        ({"trigger_words": ["a"] * 17}, "trigger_words", repr(["a"] * 17)[:57] + "..."),
        ({"trigger_words": ["天气", None]}, "trigger_words[1]", "None"),
        ({"trigger_words": ["天气", " "]}, "trigger_words[1]", "' '"),
        ({"trigger_words": ["Rain", "rain"]}, "trigger_words[1]", "'rain'"),
        ({"trigger": ["天气"]}, "trigger", "['天气']"),
    ],
)
def test_wrong_metadata_is_an_error_that_names_key_finding_and_fix(
    change: dict[str, object], key: str, found: str
) -> None:
    problem = check(source("Weather"), {**GOOD, **change})
    assert isinstance(problem, SkillProblem)
    assert (problem.key, problem.found) == (key, found)
    assert problem.fix
    assert str(problem).startswith("skill Weather (these tests, ")


@pytest.mark.parametrize("key", ["name", "version", "trigger_words"])
def test_a_missing_key_is_named(key: str) -> None:
    problem = check(source("Weather"), {k: v for k, v in GOOD.items() if k != key})
    assert isinstance(problem, SkillProblem)
    assert (problem.key, problem.found) == (key, "nothing")


def test_metadata_that_is_no_dict_is_named() -> None:
    problem = check(source("Weather"), ["天气"])
    assert isinstance(problem, SkillProblem)
    assert problem.key == "get_metadata"


def test_good_metadata_keeps_the_order_of_its_trigger_words() -> None:
    card = check(source("Weather"), GOOD)
    assert isinstance(card, SkillCard)
    assert card.trigger_words == ("天气", "weather")
