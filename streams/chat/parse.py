"""Text to `Chat`: reads a `.chat` file.

Whatever is wrong is told with file, line, what was found and what is allowed there. It never opens
a file: the text is given.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from engine.errors import Refused
from streams.chat import grammar
from streams.chat.lines import AnyLine, Chat, Dialog, Head, Note, Says, Setting
from streams.chat.text import BadText, split, unescape

KEYS = ("flow", "config", "world", "seed", "platform", "limit", "flow changes", "users")
ALLOWED = {
    "world": ("pure", "simulator"),
    "platform": ("idempotent", "forgetful", "web chat"),
    "flow changes": ("yes", "no"),
}
_LIMIT = re.compile(r"([1-9]\d{0,5}) in ([1-9]\d{0,8}) ms")
_KEY = re.compile(rf"(?P<key>{'|'.join(KEYS)})\s*[:：]\s*(?P<value>.*)", re.DOTALL)
_SETTING = re.compile(r"(?P<name>[A-Za-z_]\w*) *= *(?P<value>.*)", re.DOTALL)
_SAYS = re.compile(r"says (?P<name>(?:\\.|[^:：\\])+?)\s*[:：]\s*(?P<value>.*)", re.DOTALL)
_INTENT = re.compile(r"intent of (?P<name>(?:\\.|[^:：\\])+?)\s*[:：]\s*(?P<value>.*)", re.DOTALL)
_WORDS = re.compile(r"(?P<name>model|skill|operator) says\s*[:：]\s*(?P<value>.*)", re.DOTALL)
_FOUND = re.compile(r"found by\s*[:：]\s*(?P<value>\S.*)")
_BREAKS = re.compile(r"breaks (?P<kind>law|predicate)\s*[:：]\s*(?P<name>\S.*)")


class Source(NamedTuple):
    """A file that was read. `places`: of each dialog, the line of its title and of its lines.

    `settings`: of each dialog and, behind these, of the top, the line of each field of the
    configuration.
    """

    name: str
    chat: Chat
    places: tuple[tuple[int, ...], ...]
    settings: tuple[Mapping[str, int], ...]

    def line_of(self, dialog: int, line: int) -> int:
        """Where the `line`-th line (0-based) of the `dialog`-th dialog (0-based) stands."""
        return self.places[dialog][line + 1]

    def line_of_setting(self, dialog: int, field: str) -> int:
        """Where that field of the dialog's configuration stands; its title's line where nowhere."""
        at_the_top = self.settings[-1].get(field, self.places[dialog][0])
        return self.settings[dialog].get(field, at_the_top)


def parse(text: str, name: str = "chat") -> Chat:
    """The chat of this text. `name`: the file's, for errors. Raises Refused."""
    return read(text, name).chat


def read(text: str, name: str = "chat") -> Source:
    """The chat, and where its lines stand. Raises Refused."""
    reader = _Reader(name)
    for number, parts in _joined(text, name):
        try:
            reader.take(number, parts)
        except BadText as error:
            raise _wrong(name, number, found=parts[0], why=str(error)) from None
    return reader.source()


