"""A summary made of the text's own sentences, chosen by what the text is mostly about.

Pure and deterministic: an equal text gives an equal summary. A sentence scores by how common its
words (in Chinese: pairs of characters) are in the text, by its place and by cue words; a word that
was said counts less for the next sentence, so that the summary does not repeat itself. What it
never does: write a word of its own. Source: SumBasic (Nenkova and Vanderwende 2005), with
positions.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHARE_MAX = 0.3
"""Of the text's characters, line breaks between sentences included."""

SENTENCES_MAX = 7
"""Of a long text, 30 % is no summary any more."""

SIZE_MIN = 6
"""Characters of Chinese or words: what is shorter is a heading, a name or a greeting."""

WORTH_MIN = 0.3
"""Of the first choice's score: what says less only fills the room."""

WRAPPED_MIN = 50
"""A line of Latin script at least so long, and without an end, was wrapped by a mail program."""

ELLIPSIS = "…"

_END = re.compile(r"[。！？!?…]+[”’」』）)\]\"']*|\.+[”’)\]\"']*(?=\s|$)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nos|vs|etc|e\.g|i\.e|approx|Inc|Ltd|Co|Corp|Fig|Art|Sec|cf"
    r"|al|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)|\b[A-Z]|^\s*\d{1,3})\.$"
)
_MARK = re.compile(
    r"\s*(?:[-*+•·▪◦>#]+\s+|[（(]?(?:\d{1,3}|[a-zA-Z])[.)、）](?!\d)\s*|[一二三四五六七八九十]{1,3}、\s*)?"
)
_CLAUSE = re.compile(r"[，,；;：:、]|\s+[-–—]\s+|——")
# Scripts without spaces between words: Chinese, Japanese, Korean.
_DENSE = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3041-\u30ff\uac00-\ud7a3"
_HAN = re.compile(f"[{_DENSE}]")
_TOKEN = re.compile(rf"[{_DENSE}]+|[^\W_{_DENSE}]+(?:['’][^\W_{_DENSE}]+)?")

