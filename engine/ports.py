"""The ports: what the hops and hosts need of the world, as Protocols with their contracts.

Adapters implement one each, and pass that port's conformance suite. The log knows partitions, owner
tokens, transactions and watermarks from the first day; the embedded log has one partition.

Time: every `_ms` is milliseconds since the epoch, UTC, unless it says log time.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

import msgspec

from engine.effects import IntentRequest, ModelRequest, SkillRequest
from engine.events import Address, Count, Ms, Outcome
from engine.personal import Personal, PersonalBytes

# ---- the log -----------------------------------------------------------------------------------


class Append(NamedTuple):
    """An event that is to be appended: its key, its id and its canonical bytes."""

    session_id: str
    event_id: str
    value: bytes


class LogRecord(NamedTuple):
    """What a log partition holds at `offset` (from 1, growing, gaps allowed)."""

    offset: int
    session_id: str
    value: bytes
    appended_ms: int


class Owner(NamedTuple):
    """The right to write to a partition; a newer claim of it makes this one worthless."""

    partition: int
    token: int


class SessionRow(NamedTuple):
    """A session's canonical bytes, and whether something is pending in it."""

    session_id: str
    value: bytes
    waits: bool = False


class StepRow(NamedTuple):
    """A step record's key and canonical bytes, and the offset of its event (0: materialised)."""

    session_id: str
    seq: int
    event_id: str
    offset: int
    value: bytes


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record set aside with its error, which quotes nothing of it. `value` is as it was read.

    `topic`: where it stood, if it was no event of the log of record.
    """

    topic: str = ""
    partition: int
    offset: int
    session_id: str
    error: str
    value: PersonalBytes
    at_ms: int
    redriven_ms: int | None = None

    @property
    def number(self) -> str:
        """What people call it."""
        place = f"{self.partition}:{self.offset}"
        return f"{self.topic}:{place}" if self.topic else place


DeliveryState = Literal["queued", "sending", "sent", "unknown", "failed", "withdrawn", "closed"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reply on its way out, with all its times and platform ids in one value.

    `closed` is the receipt of a reply that ended without anything to send. `kind`: `message` (a
    whole reply) or `reply` (it ends a streaming one). `text` None: what was last shown stays.
    `withdrawn_ms`: asked back while it was `sending`; if it did not arrive, it is not sent again.
    """

    reply_id: str
    session_id: str
    cause: str
    kind: Literal["message", "reply"]
    address: Address
    state: DeliveryState
    text: Personal | None = None
    how: str = "answered"
    author: str = "bot"
    attempt: Count = 0
    queued_ms: Ms = 0
    sending_ms: Ms | None = None
    receipted_ms: Ms | None = None
    platform_ids: tuple[str, ...] = ()
    error: str = ""
    withdrawn_ms: Ms | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a conversation as its person reads it: the outbox of web chat and terminal.

    `n` counts from 1 in each session, without gaps, in the order of commit; 0 before the commit.
    `id` (the person's message id, or the reply's id) is unique in the session: putting it a second
    time changes nothing. `author`: user, bot or operator. `how`: as in `CloseReply`; `expired` for
    a person's words that came too late to be answered.
    """

    session_id: str
    id: str
    author: str
    text: Personal
    at_ms: Ms
    n: Count = 0
    how: str = ""


class Transaction(Protocol):
    """One atomic, durable batch of one partition. Nothing of it is visible before the commit.

    Reads inside it see its own writes. Leaving the `with` block commits; an exception rolls back.
    """

    def append(self, events: Sequence[Append], *, at_ms: int) -> list[int]:
        """Append in this order; the offsets they got."""

    def put_sessions(self, sessions: Sequence[SessionRow]) -> None:
        """Write each session's canonical bytes over what was there."""

    def put_steps(self, steps: Sequence[StepRow], *, at_ms: int) -> None:
        """Add step records."""

    def put_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write each delivery over what was there under its reply id.

        One that has ended (neither queued nor sending) is not put again.
        """

    def put_lines(self, lines: Sequence[Line]) -> list[int]:
        """Add lines, numbering them; the number of each (the old one where its id was there)."""

    def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Set records aside; a letter at the same offset is written over."""

    def put_watermark(self, offset: int) -> None:
        """Everything up to `offset` is applied: a restart begins after it."""

    def put_deaths(self, offset: int, event_id: str, *, deaths: int) -> None:
        """How often the process died at this event."""


class Log(Protocol):
    """The log of record, with all that must be durable together with it.

    Raises: Refused where the storage is in use by another process, read-only or of a newer schema;
    Unavailable where a write failed (full disk): the batch is then rolled back whole.
    """

    partitions: int

    def claim(self, partition: int) -> Owner:
        """Become the owner: every older owner's transactions raise Conflict from now on."""

    def transaction(self, owner: Owner) -> AbstractContextManager[Transaction]:
        """Open the batch that the owner wants to be atomic. Raises Conflict."""

    def read(self, partition: int, *, after: int, limit: int) -> list[LogRecord]:
        """Committed records after an offset, in order."""

    def watermark(self, partition: int) -> int:
        """The last offset applied; 0 at the beginning."""

    def head(self, partition: int) -> int:
        """The offset of the last committed record; 0 when empty."""