def _joined(text: str, name: str) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, each with those that continue it."""
    found: list[tuple[int, list[str]]] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line:
            continue
        if not raw[:1].isspace():
            found.append((number, [line]))
        elif found and not found[-1][1][0].startswith("#"):
            found[-1][1].append(line)
        else:
            why = "it begins with a blank, but there is no line above that it could continue"
            raise _wrong(name, number, found=line, why=why)
    return found


def _wrong(name: str, number: int, *, found: str, why: str) -> Refused:
    shown = found if len(found) <= 60 else found[:59] + "…"
    return Refused(f"{name}:{number}: “{shown}”: {why}")


@dataclass
class _Open:
    """The dialog that is being read."""

    title: str
    line: int
    head: Head = field(default_factory=Head)
    lines: list[AnyLine] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    settings: dict[str, int] = field(default_factory=dict)
    quoted: tuple[str, str, int] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a line that is no comment: the head is over."""
        return any(not isinstance(line, Note) for line in self.lines) or self.quoted is not None


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._notes: list[str] = []
        self._head = Head()
        self._settings: dict[str, int] = {}
        self._open = _Open("", 1)
        self._done: list[_Open] = []

    def take(self, number: int, parts: list[str]) -> None:
        """One line, with what continues it."""
        first = parts[0]
        if first.startswith("## ") or first == "##":
            self._begin(number, first[2:].strip())
        elif first.startswith("#") and self._at_the_top:
            self._notes.append(first[1:].strip())
        elif not self._open.begun and (head := self._heading(number, parts)) is not None:
            self._put_head(number, head)
        else:
            self._body(number, "\\n".join(parts))

    @property
    def _at_the_top(self) -> bool:
        return not self._done and self._head == Head() and not self._open.lines

    def _begin(self, number: int, title: str) -> None:
        if not title:
            raise BadText("a title has words: ## what happens in this conversation")
        self._close()
        self._open = _Open(title, number)

    def _close(self) -> None:
        opened = self._open
        if opened.quoted:
            who, _, number = opened.quoted
            raise _wrong(
                self._name, number, found=f"{who} quotes", why=f"a line `{who}: TEXT` must follow"
            )
        if opened.title or opened.begun:
            self._done.append(opened)
        else:  # comments between the file's head and its first title
            self._notes.extend(line.text for line in opened.lines if isinstance(line, Note))

    def _heading(self, number: int, parts: list[str]) -> Head | None:
        """A line of the head; None where it is a line of the conversation."""
        value_of = " ".join(parts)
        head = self._open.head if self._open.title else self._head
        if found := _KEY.fullmatch(value_of):
            return _with_key(head, found["key"], value=found["value"].strip())
        if found := _SETTING.fullmatch(value_of):
            return _with_setting(head, Setting(found["name"], _json_of(found["value"].strip())))
        if found := _FOUND.fullmatch(value_of):
            return replace(head, found_by=found["value"])
        if found := _BREAKS.fullmatch(value_of):
            return replace(head, breaks=f"{found['kind']} {found['name']}")
        words = head.words
        if found := _WORDS.fullmatch(value_of):
            return replace(head, words=replace(words, **{found["name"]: _list(found["value"])}))
        name = unescape(found["name"]) if (found := _SAYS.fullmatch(value_of)) else ""
        if found:
            says = (*words.says, (name, _list(found["value"])))
            return replace(head, words=replace(words, says=says))
        if found := _INTENT.fullmatch(value_of):
            pair = (unescape(found["name"]), unescape(found["value"].strip()))
            return replace(head, words=replace(words, intents=(*words.intents, pair)))
        return None

    def _put_head(self, number: int, head: Head) -> None:
        opened = self._open
        before, places = self._head, self._settings
        if opened.title:
            before, places = opened.head, opened.settings
            opened.head = head
        else:
            self._head = head
        changed = (one for one in head.config if one not in before.config)
        places.update({one.name: number for one in changed})

    def _body(self, number: int, written: str) -> None:
        opened = self._open
        if found := grammar.QUOTES.fullmatch(written):
            self._check_name(found["who"])
            opened.quoted = (found["who"], unescape(found["text"]), number)
            return
        if _KEY.fullmatch(written):
            raise BadText(self._no_line(written))
        record = grammar.record_of(written)
        if record is None:
            raise BadText(self._no_line(written))
        if opened.quoted is not None and not isinstance(record, Note):
            who, quoted, _ = opened.quoted
            if not isinstance(record, Says) or record.who != who:
                raise BadText(f"after `{who} quotes: …` comes what {who} says: {who}: TEXT")
            record, opened.quoted = replace(record, quoted=quoted), None
        if isinstance(record, Says):
            self._check_name(record.who)
        opened.lines.append(record)
        opened.places.append(number)

    def _no_line(self, written: str) -> str:
        if _KEY.fullmatch(written) or _SETTING.fullmatch(written):
            return "settings stand at the top of the file, or right under a title (## …)"
        shapes = "\n  ".join(grammar.shapes_like(written))
        return f"this is no line of a chat; allowed are\n  {shapes}"

    def _check_name(self, who: str) -> None:
        """`modle: hi` is hardly somebody called Modle."""
        if who in grammar.RESERVED:
            raise BadText(f"{who!r} is a word of the format, nobody can be called so")
        if who in self._head.users or who in self._open.head.users:
            return
        words = ("bot", "model", "skill", "intent", "operator", *KEYS)
        if close := difflib.get_close_matches(who, words, n=1, cutoff=0.75):
            raise BadText(
                f"did you mean {close[0]!r}? If somebody is called {who!r}, "
                f"say so at the top: users: {who}"
            )

    def source(self) -> Source:
        """What was read."""
        self._close()
        for opened in self._done:
            if not (opened.head.flow or self._head.flow):
                why = "no flow: write `flow: NAME` at the top of the file"
                raise _wrong(self._name, opened.line, found=opened.title or "the file", why=why)
        if not self._head.flow and not self._done:
            raise _wrong(self._name, 1, found="the file", why="it is empty: flow: NAME comes first")
        dialogs = tuple(
            Dialog(title=o.title, head=o.head, lines=tuple(o.lines)) for o in self._done
        )
        chat = Chat(notes=tuple(self._notes), head=self._head, dialogs=dialogs)
        places = tuple((o.line, *o.places) for o in self._done)
        settings = (*(o.settings for o in self._done), self._settings)
        return Source(self._name, chat, places, settings)


