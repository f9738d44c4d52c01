"""Does the configured model speak the language of a text? Told by its script alone.

Place in the data path: before a skill asks the model. 文档摘要 goes through the model where this
says yes, and takes sentences out of the source where it says no.

What it never does: tell two languages of one script apart. For a model that speaks English, German
looks like English: the answer may be poor, but it is words. For Chinese it would be nonsense.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

ANY = "*"
"""A model that speaks every language."""

SPOKEN_PERMILLE = 800
"""So much of a text must be in known scripts: names and terms of other scripts are usual."""
CHARACTERS_READ = 4_000
"""The beginning of a long text stands for all of it."""

SCRIPTS = {
    "ar": {"ARABIC"}, "bg": {"CYRILLIC"}, "el": {"GREEK"}, "fa": {"ARABIC"}, "he": {"HEBREW"},
    "hi": {"DEVANAGARI"}, "ja": {"CJK", "HIRAGANA", "KATAKANA"}, "ka": {"GEORGIAN"},
    "ko": {"HANGUL", "CJK"}, "ru": {"CYRILLIC"}, "ta": {"TAMIL"}, "th": {"THAI"},
    "uk": {"CYRILLIC"}, "ur": {"ARABIC"}, "zh": {"CJK"},
}  # fmt: skip
"""Languages that are not written in Latin letters, by ISO 639-1 code; all others are."""
LATIN = {"LATIN"}

SINGLE = {"CJK", "HIRAGANA", "KATAKANA"}
"""Scripts of which each character counts; of the others each word does, for `Kubernetes` in a
Chinese sentence weighs no more than a character or two."""
SAME = {"FULLWIDTH": "LATIN", "HALFWIDTH": "KATAKANA", "BOPOMOFO": "CJK"}


def speaks(languages: Sequence[str], text: str) -> bool:
    """Tell whether a model of these languages can read this text.

    Args:
        languages: codes such as `en` or `zh-CN`; `*` speaks all.
        text: of any length. One without letters is spoken by every model.
    """
    if ANY in languages:
        return True
    known = set[str]().union(*(_scripts(language) for language in languages))
    found = words(text)
    total = sum(found.values())
    spoken = sum(count for script, count in found.items() if script in known)
    return spoken * 1000 >= total * SPOKEN_PERMILLE


def words(text: str) -> Counter[str]:
    """Count a text's words by script, as Unicode names it: LATIN, CJK, CYRILLIC, …"""
    found: Counter[str] = Counter()
    before = ""
    for character in text[:CHARACTERS_READ]:
        script = _script(character)
        if script and (script in SINGLE or script != before):
            found[script] += 1
        before = script
    return found


def _script(character: str) -> str:
    """Return a letter's script; nothing for what is no letter."""
    if not character.isalpha():
        return ""
    first = unicodedata.name(character, "UNKNOWN").split(" ", 1)[0]
    return SAME.get(first, first)


def _scripts(language: str) -> set[str]:
    return SCRIPTS.get(language.lower().replace("_", "-").split("-")[0], LATIN)
