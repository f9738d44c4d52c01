"""Stimuli: what may happen to a dialog, as one flat list in which each thing is always possible.

A stimulus names a thing by an index that is taken modulo what exists (`Outcome(i=3)` ends the
fourth pending request, or the first where there are three; nothing where there is none). So any
list means something in any world, any part of it may be left out, and shrinking stays fast.

Read by the worlds (`testkit.worlds`), written by strategies, `.chat` files and the command line. A
stimulus holds no text: people's and runners' words are looked up in the `Script` by class.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from engine.crash_points import CrashPoint


class Stimulus(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="do",
):
    """Base of all; positional, since people write them by hand."""


class Say(Stimulus, frozen=True, tag="say"):
    """User `user` writes the `variant`-th text of class `kind`; the platform had it `age_ms`."""

    user: int = 0
    kind: str = ""
    variant: int = 0
    age_ms: int = 0


class Outcome(Stimulus, frozen=True, tag="outcome"):
    """The i-th pending request of all users ends, the oldest first.

    `ok`: with the `variant`-th text of its kind; `fail`: with the `variant`-th reason; `die`: its
    runner breaks its contract (raises). A model's text may match a fallback strategy.
    """

    i: int = 0
    how: Literal["ok", "fail", "die"] = "ok"
    variant: int = 0


class Frame(Stimulus, frozen=True, tag="frame"):
    """The i-th pending model call says half of its `variant`-th text so far."""

    i: int = 0
    variant: int = 0


class Late(Stimulus, frozen=True, tag="late"):
    """The outcome of the i-th request that ended, whichever way, arrives (again)."""

    i: int = 0


class Again(Stimulus, frozen=True, tag="again"):
    """The platform hands over the j-th message so far once more."""

    j: int = 0


class Wait(Stimulus, frozen=True, tag="wait"):
    """Time passes; None: until the next thing is due anywhere."""

    ms: int | None = None


class Operator(Stimulus, frozen=True, tag="operator"):
    """An operator speaks to a user, or hands the user back to the bot."""

    user: int = 0
    what: Literal["say", "hand back"] = "say"


class Stop(Stimulus, frozen=True, tag="stop"):
    """A user presses stop."""

    user: int = 0


class Feedback(Stimulus, frozen=True, tag="feedback"):
    """A user judges the last reply."""

    user: int = 0
    verdict: Literal["up", "down"] = "up"


class Platform(Stimulus, frozen=True, tag="platform"):
    """How the platform treats its next call: away, refuses, slow, or took it and does not say."""

    how: Literal["away", "refuses", "slow", "silent"] = "away"


class Disk(Stimulus, frozen=True, tag="disk"):
    """The next commit fails: nothing of it is durable."""


class Crash(Stimulus, frozen=True, tag="crash"):
    """A worker dies when it is next at this point; at once for points that it never comes to."""

    point: CrashPoint = CrashPoint.STEP_COMMIT


class Move(Stimulus, frozen=True, tag="move"):
    """The i-th partition moves to the next worker, whose owner before goes without a word."""

    i: int = 0


class Zombie(Stimulus, frozen=True, tag="zombie"):
    """The i-th partition moves, and its owner before goes on as if it had not, until fenced."""

    i: int = 0


class Skew(Stimulus, frozen=True, tag="skew"):
    """The i-th worker's wall clock jumps."""

    i: int = 0
    ms: int = 0


class Redrive(Stimulus, frozen=True, tag="redrive"):
    """An operator has the i-th dead letter taken again."""

    i: int = 0


AnyStimulus = (
    Say
    | Outcome
    | Frame
    | Late
    | Again
    | Wait
    | Operator
    | Stop
    | Feedback
    | Platform
    | Disk
    | Crash
    | Move
    | Zombie
    | Skew
    | Redrive
)
FAULTS = (Late, Again, Platform, Disk, Crash, Move, Zombie, Skew)
"""Stimuli that no law excuses but that need not be: shrinking leaves them out first."""

QUIET = (Wait, Outcome, Frame)
"""What runners and time do: neither a fault, nor anything that a person asks for."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[AnyStimulus, ...]).decode


def to_json(stimuli: Sequence[AnyStimulus]) -> str:
    """One line, for a command that reproduces a finding."""
    return _encode(list(stimuli)).decode()


def from_json(text: str) -> tuple[AnyStimulus, ...]:
    """What `to_json` made. Raises msgspec.ValidationError, which names the place."""
    return _decode(text)