class SessionStore(Protocol):
    """Sessions as canonical bytes; written in the log's transaction."""

    def get(self, session_id: str) -> bytes | None:
        """The last committed bytes, or None."""

    def waiting(self) -> Iterator[SessionRow]:
        """Each session that has something pending."""


class Deliveries(Protocol):
    """What is on its way out, and the outbox; both written in the log's transaction."""

    def delivery(self, reply_id: str) -> Delivery | None:
        """One delivery by its reply."""

    def undelivered(self) -> list[Delivery]:
        """All that are queued or sending, oldest first."""

    def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """The session's lines with n > after, in order."""


# ---- channels ----------------------------------------------------------------------------------


class Incoming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a channel took from its platform, before pseudonyms. Ids are the platform's own."""

    account: str
    conversation: Personal
    sender: Personal
    message_id: str
    text: Personal
    quoted: Personal = ""
    sent_ms: int | None = None
    locale: str = ""
    reply_token: Personal = ""
    reply_token_expires_ms: int | None = None


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A reply's text so far. The greatest (attempt, n) wins; the text may shrink on an attempt."""

    reply_id: str
    session_id: str
    attempt: int
    n: int
    text: Personal


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may know of their session besides its lines."""

    session_id: str
    state: str
    busy: bool  # a request is pending
    person: bool  # a person has taken over
    frames: tuple[Frame, ...] = ()  # the latest of each open reply
    replies: tuple[str, ...] = ()  # the open replies, those without a frame, too


class Gateway(Protocol):
    """What a channel may ask of its host, for its own account. What waits is a coroutine."""

    async def accept(self, incoming: Incoming) -> str:
        """Append the message's event; its session id, once that is durable.

        The same message id again is no error and is not taken twice. Raises Refused (too long,
        empty, …: tell the person) and Unavailable (do not acknowledge: it will be redelivered).
        """

    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        """The person pressed stop. `request_id` makes a repetition recognisable.

        This and `feedback` raise Refused where nobody has written yet, and Unavailable.
        """

    async def feedback(
        self, session_id: str, *, reply_id: str, verdict: str, text: str, request_id: str = ""
    ) -> None:
        """The person judged a reply: verdict `up` or `down`; the last one holds.

        `request_id` makes a repetition recognisable; without one, an equal verdict and text is one.
        """

    def now_ms(self) -> int:
        """The log's time, which `Incoming.sent_ms` is held against. The wall clock may differ."""

    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        """The session that these platform ids lead to. Raises Refused for another account."""

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after, at most `limit`, in order; of no session: none."""

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it; None before its first message."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The platform took a reply. `text` is what it shows in the end."""

    platform_ids: tuple[str, ...] = ()


class Channel(Protocol):
    """One account of one IM platform: takes its messages in, and sends replies out.

    `idempotent`: the platform recognises a repeated reply id, so a send may be repeated.
    `at_once`: `send` never waits for anything, so sends need not go side by side.
    """

    kind: str
    account: str
    idempotent: bool
    at_once: bool

    async def start(self, gateway: Gateway) -> None:
        """Begin to take messages in."""

    async def close(self) -> None:
        """Stop taking messages; return when those in hand are accepted or left unacknowledged."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Deliver a reply whole. Raises Unavailable (it did not arrive, or a repetition of it is
        recognised: retry), Refused (it failed for good) or NoReceipt (it may have arrived, and a
        repetition would be a second one: unknown, which the flow is told).

        A host cancels it after 30 s; where not `idempotent`, the reply is then not sent again.
        """

    def show(self, frame: Frame) -> None:
        """Show an open reply's text so far, if anybody looks. Never blocks, never raises."""

    def follows(self, session_id: str) -> bool:
        """Whether anybody looks at this session just now; `stepped` is not called for others."""

    def stepped(self, view: SessionView) -> None:
        """A session of this account has a new state. Never blocks, never raises."""

    def wrote(self, lines: Sequence[Line]) -> None:
        """These lines of this account's sessions are durable now, numbered. Never blocks."""


# ---- runners -----------------------------------------------------------------------------------


class ModelRunner(Protocol):
    """Performs model calls. A call that fails is an outcome, not an exception.

    Cancelling the task of `run` stops the work: decoding within 100 ms, a request's connection is
    closed.
    """

    async def start(self) -> None:
        """Make ready. Raises Refused where the model can never work (file, memory)."""

    async def close(self) -> None:
        """End all work and every process of its own."""

    def run(
        self, request: ModelRequest, show: Callable[[str], None]
    ) -> Coroutine[None, None, Outcome]:
        """Answer; `show` is given the whole text so far, as often as it grows."""


class SkillRunner(Protocol):
    """Performs skills in processes that can be killed. Cancelling the task of `run` kills them."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def run(self, request: SkillRequest, now_ms: int) -> Coroutine[None, None, Outcome]:
        """Run it, `now_ms` being the log's time; never longer than the request allows."""


class IntentRunner(Protocol):
    """Recognises intents."""

    def run(self, request: IntentRequest) -> Coroutine[None, None, Outcome]: ...


class Clock(Protocol):
    """The only reader of the machine's clocks."""

    def now_ms(self) -> int:
        """Wall clock."""

    def monotonic_ms(self) -> int:
        """Never goes back; its zero means nothing."""
