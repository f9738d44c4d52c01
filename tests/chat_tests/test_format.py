"""The format: whatever is written is read back, and whatever is wrong is told with its line."""

import contextlib
import string
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.crash_points import CrashPoint
from engine.errors import Refused
from streams.chat import lines
from streams.chat.grammar import RESERVED, RULES
from streams.chat.parse import parse, read
from streams.chat.text import (
    escape,
    escape_pieces,
    matches,
    unescape,
    unescape_pieces,
)
from streams.chat.write import write, write_line

TEXTS = st.one_of(
    st.text(max_size=12),
    st.text("ab *|\\\n\t {}#：:長 ", max_size=12),
    st.builds(lambda c, n: c * n, st.characters(), st.integers(0, 60)),
)
NAMES = st.sampled_from(["ann", "bob", "小王", "x_1", "a-b"])
OR_NONE = st.none() | st.integers(-3, 12)
WHO = st.just("") | NAMES
KINDS = st.sampled_from(typing.get_args(lines.Kind))
STATES = st.from_regex(r"[a-z*][a-z.*_]{0,8}", fullmatch=True)
PIECES = st.lists(TEXTS, min_size=1, max_size=4).map(tuple)
PLAIN = st.text(string.ascii_letters + "，。 ", max_size=10).map(str.strip)
FIELDS = {
    "kind": KINDS,
    "text": TEXTS,
    "who": WHO,
    "number": OR_NONE,
    "pieces": PIECES,
    "state": STATES,
}
MADE: dict[type, st.SearchStrategy[lines.AnyLine]] = {
    lines.Says: st.builds(
        lines.Says,
        who=NAMES,
        text=TEXTS,
        kind=TEXTS,
        age_ms=st.integers(0, 10**9),
        quoted=TEXTS,
    ),
    lines.EndsWith: st.builds(lines.EndsWith, number=st.integers(-3, 9), word=st.integers(-3, 9)),
    lines.Late: st.builds(lines.Late, number=st.integers(-3, 9)),
    lines.Again: st.builds(lines.Again, number=st.integers(-3, 9), who=WHO),
    lines.Redrives: st.builds(lines.Redrives, number=st.integers(-3, 9)),
    lines.Stops: st.builds(lines.Stops, who=NAMES),
    lines.Judges: st.builds(lines.Judges, who=NAMES),
    lines.Waits: st.builds(lines.Waits, ms=st.none() | st.integers(0, 10**9)),
    lines.MessageIs: st.builds(lines.MessageIs, who=NAMES, number=OR_NONE),
    lines.Note: st.builds(lines.Note, text=PLAIN),
}


def _made(kind: type) -> st.SearchStrategy[lines.AnyLine]:
    if kind in MADE:
        return MADE[kind]
    known = {name: FIELDS[name] for name in kind.__struct_fields__ if name in FIELDS}
    if kind in (lines.Fails, lines.Breaks):
        known["kind"] = st.sampled_from(typing.get_args(lines.AnyKind))
    return st.builds(kind, **known)


LINES = st.one_of(*(_made(kind) for kind in typing.get_args(lines.AnyLine)))
WORDS = st.lists(TEXTS, min_size=1, max_size=3).map(tuple)
CLASSES = TEXTS.filter(bool)
VALUES = st.one_of(TEXTS, st.integers(), st.booleans(), st.lists(TEXTS, max_size=2)).map(
    lambda value: msgspec.json.encode(_sound(value)).decode()
)


def _sound(value: object) -> object:
    """Without halves of characters: JSON has none."""
    if isinstance(value, str):
        return value.encode(errors="ignore").decode()
    return [_sound(one) for one in value] if isinstance(value, list) else value


HEADS = st.builds(
    lines.Head,
    flow=st.sampled_from(["assistant", "leave_request@1", "my.flows:Refund"]),
    world=st.sampled_from(["", "pure", "simulator"]),
    seed=st.none() | st.integers(-(10**9), 10**9),
    platform=st.sampled_from(["", "idempotent", "forgetful", "web chat"]),
    limit=st.none() | st.tuples(st.integers(1, 999_999), st.integers(1, 999_999_999)),
    flow_changes=st.sampled_from(["", "yes", "no"]),
    users=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    config=st.lists(
        st.builds(lines.Setting, st.sampled_from(["busy", "settle_s", "texts"]), VALUES),
        max_size=3,
        unique_by=lambda setting: setting.name,
    ).map(tuple),
    words=st.builds(
        lines.Words,
        says=st.lists(st.tuples(CLASSES, WORDS), max_size=2).map(tuple),
        intents=st.lists(st.tuples(CLASSES, TEXTS), max_size=2).map(tuple),
        model=st.just(()) | WORDS,
        skill=st.just(()) | WORDS,
        operator=st.just(()) | WORDS,
    ),
)
TITLED = st.builds(
    lines.Dialog,
    title=PLAIN.filter(bool),
    head=st.just(lines.Head()) | HEADS,
    lines=st.lists(LINES, max_size=6).map(tuple),
)
UNTITLED = st.lists(LINES, min_size=1, max_size=6).map(
    lambda found: lines.Dialog(lines=(*found, lines.DiskIsFull()))
)
CHATS = st.builds(
    lambda notes, head, first, more: lines.Chat(
        notes=tuple(notes), head=head, dialogs=(*first, *more)
    ),
    st.lists(PLAIN, max_size=2),
    HEADS,
    st.lists(UNTITLED, max_size=1),
    st.lists(TITLED, max_size=2),
)


@given(CHATS)
def test_what_is_written_is_read_back(chat: lines.Chat) -> None:
    assert parse(write(chat)) == chat