def _with_key(head: Head, key: str, *, value: str) -> Head:
    if key == "config":
        return _with_config(head, value)
    if key == "users":
        return replace(head, users=_users(value))
    if key == "seed":
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise BadText("a seed is a whole number")
        return replace(head, seed=int(value))
    if key == "limit":
        if not (found := _LIMIT.fullmatch(value)):
            raise BadText("a limit is calls in a time: limit: 2 in 1000 ms")
        return replace(head, limit=(int(found[1]), int(found[2])))
    if key in ALLOWED and value not in ALLOWED[key]:
        raise BadText(f"there is no such {key}; allowed are {' and '.join(ALLOWED[key])}")
    if not value:
        raise BadText(f"`{key}:` needs a value")
    return replace(head, **{key.replace(" ", "_"): value})


def _users(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in re.split(r"[,，、]", value))
    for name in names:
        if not re.fullmatch(grammar.NAME, name) or name in grammar.RESERVED:
            raise BadText(
                f"{name!r} is no name: names are one word of letters, digits, _ and -, "
                f"and none of {', '.join(grammar.RESERVED)}"
            )
    if len(set(names)) < len(names):
        raise BadText("somebody is named twice")
    return names


def _with_config(head: Head, value: str) -> Head:
    try:
        given = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise BadText(f'a configuration is JSON, {{"name": value}}: {error}') from None
    for name, raw in given.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise BadText(f"{name!r} is no name of a setting")
        head = _with_setting(
            head, Setting(name, msgspec.json.format(bytes(raw), indent=-1).decode())
        )
    return head


def _with_setting(head: Head, setting: Setting) -> Head:
    others = {known.name: known for known in head.config} | {setting.name: setting}
    return replace(head, config=tuple(others.values()))


def _json_of(value: str) -> str:
    """The value as compact JSON; what is no JSON is a text."""
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return msgspec.json.encode(value).decode()
    return msgspec.json.format(value, indent=-1)


def _list(value: str) -> tuple[str, ...]:
    return tuple(unescape(part.strip()) for part in split(value, "|"))
