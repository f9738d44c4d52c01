"""What a `.chat` file holds: one record for each kind of line, and the file around them.

Made by `parse` and by whoever has a conversation to keep; read by `write` and `run`. A record holds
texts as they are said: escapes and wildcards are of the written form. Numbers count from 1. An
empty `who` is the person last spoken of.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["model", "skill", "intent"]
AnyKind = Literal["model", "skill", "intent", "request"]
Reason = Literal[
    "error", "timeout", "unavailable", "refused", "died", "empty", "expired", "deadline"
]
Ending = Literal[
    "answered", "merged", "forwarded", "ignored", "refused", "expired", "failed", "waiting"
]
PlatformHow = Literal["away", "refuses", "slow", "silent"]
Point = Literal[
    "before append",
    "append-ack",
    "step-commit",
    "commit-perform",
    "outcome-append",
    "mark-call",
    "call-receipt",
]


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="line"):
    """Base of all lines."""


# ---- what happens --------------------------------------------------------------------------------


class Says(Line, frozen=True, kw_only=True, tag="says"):
    """A person writes. `kind`: the class of the text, where it would not be found by the text.

    `age_ms`: how long the platform has had it. `quoted`: what the message quotes.
    """

    who: str
    text: str
    kind: str = ""
    age_ms: int = 0
    quoted: str = ""


class Answers(Line, frozen=True, kw_only=True, tag="answers"):
    """A request ends well: the oldest of its kind, the `number`-th of all, or `who`'s oldest."""

    kind: Kind
    text: str
    number: int | None = None
    who: str = ""


class EndsWith(Line, frozen=True, kw_only=True, tag="ends_with"):
    """The `number`-th request of all ends with the `word`-th of its kind's words."""

    number: int
    word: int


class Fails(Line, frozen=True, kw_only=True, tag="fails"):
    """A request ends badly; `kind` request: whichever kind it is of."""

    kind: AnyKind
    reason: Reason = "error"
    number: int | None = None
    who: str = ""


class Breaks(Line, frozen=True, kw_only=True, tag="breaks"):
    """What works on a request breaks its contract: it raises."""

    kind: AnyKind
    number: int | None = None
    who: str = ""


class Shows(Line, frozen=True, kw_only=True, tag="shows"):
    """A model call, the oldest or the `number`-th, streams the first half of this text."""

    text: str
    number: int | None = None


class Late(Line, frozen=True, kw_only=True, tag="late"):
    """The outcome of the `number`-th request that has ended, whichever way, arrives (again)."""

    number: int


class Again(Line, frozen=True, kw_only=True, tag="again"):
    """The platform hands over a message once more: the `number`-th of all, or of `who`."""

    number: int
    who: str = ""


class Waits(Line, frozen=True, kw_only=True, tag="waits"):
    """Time passes, in ms; None: until the next thing is due."""

    ms: int | None = None


class OperatorSays(Line, frozen=True, kw_only=True, tag="operator_says"):
    text: str
    who: str = ""


class HandsBack(Line, frozen=True, kw_only=True, tag="hands_back"):
    """An operator gives a person back to the bot."""

    who: str = ""


class Stops(Line, frozen=True, kw_only=True, tag="stops"):
    """A person presses stop."""

    who: str


class Judges(Line, frozen=True, kw_only=True, tag="judges"):
    """A person judges the last reply."""

    who: str
    verdict: Literal["up", "down"]


# ---- faults --------------------------------------------------------------------------------------


class PlatformIs(Line, frozen=True, kw_only=True, tag="platform"):
    """How the platform treats its next call; `silent`: it takes it and does not say."""

    how: PlatformHow


class DiskIsFull(Line, frozen=True, kw_only=True, tag="disk"):
    """The next commit fails."""


class Crash(Line, frozen=True, kw_only=True, tag="crash"):
    """A worker dies when it is next at this point."""

    at: Point


class Moves(Line, frozen=True, kw_only=True, tag="moves"):
    """A partition gets another owner."""

    partition: int = 1


class Zombie(Line, frozen=True, kw_only=True, tag="zombie"):
    """A partition gets another owner, and its owner before goes on until it is fenced."""

    partition: int = 1


class ClockJumps(Line, frozen=True, kw_only=True, tag="clock"):
    """A worker's clock jumps, ahead or (`ms` below 0) back."""

    worker: int
    ms: int


class Redrives(Line, frozen=True, kw_only=True, tag="redrives"):
    """An operator has a dead letter taken again."""

    number: int


# ---- what is expected ----------------------------------------------------------------------------

Pieces = tuple[str, ...]
"""A text with wildcards: what stands between them. One piece: exactly that text."""


class BotSays(Line, frozen=True, kw_only=True, tag="bot_says"):
    """The next thing that `who` has not read yet."""

    pieces: Pieces
    who: str = ""


