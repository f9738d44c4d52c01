"""Runs a conversation on anything that can talk, and says in words where it went another way.

Used by the pytest plugin, by `ai-assistant flow chat` and by whoever has lines to try. It reads
what each person is told in order, and knows nothing of flows, hops or worlds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from msgspec.structs import replace

from streams.chat import lines
from streams.chat.lines import AnyLine, Kind
from streams.chat.parse import Source
from streams.chat.text import escape, escape_pieces, matches
from streams.chat.write import write_line


class CannotHappen(Exception):
    """What a line wants is not possible now; the text says why, and what there is."""


class Talk(Protocol):
    """Something that a conversation runs on. People are known by the names of the chat.

    Everything may raise CannotHappen. What there is to read only grows: `run` keeps the places.
    """

    def act(self, line: lines.Happens | lines.Fault) -> None:
        """Let it happen; what follows may wait until `settle`."""

    def settle(self) -> None:
        """Let all that follows follow: something is looked at next."""

    def told(self, who: str) -> Sequence[str]:
        """All that they were told so far, whole replies, in order."""

    def forwarded(self, who: str) -> Sequence[str]:
        """All messages of theirs that operators were shown, in order."""

    def state(self, who: str) -> str:
        """The leaf that their dialog is in."""

    def ending(self, who: str, number: int | None) -> str:
        """How their `number`-th (from 1), or last, message ended; `waiting` while it has not."""

    def asked(self, who: str, kind: Kind) -> str | None:
        """What their newest pending request of this kind is about; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The conversation went another way at the `line`-th line (0-based; behind the last: its end).

    `why`: one sentence; empty where `expected` and `actual` say it.
    """

    line: int
    expected: str
    actual: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """`so_far`: what was said and done, as lines of a chat; what followed is set in by a blank."""

    so_far: tuple[str, ...]
    failure: Failure | None = None

    def told(self, place: str, wanted: str) -> str:
        """The failure for a person. `place`: file and line; `wanted`: the line as it is written."""
        failure = self.failure
        assert failure is not None
        found = [f"{place} {failure.why or 'the conversation went another way'}", ""]
        found += [f"    {line}" for line in self.so_far]
        found += [f"  > {line}" for line in wanted.split("\n")]
        if not failure.why:
            found += ["", f"  expected  {failure.expected}", f"  actual    {failure.actual}"]
        return "\n".join(found)


class _Wrong(Exception):
    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected, self.actual = expected, actual


@dataclass
class _Run:
    """One run: who is spoken of, and how far everybody has read."""

    talk: Talk
    people: tuple[str, ...]
    of: str
    states: dict[str, str]
    so_far: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    forwarded: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)  # those whose replies the chat looks at

    def line(self, line: AnyLine) -> None:
        """One line. Raises _Wrong and CannotHappen."""
        if isinstance(line, lines.Note):
            return
        self.of = getattr(line, "who", "") or self.of
        if isinstance(line, lines.OperatorSays | lines.HandsBack):
            line = replace(line, who=self.of)
        if isinstance(
            line,
            lines.BotSays
            | lines.BotIsSilent
            | lines.BotMaySay
            | lines.IsIn
            | lines.MessageIs
            | lines.IsAsked
            | lines.OperatorReads,
        ):
            self.talk.settle()
            self.so_far.extend(f" {news}" for news in self._news())
            self._expect(line)
            return
        self.talk.act(line)
        self.so_far.append(write_line(line))
        self.so_far.extend(f" {news}" for news in self._news())

    def _news(self) -> Iterator[str]:
        """What has come of it, for everybody."""
        for who in self.people:
            to = f" to {who}" if len(self.people) > 1 else ""
            told = self.talk.told(who)
            for text in told[self.noted.get(who, 0) :]:
                yield f"bot{to}: {_shown(text)}"
            self.noted[who] = len(told)
            state = self.talk.state(who)
            if state != self.states[who]:
                yield f"[{who}: {state}]" if to else f"[{state}]"
            self.states[who] = state

    def _expect(self, line: lines.Expects) -> None:
        who = self.of
        match line:
            case lines.BotSays():
                self.listening.add(who)
                text = self._next(self.read, self.talk.told(who))
                _compare(line.pieces, text, otherwise="nothing more was said")
            case lines.BotIsSilent():
                self.listening.add(who)
                self.silent(who)
            case lines.BotMaySay():
                self.read[who] = len(self.talk.told(who))
            case lines.IsIn():
                state = self.talk.state(who)
                if not matches(tuple(line.state.split("*")), state):
                    raise _Wrong(f"[{line.state}]", f"[{state}]")
            case lines.MessageIs():
                how = self.talk.ending(who, line.number)
                if how != line.how:
                    raise _Wrong(line.how, how)
            case lines.IsAsked():
                asked = self.talk.asked(who, line.kind)
                _compare(line.pieces, asked, otherwise=f"no {line.kind} request waits for {who}")
            case lines.OperatorReads():
                text = self._next(self.forwarded, self.talk.forwarded(who))
                _compare(line.pieces, text, otherwise="nothing more was forwarded")
            case _:
                assert_never(line)

    def _next(self, places: dict[str, int], texts: Sequence[str]) -> str | None:
        at = places.get(self.of, 0)
        places[self.of] = at + 1
        return texts[at] if at < len(texts) else None

    def silent(self, who: str) -> None:
        """Nothing is left that they have not read. Raises _Wrong."""
        unread = self.talk.told(who)[self.read.get(who, 0) :]
        if unread:
            to = f" to {who}" if len(self.people) > 1 else ""
            raise _Wrong("nothing", f"bot{to}: {_shown(unread[0])}")


def _compare(pieces: lines.Pieces, text: str | None, *, otherwise: str) -> None:
    if text is None or not matches(pieces, text):
        expected = escape_pieces(pieces) if len(pieces) > 1 else _shown(pieces[0])
        raise _Wrong(expected, otherwise if text is None else _shown(text))


def _shown(text: str) -> str:
    return escape(text) if text else "(an empty text)"


def run(dialog: Sequence[AnyLine], talk: Talk, *, people: tuple[str, ...]) -> Ran:
    """Say and expect these lines, up to the first that goes another way.

    What somebody is told and the chat looks at is read whole: at the end nothing of it may be left.
    """
    going = _Run(talk, people, of=people[0], states={who: talk.state(who) for who in people})
    at = 0
    try:
        for at, line in enumerate(dialog):  # noqa: B007 - the place is needed where it fails
            going.line(line)
        at = len(dialog)
        talk.settle()
        for who in people:
            if who in going.listening:
                going.silent(who)
    except _Wrong as wrong:
        failure = Failure(line=at, expected=wrong.expected, actual=wrong.actual)
        return Ran(so_far=tuple(going.so_far), failure=failure)
    except CannotHappen as error:
        failure = Failure(line=at, expected="", actual="", why=str(error))
        return Ran(so_far=tuple(going.so_far), failure=failure)
    return Ran(so_far=tuple(going.so_far))


def report(source: Source, number: int, *, ran: Ran) -> str:
    """The failure of the `number`-th dialog of a file (from 0); empty where there is none."""
    if ran.failure is None:
        return ""
    dialog, at = source.chat.dialogs[number], ran.failure.line
    is_end = at >= len(dialog.lines)
    line = source.places[number][-1] if is_end else source.line_of(number, at)
    wanted = "(the end)" if is_end else write_line(dialog.lines[at])
    title = f" {dialog.title}:" if dialog.title else ""
    return ran.told(f"{source.name}:{line}:{title}", wanted)
