"""A skill's metadata, checked: what a flow may build its commands of.

Pure; between `registry.py`, which asks the skills, and the settings of the runner and the flow.
What it never does: trust a skill. What one says of itself is data, to be looked at key by key.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NAME_CHARS_MAX = 32
VERSION_CHARS_MAX = 32
TRIGGER_WORDS_MAX = 16
TRIGGER_WORD_CHARS_MAX = 32
"""A name and a trigger word are shown in menus and said in a chat; more is no word."""


@dataclass(frozen=True, kw_only=True)
class SkillSource:
    """Where a skill comes from. `entry`: the name under which it is installed, which settings use.

    `target`: `module:Class`. `origin`: `built in`, or the package and its version.
    """

    entry: str
    target: str
    origin: str

    def __str__(self) -> str:
        return f"skill {self.entry} ({self.origin}, {self.target})"


@dataclass(frozen=True, kw_only=True)
class SkillCard:
    """A skill's checked metadata, and its source. `name` is what people and flows call it."""

    name: str
    version: str
    trigger_words: tuple[str, ...]
    source: SkillSource


@dataclass(frozen=True, kw_only=True)
class SkillProblem:
    """Why a skill is left out: which key, what was found there, and how to put it right."""

    source: SkillSource
    key: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.source}: {self.key}: found {self.found}; {self.fix}"


KEYS = ("name", "version", "trigger_words")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]*")


def check(source: SkillSource, found: object) -> SkillCard | SkillProblem:
    """The card of what `get_metadata` returned, or the first thing that is wrong with it."""
    if not isinstance(found, dict):
        return _problem(source, "get_metadata", found, f"return a dict with {', '.join(KEYS)}")
    for key in found:
        if key not in KEYS:
            return _problem(source, str(key)[:40], found[key], f"only {', '.join(KEYS)} are known")
    for key in KEYS:
        if key not in found:
            return SkillProblem(source=source, key=key, found="nothing", fix="it must be there")
    name, version, words = (found[key] for key in KEYS)
    if not _is_word(name, NAME_CHARS_MAX):
        return _problem(source, "name", name, _word_rule(NAME_CHARS_MAX))
    if not isinstance(version, str) or not _VERSION.fullmatch(version[: VERSION_CHARS_MAX + 1]):
        return _problem(source, "version", version, 'use text such as "1.0"')
    if len(version) > VERSION_CHARS_MAX:
        return _problem(source, "version", version, f"at most {VERSION_CHARS_MAX} characters")
    return _check_words(source, words) or SkillCard(
        name=name,
        version=version,
        trigger_words=tuple(words),
        source=source,
    )


def _check_words(source: SkillSource, words: object) -> SkillProblem | None:
    if not isinstance(words, list) or not 1 <= len(words) <= TRIGGER_WORDS_MAX:
        fix = f"use a list of 1 to {TRIGGER_WORDS_MAX} texts"
        return _problem(source, "trigger_words", words, fix)
    for index, word in enumerate(words):
        if not _is_word(word, TRIGGER_WORD_CHARS_MAX):
            rule = _word_rule(TRIGGER_WORD_CHARS_MAX)
            return _problem(source, f"trigger_words[{index}]", word, rule)
        if word.casefold() in (earlier.casefold() for earlier in words[:index]):
            return _problem(
                source, f"trigger_words[{index}]", word, "it is there twice; name it once"
            )
    return None


def clash(
    source: SkillSource, card: SkillCard, *, earlier: Sequence[SkillCard]
) -> SkillProblem | None:
    """What the card has in common with one before it, which keeps it."""
    for other in earlier:
        fix = (
            f"{other.name} ({other.source.origin}) has it already; choose another or uninstall one"
        )
        if card.name.casefold() == other.name.casefold():
            return _problem(source, "name", card.name, fix)
        theirs = [word.casefold() for word in other.trigger_words]
        for index, word in enumerate(card.trigger_words):
            if word.casefold() in theirs:
                return _problem(source, f"trigger_words[{index}]", word, fix)
    return None


def _is_word(found: object, chars_max: int) -> bool:
    return (
        isinstance(found, str)
        and len(found) <= chars_max
        and found == found.strip()
        and found.isprintable()
        and any(char.isalnum() for char in found)
    )


def _word_rule(chars_max: int) -> str:
    return f"use text of 1 to {chars_max} printable characters without spaces around it"


def _problem(source: SkillSource, key: str, found: object, fix: str) -> SkillProblem:
    shown = repr(found)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return SkillProblem(source=source, key=key, found=shown, fix=fix)
