"""Which language is this text in? Told by its script, and among Latin ones by its commonest words.

Pure; used by skills that go through a model only where it speaks the text's language. What it never
does: guess. A text whose language it cannot tell has none.
"""

import re

SCRIPTS = (
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")),
    ("ja", re.compile(r"[\u3041-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("th", re.compile(r"[\u0e01-\u0e5b]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u05d0-\u05ea]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
)
"""A script and the language that most who write it mean."""

_LATIN = re.compile(r"[^\W\d_]+")
_LATIN_LETTER = re.compile(r"[A-Za-z\u00c0-\u024f]")

COMMON_WORDS = {
    "en": "the of and to in is that for it with as was on are be this by at from have not you we",
    "de": "der die und das den ist nicht von mit ein eine zu auf für im dem sich auch wir sie des",
    "fr": "le la les des et est une un que dans pour pas sur qui au avec nous du il ne ce sont",
    "es": "el los las y es una un que por para con no del se su como más lo esta pero al son",
    "it": "il gli e di che è un una per non con del della sono si da nel anche come più le ha",
    "pt": "o os e de que é um uma para não com do da em se por mais as no na dos foi são ao",
    "nl": "de het een en van is dat niet op te met voor zijn er aan ook als we maar om bij naar",
}
_COMMON = {code: frozenset(words.split()) for code, words in COMMON_WORDS.items()}

CHARS_READ = 4_000
"""A language shows in the first page."""

LATIN_LETTERS_A_CHARACTER = 3
"""A Chinese character says about as much as that many Latin letters."""

COMMON_SHARE_MIN = 0.08
"""Running text in one of these languages has at least a fifth; a list of names has none."""


def language_of(text: str) -> str:
    """The code of the language that most of the text is in, or empty where that cannot be told."""
    text = text[:CHARS_READ]
    counts = {code: len(script.findall(text)) for code, script in SCRIPTS}
    if counts["ja"] * 10 > counts["zh"]:
        counts["ja"] += counts["zh"]  # Japanese writes with both
        counts["zh"] = 0
    code = max(counts, key=lambda script: counts[script])
    latin = len(_LATIN_LETTER.findall(text))
    if counts[code] * LATIN_LETTERS_A_CHARACTER > latin:
        return code
    mixed = code if counts[code] * 2 * LATIN_LETTERS_A_CHARACTER > latin else ""
    return _latin_language(text) or mixed


def _latin_language(text: str) -> str:
    words = [word.casefold() for word in _LATIN.findall(text)]
    hits = {code: sum(word in common for word in words) for code, common in _COMMON.items()}
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] >= max(2, COMMON_SHARE_MIN * len(words)) else ""
