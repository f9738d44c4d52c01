"""What every world gives: it takes stimuli, comes to rest, and shows what is to be judged.

A world runs one list of stimuli on one build of the engine: the pure step, the simulator, or a host
on a real log. The judges (`testkit.laws`) see only the `Evidence`: what clients saw, what the
platform was asked, and what the logs hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.effects import RunnerRequest
from engine.flow import Flow
from engine.ports import DeadLetter, Delivery, Line, LogRecord, StepRow
from testkit.stimuli import AnyStimulus

NOWHERE = -1
"""No partition."""


class Logged(Protocol):
    """The reads of one partition's log; `adapters.logs.memory` and `adapters.logs.sqlite` fit."""

    def read(self, partition: int, *, after: int, limit: int) -> Sequence[LogRecord]: ...
    def watermark(self, partition: int) -> int: ...
    def head(self, partition: int) -> int: ...
    def get(self, session_id: str) -> bytes | None: ...
    def sessions(self, *, limit: int, after: str = "") -> Sequence[tuple[str, bytes]]: ...
    def steps(self, session_id: str, *, after_seq: int, limit: int) -> Sequence[StepRow]: ...
    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> Sequence[tuple[int, int]]: ...
    def history(self, session_id: str) -> Sequence[LogRecord]: ...
    def deliveries_of(self, session_id: str) -> Sequence[Delivery]: ...
    def dead_letters(self) -> Sequence[DeadLetter]: ...
    def lines(self, session_id: str, *, after: int, limit: int) -> Sequence[Line]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrote:
    """A user wrote a message; the platform gave it `message_id`. `session_id`: where it leads."""

    at_ms: int
    user: int
    message_id: str
    event_id: str
    session_id: str
    text: str
    kind: str = ""
    sent_ms: int = 0
    """When the platform had it from the user: earlier than `at_ms` by the message's age."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Somebody asked something of a session that is no message: a stop, a verdict, a redrive, ….

    `what`: the type of event that it becomes. `about`: the reply that is meant, or the message that
    is to be taken again. `text`: an operator's words, or a verdict.
    """

    at_ms: int
    event_id: str
    session_id: str
    what: str
    about: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acknowledged:
    """The engine told whoever sent it that it has the message, or what was asked: from now on it
    must not be lost. `message_id`: empty where it is no message."""

    at_ms: int
    message_id: str
    event_id: str
    session_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """The engine refused the message at the door, and told why: it is not in the log."""

    at_ms: int
    message_id: str
    event_id: str
    session_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Called:
    """The engine called the platform for a reply. `took`: the platform has it; else it never will.

    `marked`: a durable delivery in state `sending` stood in the log at that instant. `at_ms` is log
    time, which differs between owners; `platform_ms`: the platform's own clock, where it was noted.
    `watermark`: up to which offset the log was stepped then, durably. `fenced`: the caller had lost
    its partition, and could not know it yet. `session_id`: of the person whom the platform was told
    to deliver to. `refused`: the platform will never take it. `unsaid`: it took it, and never says
    so.
    """

    at_ms: int
    session_id: str
    reply_id: str
    text: str
    took: bool
    marked: bool
    watermark: int
    refused: bool = False
    platform_ms: int | None = None
    fenced: bool = False
    unsaid: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A reply is there for its user: the platform took it, and it is no repetition for it.

    `session_id`: of that user, whoever was meant.
    """

    at_ms: int
    session_id: str
    reply_id: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Began:
    """A runner was given this to work on. `fenced`: by who had lost its partition."""

    at_ms: int
    request: RunnerRequest
    fenced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a runner has said so far, all of it. `is_all`: its call ended with it."""

    at_ms: int
    effect_id: str
    text: str
    is_all: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A frame of an open reply reached its user. `watermark`: as of a call."""

    at_ms: int
    session_id: str
    reply_id: str
    attempt: int
    n: int
    text: str
    watermark: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A person's page got a line of their outbox. `after`: the last that it had before."""

    at_ms: int
    after: int
    line: Line


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something broke. `what`: in words; `lasted_ms`: for how long it had been so.

    `point`: where a worker died; `standing`: the event that was being stepped then. `partition`:
    where it broke; NOWHERE: no dialog can tell. `new_owner`: the partition went over to another
    process. `effect`: the request whose outcome came late.
    """

    at_ms: int
    what: str
    point: str = ""
    partition: int = 0
    lasted_ms: int = 0
    standing: str = ""
    new_owner: bool = False
    effect: str = ""


Seen = (
    Wrote
    | Asked
    | Acknowledged
    | Rejected
    | Began
    | Said
    | Called
    | Received
    | Shown
    | Read
    | Fault
)


def told(
    sent: Wrote | Asked, entry: type[Acknowledged] | type[Rejected], *, now_ms: int
) -> Acknowledged | Rejected:
    """What whoever sent something is told of it."""
    return entry(
        at_ms=now_ms,
        message_id=sent.message_id if isinstance(sent, Wrote) else "",
        event_id=sent.event_id,
        session_id=sent.session_id,
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a judge may look at.

    `logs`: one for each partition (each knows itself as partition 0). `seen`: in the order in which
    it happened. `flows`: every flow that was active, by ref as text. `idempotent`: whether the
    platform recognises a repeated reply id; `limit`: the account's (max requests, period ms).
    `outbox`: the logs keep people's lines, and their pages read them.
    `faults_end_ms`: log time after the last fault and user message, `resting_ms`: from when on all
    work ends well, `rested_ms`: at rest; None while the world is not at rest. `lines`: those of
    a session, where the log keeps the outbox of its channel.
    """

    logs: Sequence[Logged]
    seen: Sequence[Seen]
    flows: Mapping[str, Flow]
    idempotent: bool
    limit: tuple[int, int] | None = None
    outbox: bool = False
    faults_end_ms: int | None = None
    resting_ms: int | None = None
    rested_ms: int | None = None
    lines: Callable[[str], Sequence[Line]] | None = None


class World(Protocol):
    """One run. A world is used once; the same stimuli and seed give the same evidence."""

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once. Never raises for what the engine does."""

    def rest(self) -> None:
        """No more faults: let pending work end and time pass until nothing is waited for but the
        dialog's own idle time-outs."""

    def evidence(self) -> Evidence:
        """What there is to judge so far."""