class BotIsSilent(Line, frozen=True, kw_only=True, tag="bot_is_silent"):
    """There is nothing that `who` has not read."""

    who: str = ""


class BotMaySay(Line, frozen=True, kw_only=True, tag="bot_may_say"):
    """Whatever there is, `who` reads it."""

    who: str = ""


class IsIn(Line, frozen=True, kw_only=True, tag="is_in"):
    """The state of `who`'s dialog: a leaf, or a pattern with `*`."""

    state: str
    who: str = ""


class MessageIs(Line, frozen=True, kw_only=True, tag="message_is"):
    """How `who`'s last, or `number`-th, message ended."""

    who: str
    how: Ending
    number: int | None = None


class IsAsked(Line, frozen=True, kw_only=True, tag="is_asked"):
    """The newest request of this kind that `who` waits for is about this text."""

    kind: Kind
    pieces: Pieces
    who: str = ""


class OperatorReads(Line, frozen=True, kw_only=True, tag="operator_reads"):
    """The next message of `who` that was forwarded to the operators."""

    pieces: Pieces
    who: str = ""


class Note(Line, frozen=True, kw_only=True, tag="note"):
    """A comment: one line, without blanks at its ends."""

    text: str


Happens = (
    Says
    | Answers
    | EndsWith
    | Fails
    | Breaks
    | Shows
    | Late
    | Again
    | Waits
    | OperatorSays
    | HandsBack
    | Stops
    | Judges
)
Fault = PlatformIs | DiskIsFull | Crash | Moves | Zombie | ClockJumps | Redrives
Expects = BotSays | BotIsSilent | BotMaySay | IsIn | MessageIs | IsAsked | OperatorReads
AnyLine = Happens | Fault | Expects | Note

# ---- the file ------------------------------------------------------------------------------------


class Setting(msgspec.Struct, frozen=True):
    """One field of the flow's configuration. `value`: compact JSON."""

    name: str
    value: str


class Words(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be said where a line names a word by number, and what follows at the end.

    Only generated chats have it. `says`: a class of what people say, and its texts. `intents`: a
    class, and the intent that a recogniser finds in it.
    """

    says: tuple[tuple[str, tuple[str, ...]], ...] = ()
    intents: tuple[tuple[str, str], ...] = ()
    model: tuple[str, ...] = ()
    skill: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands before the lines, of a file or of one of its dialogs.

    `flow`: a flow's name, `name@version`, or `module:Class`. `world`: where it runs; empty is the
    pure step. Of the simulator: `platform`: whether it knows a repeated reply (`web chat`: it does,
    and lines are kept); `limit`: calls of an account in so many ms; `flow_changes`: the flow is
    the active one from a partition's first move on. `users`: those who take part, in order; others
    join when they first speak. `found_by`, `breaks`: of a generated dialog the test that found it
    (`file.py::Class::test`), and what it broke: `law` or `predicate` and its name.
    """

    flow: str = ""
    world: Literal["", "pure", "simulator"] = ""
    seed: int | None = None
    platform: Literal["", "idempotent", "forgetful", "web chat"] = ""
    limit: tuple[int, int] | None = None
    flow_changes: Literal["", "yes", "no"] = ""
    users: tuple[str, ...] = ()
    config: tuple[Setting, ...] = ()
    words: Words = Words()
    found_by: str = ""
    breaks: str = ""

    def over(self, below: "Head") -> "Head":
        """This head, and where it says nothing, the one below it."""
        given = {setting.name: setting for setting in (*below.config, *self.config)}
        return Head(
            flow=self.flow or below.flow,
            world=self.world or below.world,
            seed=below.seed if self.seed is None else self.seed,
            platform=self.platform or below.platform,
            limit=self.limit or below.limit,
            flow_changes=self.flow_changes or below.flow_changes,
            users=self.users or below.users,
            config=tuple(given.values()),
            words=below.words if self.words == Words() else self.words,
            found_by=self.found_by or below.found_by,
            breaks=self.breaks or below.breaks,
        )


class Dialog(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One conversation. Only the first of a file may be without a title."""

    title: str = ""
    head: Head = Head()
    lines: tuple[AnyLine, ...] = ()


class Chat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole file. `notes`: the comments before everything else."""

    notes: tuple[str, ...] = ()
    head: Head
    dialogs: tuple[Dialog, ...] = ()

    def head_of(self, dialog: Dialog) -> Head:
        """What holds for one of the dialogs."""
        return dialog.head.over(self.head)


def people(head: Head, lines: Sequence[AnyLine]) -> tuple[str, ...]:
    """Everybody who takes part, in order: those named at the top, then as they first appear."""
    found = dict.fromkeys(head.users)
    for line in lines:
        who = getattr(line, "who", "")
        if who:
            found.setdefault(who)
    return tuple(found) or ("ann",)
