"""`Chat` to text: `parse(write(chat)) == chat`, whatever its texts are.

It writes one form of each line, the one that the specification shows first.
"""

from typing import assert_never

import msgspec

from streams.chat import lines
from streams.chat.grammar import PLATFORM
from streams.chat.text import duration, edges, escape, escape_pieces, split

_HOW = {how: words for words, how in PLATFORM.items()}
_INDENT = "\n    "
"""What begins a line that continues the one above it."""


def write(chat: lines.Chat) -> str:
    """The whole file."""
    top = [_note(note) for note in chat.notes]
    parts = ["\n".join([*top, *_head(chat.head)])]
    for dialog in chat.dialogs:
        title = [f"## {dialog.title}"] if dialog.title else []
        body = [write_line(line) for line in dialog.lines]
        parts.append("\n".join([*title, *_head(dialog.head), *body]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(head: lines.Head) -> list[str]:
    found = []
    if head.found_by:
        found.append(f"found by: {head.found_by}")
    if head.breaks:
        kind, _, name = head.breaks.partition(" ")
        found.append(f"breaks {kind}: {name}")
    if head.flow:
        found.append(f"flow: {head.flow}")
    if head.world:
        found.append(f"world: {head.world}")
    if head.seed is not None:
        found.append(f"seed: {head.seed}")
    if head.platform:
        found.append(f"platform: {head.platform}")
    if head.limit is not None:
        found.append(f"limit: {head.limit[0]} in {head.limit[1]} ms")
    if head.flow_changes:
        found.append(f"flow changes: {head.flow_changes}")
    if head.users:
        found.append(f"users: {', '.join(head.users)}")
    found += [f"{setting.name} = {_value(setting.value)}" for setting in head.config]
    words = head.words
    found += [f"says {escape(name, ':：=')}: {_list(texts)}" for name, texts in words.says]
    found += [f"intent of {escape(name, ':：=')}: {escape(it)}" for name, it in words.intents]
    others = (("model", words.model), ("skill", words.skill), ("operator", words.operator))
    for name, texts in others:
        if texts:
            found.append(f"{name} says: {_list(texts)}")
    return found


def _value(value: str) -> str:
    """A text without its quotation marks, where it would be read as that text without them."""
    decoded = msgspec.json.decode(value)
    if not isinstance(decoded, str) or not decoded or decoded != decoded.strip():
        return value
    if not decoded.isprintable() or decoded[0] in '"[{':
        return value
    try:
        msgspec.json.decode(decoded)
    except msgspec.DecodeError:
        return decoded
    return value


def _list(texts: tuple[str, ...]) -> str:
    return " | ".join(escape(text, "|") for text in texts)


def write_line(line: lines.AnyLine) -> str:
    """One line, with those that continue it; above it, what it quotes."""
    if isinstance(line, lines.Says) and line.quoted:
        return f"{_told(f'{line.who} quotes', escape(line.quoted))}\n{_line(line)}"
    return _line(line)


def _told(by: str, written: str) -> str:
    """Who says something, and what; a text of several lines has them below each other."""
    first, *others = split(written, "\\n")
    found = f"{by}: {edges(first)}".rstrip()
    for other in others:
        found += f"{_INDENT}{edges(other)}" if other else "\\n"
    return found


def _line(line: lines.AnyLine) -> str:
    match line:
        case lines.Says():
            kind = f" ({escape(line.kind, '()')})" if line.kind else ""
            age = f", {duration(line.age_ms)} ago" if line.age_ms else ""
            return _told(f"{line.who}{kind}{age}", escape(line.text))
        case lines.Answers():
            return _told(_request(line), escape(line.text))
        case lines.EndsWith():
            return f"request {line.number} ends with word {line.word}"
        case lines.Fails():
            return f"{_request(line)} fails: {line.reason}"
        case lines.Breaks():
            return f"{_request(line)} breaks"
        case lines.Shows():
            number = "" if line.number is None else f" {line.number}"
            return _told(f"model{number} shows half of", escape(line.text))
        case lines.Late():
            return f"late: answer {line.number}"
        case lines.Again():
            return (
                f"again: {line.who}'s message {line.number}"
                if line.who
                else (f"again: message {line.number}")
            )
        case lines.Waits():
            return "wait next" if line.ms is None else f"wait {duration(line.ms)}"
        case lines.OperatorSays():
            return _told(f"operator{_to(line.who)}", escape(line.text))
        case lines.HandsBack():
            return f"operator hands {line.who} back" if line.who else "operator hands back"
        case lines.Stops():
            return f"{line.who} stops"
        case lines.Judges():
            return f"{line.who} {'likes' if line.verdict == 'up' else 'dislikes'} it"
        case lines.Note():
            return _note(line.text)
        case (
            lines.PlatformIs()
            | lines.DiskIsFull()
            | lines.Crash()
            | lines.Moves()
            | lines.Zombie()
            | lines.ClockJumps()
            | lines.Redrives()
        ):
            return _fault(line)
        case _:
            return _expected(line)


def _fault(line: lines.Fault) -> str:
    match line:
        case lines.PlatformIs():
            return f"the platform {_HOW[line.how]}"
        case lines.DiskIsFull():
            return "the disk is full"
        case lines.Crash():
            return f"crash at {line.at}"
        case lines.Moves():
            return f"partition {line.partition} moves"
        case lines.Zombie():
            return f"a zombie on partition {line.partition}"
        case lines.ClockJumps():
            way = "back" if line.ms < 0 else "ahead"
            return f"clock {line.worker} jumps {duration(abs(line.ms))} {way}"
        case lines.Redrives():
            return f"operator redrives dead letter {line.number}"
        case _:
            assert_never(line)


def _expected(line: lines.Expects) -> str:
    match line:
        case lines.BotSays():
            return _told(f"bot{_to(line.who)}", escape_pieces(line.pieces))
        case lines.BotIsSilent():
            return f"bot{_to(line.who)} says nothing"
        case lines.BotMaySay():
            return f"bot{_to(line.who)} says anything"
        case lines.IsIn():
            return f"[{line.who}: {line.state}]" if line.who else f"[{line.state}]"
        case lines.MessageIs():
            number = "" if line.number is None else f" {line.number}"
            return f"{line.who}'s message{number} is {line.how}"
        case lines.IsAsked():
            whose = f" for {line.who}" if line.who else ""
            return _told(f"{line.kind}{whose} is asked", escape_pieces(line.pieces))
        case lines.OperatorReads():
            whose = f" of {line.who}" if line.who else ""
            return _told(f"operator reads{whose}", escape_pieces(line.pieces))
        case _:
            assert_never(line)


def _request(line: lines.Answers | lines.Fails | lines.Breaks) -> str:
    number = "" if line.number is None else f" {line.number}"
    return f"{line.kind}{number}{f' for {line.who}' if line.who else ''}"


def _to(who: str) -> str:
    return f" to {who}" if who else ""


def _note(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n"))