@given(LINES)
def test_every_line_is_written_in_one_way(line: lines.AnyLine) -> None:
    written = f"flow: x\ncrash at mark-call\n{write_line(line)}"
    (_, again) = parse(written).dialogs[0].lines
    assert again == line
    assert written.isprintable() or "\n" in written


@given(TEXTS, st.sampled_from(["", "*", "|", "()"]))
def test_any_text_is_escaped_and_back(text: str, special: str) -> None:
    written = escape(text, special)
    assert unescape(written) == text
    assert written.isprintable()
    assert written == written.strip()


@given(PIECES)
def test_a_pattern_matches_its_own_pieces_with_anything_between(pieces: tuple[str, ...]) -> None:
    assert unescape_pieces(escape_pieces(pieces)) == pieces
    for between in ("", "x", "\n*"):
        assert matches(pieces, between.join(pieces))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("hello *", "hello ann", True),
        ("hello *", "hello", False),
        ("*", "", True),
        (r"2 \* 3", "2 * 3", True),
        (r"2 \* 3", "2 + 3", False),
        ("a*a", "a", False),
        ("*b*b*", "ab", False),
        ("是*吗？", "是真的吗？", True),
    ],
)
def test_a_star_stands_for_anything_and_needs_no_overlap(
    pattern: str, text: str, *, expected: bool
) -> None:
    assert matches(unescape_pieces(pattern), text) is expected


def test_the_points_of_a_crash_are_those_of_the_engine() -> None:
    assert list(typing.get_args(lines.Point)) == [point.value for point in CrashPoint]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("flow: a\nmodle: hi", 2, "did you mean 'model'"),
        ("flow: a\n\nann says hi", 3, "ann: TEXT"),
        ("flow: a\nwait 3 days", 2, "wait 30 s | 15 min | 2 h | next"),
        ("flow: a\nmodel is nice", 2, "model is asked: PATTERN"),
        ("flow: a\nskill fails: badly", 2, "skill fails: error | timeout"),
        ("flow: a\ncrash at noon", 2, "crash at before append | append-ack"),
        ("flow: a\nann: \\q", 2, "\\q means nothing"),
        ("flow: a\nann: x\\", 2, "single \\"),
        ("flow: a\nann: \\u{110000}", 2, "no character"),
        ("flow: a\nann: \\99999999{x}", 2, "at most 1000000"),
        ("flow: a\nann: hi\nbusy = merge", 3, "at the top of the file"),
        ("flow: a\nann: hi\nflow: b", 3, "at the top of the file"),
        ("flow: a\nworld: moon", 2, "allowed are pure and simulator"),
        ("flow: a\nseed: x", 2, "whole number"),
        ("flow: a\nconfig: [1]", 2, "a configuration is JSON"),
        ("flow: a\nusers: ann, bot", 2, "'bot' is no name"),
        ("flow: a\nusers: ann, ann", 2, "named twice"),
        ("flow: a\nann quotes: x\nbob: hi", 3, "after `ann quotes: …`"),
        ("flow: a\nann quotes: x", 2, "must follow"),
        ("flow: a\nmodel for bot: hi", 2, "a word of the format"),
        ("flow: a\n##", 2, "a title has words"),
        ("  ann: hi", 1, "no line above"),
        ("ann: hi", 1, "no flow"),
        ("", 1, "it is empty"),
        ("flow: a\nwait 0.0001 s", 2, "no whole number of milliseconds"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_is_allowed(
    text: str, line: int, told: str
) -> None:
    with pytest.raises(Refused) as error:
        parse(text, "some.chat")
    assert str(error.value).startswith(f"some.chat:{line}: ")
    assert told in str(error.value)


@given(st.text(max_size=60) | st.text("an: \n#=*\\[]botmdel'", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        chat = parse(f"flow: x\n{text}")
        assert parse(write(chat)) == chat


def test_somebody_may_be_called_almost_anything() -> None:
    source = read("flow: a\nusers: modle\nmodle: hi\n\nDr-No：hi\n")
    first, second = source.chat.dialogs[0].lines
    assert (first, second) == (
        lines.Says(who="modle", text="hi"),
        lines.Says(who="Dr-No", text="hi"),
    )
    assert source.line_of(0, 1) == 5


def test_what_holds_for_a_dialog_is_its_own_over_the_files() -> None:
    chat = parse('flow: a\nconfig: {"x": 1, "y": [1, 2]}\n## t\nx = 2\nname = 小王\nann: hi')
    head = chat.head_of(chat.dialogs[0])
    assert [(s.name, s.value) for s in head.config] == [
        ("x", "2"),
        ("y", "[1,2]"),
        ("name", '"小王"'),
    ]


def test_texts_go_on_below_and_full_width_colons_count() -> None:
    chat = parse("flow: a\r\n小王：第一行\r\n  第二行\r\n\r\n  第三行\r\n")
    assert chat.dialogs[0].lines == (lines.Says(who="小王", text="第一行\n第二行\n第三行"),)


def test_every_rule_begins_with_a_word_that_nobody_is_called() -> None:
    first = {rule.shape.split()[0].rstrip(":") for rule in RULES}
    assert first - set(RESERVED) == {"the", "a", "clock", "ann", "ann's", "[STATE]"}


def test_who_found_a_dialog_and_what_it_broke_are_kept() -> None:
    head = lines.Head(
        flow="assistant",
        found_by="test_a.py::TestA::test_laws[simulator-a0]",
        breaks="law resolved once",
    )
    chat = lines.Chat(head=head, notes=("as it was",))
    assert parse(write(chat)) == chat
    assert "breaks law: resolved once\n" in write(chat)
    with pytest.raises(Refused, match=r"some\.chat:1: “breaks what: it”"):
        parse("breaks what: it\n", "some.chat")