_FUNCTION_CHARACTERS = frozenset(
    "的了是在和与及或也就都而着把被对为以于等之其这那个们我你他她它很还又再不没有会要可能到从向"
)
_SMALL_WORDS = (
    "a about after all also am an and any are as at be because been before being but by can"
    " could did do does doing for from had has have having he her here his how i if in into is"
    " it its just me more most my no nor not of off on once only or other our out over own"
    " same she should so some such than that the their them then there these they this those"
    " through to too under until up us very was we were what when where which while who whom"
    " why will with would you your"
)
_FUNCTION_WORDS = frozenset(_SMALL_WORDS.split())
_CUES = re.compile(
    r"总之|综上|因此|所以|决定|结论|重要|必须|关键|表示|共识|截止"
    r"|in summary|in short|therefore|conclu|decided|agreed|important|must|shall|result|deadline",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A stretch of the text as it stands there. `opens`: it is the first of its paragraph."""

    text: str
    opens: bool
    ended: bool


def summarise(text: str, *, share: float = SHARE_MAX, sentences: int = SENTENCES_MAX) -> str:
    """The best sentences in their order, each on a line, at most `share` of the text's length.

    Where not one fits, the best is cut at a clause, else a word, and ends in `…`. Empty where the
    text has no word, or `share` leaves no room.
    """
    most = left = int(len(text) * share)
    found = split(text)
    scores = _Scores(found)
    first = 0.0
    chosen: dict[str, int] = {}
    while len(chosen) < sentences:
        fitting = [
            i
            for i, sentence in enumerate(found)
            if len(sentence.text) <= left and sentence.text not in chosen
        ]
        if not fitting:
            break
        best = scores.best(fitting)
        if chosen and scores.score(best) < WORTH_MIN * first:
            break
        first = first if chosen else scores.score(best)
        chosen[found[best].text] = best
        scores.said(best)
        left -= len(found[best].text) + 1
    if chosen or not found:
        return "\n".join(found[i].text for i in sorted(chosen.values()))
    return cut(found[scores.best(range(len(found)))].text, most)


def cut(sentence: str, most: int) -> str:
    """Its beginning and `…`, at most `most` characters, up to a clause or a word if it can."""
    if len(sentence) <= most:
        return sentence
    room = most - len(ELLIPSIS)
    if room < 1:
        return ""
    clauses = [match.start() for match in _CLAUSE.finditer(sentence[: room + 1])]
    words = [match.start() for match in re.finditer(r"\s", sentence[: room + 1])]
    # A clause that keeps almost nothing says less than a sentence cut at a word.
    ends = [end for end in clauses if end * 3 >= room] or [end for end in words if end * 2 >= room]
    return sentence[: ends[-1] if ends else room].rstrip() + ELLIPSIS


def split(text: str) -> list[Sentence]:
    """The text's sentences in order, each exactly as it occurs there; list marks are left out."""
    found: list[Sentence] = []
    for paragraph in re.split(r"\n\s*\n", text):
        opens = True
        for line in _lines(paragraph):
            for piece, ended in _pieces(line):
                if _TOKEN.search(piece):
                    found.append(Sentence(piece, opens, ended))
                    opens = False
    return found


def _lines(paragraph: str) -> list[str]:
    """Its lines; one that goes on with the sentence before it was only wrapped, and is no line."""
    lines: list[str] = []
    for line in paragraph.split("\n"):
        if lines and _goes_on(lines[-1], line):
            lines[-1] += "\n" + line
        elif line.strip():
            lines.append(line)
    return lines


def _goes_on(before: str, line: str) -> bool:
    mark = _MARK.match(line)
    first = line.lstrip()[:1]
    if (mark and mark.group().strip()) or not first.isascii() or not first.isalnum():
        return False
    long = len(before.rpartition("\n")[2]) >= WRAPPED_MIN and not _HAN.search(before)
    return first.islower() or (long and not _END.search(before[-2:]))


def _pieces(line: str) -> list[tuple[str, bool]]:
    mark = _MARK.match(line)
    begin = mark.end() if mark else 0
    pieces: list[tuple[str, bool]] = []
    for match in _END.finditer(line, begin):
        # Only its end is looked at: a line of nothing but abbreviations must not take for ever.
        last = line[max(begin, match.start() - 12) : match.start() + 1]
        if _ABBREVIATION.search(last):
            continue
        pieces.append((line[begin : match.end()].strip(), True))
        begin = match.end()
    if line[begin:].strip():
        pieces.append((line[begin:].strip(), False))
    return pieces


def tokens(text: str) -> list[str]:
    """What a text is compared by: words in Latin script, pairs of characters in Chinese."""
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        if not _HAN.match(word):
            word = word.casefold()
            if word not in _FUNCTION_WORDS and len(word) > 1:
                found.append(word[:-1] if len(word) > 3 and word.endswith("s") else word)
            continue
        pairs = (word[i : i + 2] for i in range(len(word) - 1))
        found.extend(pair for pair in pairs if not _FUNCTION_CHARACTERS.intersection(pair))
    return found


def size(text: str) -> int:
    """Its Chinese characters and its words in other scripts, together."""
    return sum(len(word) if _HAN.match(word) else 1 for word in _TOKEN.findall(text))


class _Scores:
    """How much each sentence says of the text, given what was chosen before it."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentences = sentences
        # dict.fromkeys, not set: a sum of floats depends on its order, and a set's is chance.
        self._tokens = [list(dict.fromkeys(tokens(sentence.text))) for sentence in sentences]
        self._weight: dict[str, float] = dict(Counter(t for each in self._tokens for t in each))
        self._place = [self._by_place(i) for i in range(len(sentences))]

    def score(self, i: int) -> float:
        """Mean weight of its words, more for many of them, times its place's and form's factor."""
        words = self._tokens[i]
        if not words:
            return 0.0
        said = sum(self._weight[word] for word in words) / float(len(words) ** 0.6)
        return said * self._place[i]

    def best(self, among: Iterable[int]) -> int:
        """The index of the highest score; of equals, the first."""
        return max(among, key=lambda i: (self.score(i), -i))

    def said(self, i: int) -> None:
        """What the sentence said counts less from now on."""
        for word in self._tokens[i]:
            self._weight[word] *= 0.3

    def _by_place(self, i: int) -> float:
        sentence = self._sentences[i]
        factor = 1.2 if sentence.opens else 1.0
        factor *= 1.3 if i == 0 and sentence.ended else 1.0
        factor *= 1.1 if i == len(self._sentences) - 1 else 1.0
        factor *= 1.15 if _CUES.search(sentence.text) else 1.0
        factor *= 1.0 if sentence.ended else 0.7  # a heading, or a line of a list
        factor *= 0.01 if size(sentence.text) < SIZE_MIN else 1.0
        return factor * (0.7 if sentence.text.endswith(("?", "？")) else 1.0)
