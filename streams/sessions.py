"""Hop 2, sessions: applies each event of a partition to its session, one step per event.

In: records of `conversation.events`, in order. Out: a `Batch` that the host makes durable whole,
watermark included, before anything in it is performed. Next hops: `streams.runners` (requests),
`streams.egress` (orders), `streams.clock` (deadlines).

It never does I/O of its own: sessions come through `load`, which may block, and go into the batch.
After a batch that did not become durable the host begins with a new one of these.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from engine import codec
from engine.effects import REQUESTS, Cancel, CloseReply, Effect, RunnerRequest, SendMessage
from engine.errors import InvalidRecord, Refused
from engine.events import Address, ClockReached, Event, FlowActivated, MessageReceived, Redriven
from engine.flow import Flow
from engine.ids import derive, is_session_id, reply_id
from engine.limits import EVENT_BYTES_MAX
from engine.ports import DeadLetter, LogRecord, SessionRow, StepRow
from engine.session import Session, Step
from engine.step import new_session, step
from engine.transcript import expand

CACHED_SESSIONS_MAX = 4_096
CACHED_BYTES_MAX = 64 * 1024 * 1024
"""Of encoded sessions kept decoded: a busy session is touched again within a second."""
LETTER_SESSION_MAX = 512
"""Characters of what a record called its session: a key may be as big as a record."""
_FOR_RUNNERS = (*REQUESTS, Cancel)


class Order(NamedTuple):
    """An order on its way to egress, with what egress needs of the session.

    `at_ms`: log time of the step that gave it; 0 where nobody said.
    """

    effect: Effect
    address: Address | None
    at_ms: int = 0
    excuse: bool = False  # of a message that was set aside: no step decided it


class Batch:
    """What a run of records decided. The host makes it durable whole, or forgets it whole."""

    __slots__ = (
        "born",
        "cancels",
        "dead",
        "dispositions",
        "effects",
        "errors",
        "messages",
        "orders",
        "requests",
        "resolved",
        "stepped",
        "steps",
        "unwoken",
        "watermark",
    )

    def __init__(self) -> None:
        self.stepped: dict[str, tuple[Session, bytes]] = {}  # the last of each session
        self.steps: list[StepRow] = []
        self.requests: dict[str, RunnerRequest] = {}  # to be started
        self.cancels: list[str] = []  # requests that nobody awaits any more
        self.resolved: list[str] = []  # requests that an outcome ended
        self.orders: list[Order] = []
        self.messages: list[tuple[int, Event]] = []  # that came for the first time: `_arrived`
        self.dead: list[DeadLetter] = []
        self.unwoken: list[tuple[str, int]] = []  # wake-ups set aside: session, for which time
        self.dispositions: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.errors = 0
        self.born = 0  # sessions that had their first event
        self.watermark = 0

    def rows(self) -> list[SessionRow]:
        """The sessions as they are stored."""
        return [
            SessionRow(key, encoded, bool(session.pending))
            for key, (session, encoded) in self.stepped.items()
        ]


class Sessions:
    """The sessions hop of one partition.

    `load`: a session's last durable bytes. `build`: the flow of an activation; raises Refused where
    this version does not have it. `before_step` is told the event's id before each step, and `""`
    after the last: an event at which the process keeps dying is found by it.
    """

    def __init__(
        self,
        partition: int,
        *,
        load: Callable[[str], bytes | None],
        build: Callable[[FlowActivated], Flow],
        before_step: Callable[[str], None] = lambda event_id: None,
    ) -> None:
        self._partition = partition
        self._load = load
        self._build = build
        self._before_step = before_step
        self._flow: Flow | None = None
        self._control: Event | None = None
        self._cache: OrderedDict[str, tuple[Session, int]] = OrderedDict()
        self._cached_bytes = 0

    @property
    def flow(self) -> Flow | None:
        """The flow that is active for this partition; None before the first activation."""
        return self._flow

    @property
    def control(self) -> Event | None:
        """The control record that made it active."""
        return self._control

    def activate(self, control: Event) -> None:
        """Make a control record's flow the active one. Raises Refused where it cannot be built."""
        assert isinstance(control.body, FlowActivated)
        self._flow = self._build(control.body)
        self._control = control

    def apply(
        self, records: Sequence[LogRecord], *, now_ms: int, deadly: frozenset[str] = frozenset()
    ) -> Batch:
        """Step these records. `deadly`: ids of events at which the process died too often."""
        batch = Batch()
        for record in records:
            event: Event | None = None
            try:
                event = codec.decode_event(record.value)
                if event.id in deadly:
                    raise InvalidRecord("the process died each time it stepped this event")
                _check_place(event, record)
                if record.session_id == "":
                    self.activate(event)
                else:
                    self._step(batch, event, record.offset)
            except InvalidRecord as error:
                batch.dead.append(self._letter(record, error, now_ms))
                # Rows of its session may be written only where the event is of that session.
                if event is not None and event.session_id == record.session_id:
                    self._excuse(batch, event)
                    if isinstance(event.body, ClockReached):
                        batch.unwoken.append((event.session_id, event.body.due_ms))
            batch.watermark = record.offset
        self._before_step("")
        return batch

    def _letter(self, record: LogRecord, error: InvalidRecord, now_ms: int) -> DeadLetter:
        return DeadLetter(
            partition=self._partition,
            offset=record.offset,
            session_id=record.session_id[:LETTER_SESSION_MAX],
            error=str(error),
            # More than an event may have is never one again, and the letter has to fit a record.
            value=record.value[:EVENT_BYTES_MAX],
            at_ms=now_ms,
        )

    def committed(self, batch: Batch) -> None:
        """The batch is durable: its sessions may be read from memory from now on."""
        for key, (session, encoded) in batch.stepped.items():
            _, old = self._cache.pop(key, (None, 0))
            self._cached_bytes += len(encoded) - old
            self._cache[key] = (session, len(encoded))
        while len(self._cache) > CACHED_SESSIONS_MAX or self._cached_bytes > CACHED_BYTES_MAX:
            _, (_, size) = self._cache.popitem(last=False)
            self._cached_bytes -= size

    def _step(self, batch: Batch, event: Event, offset: int) -> None:
        flow, control = self._flow, self._control
        if flow is None or control is None:
            raise InvalidRecord("no flow was activated before this event")
        session = self._session(batch, event.session_id, flow)
        self._before_step(event.id)
        if session.flow != flow.ref:
            session = self._note(batch, step(flow, session, activation(control, session)), 0)
        done = step(flow, session, event)
        if done.record.note != "duplicate":
            _arrived(batch, event)
        self._note(batch, done, offset)
        for effect_id in resolved(event):
            batch.requests.pop(effect_id, None)
            batch.resolved.append(effect_id)

    def _excuse(self, batch: Batch, event: Event) -> None:
        """A message that was set aside ends without a step: its person still gets a word.

        The letter is the place of record for this order: nothing of the session decided it.
        """
        body = event.body
        if self._flow is None or not isinstance(body, MessageReceived | Redriven):
            return
        if not is_session_id(event.session_id):
            return  # nobody to tell
        _arrived(batch, event)
        message = body.message if isinstance(body, Redriven) else body
        effect_id = derive(event.session_id, "set aside", event.id)
        effect = Effect(
            id=effect_id,
            session_id=event.session_id,
            epoch=0,
            cause=event.id,
            body=SendMessage(reply_id=reply_id(effect_id), text=self._flow.apology),
        )
        batch.orders.append(Order(effect, message.address, event.at_ms, excuse=True))

    def _session(self, batch: Batch, session_id: str, flow: Flow) -> Session:
        if session_id in batch.stepped:
            return batch.stepped[session_id][0]
        if session_id in self._cache:
            return self._cache[session_id][0]
        value = self._load(session_id)
        if value is None:
            return new_session(flow, session_id)
        session = codec.decode_session(value)
        if session.id != session_id:
            raise InvalidRecord("the row of the event's session holds another session")
        return session

    def _note(self, batch: Batch, done: Step, offset: int) -> Session:
        session, record = done.session, done.record
        batch.stepped[session.id] = (session, done.encoded)
        row = StepRow(session.id, record.seq, record.event_id, offset, done.encoded_record)
        batch.steps.append(row)
        batch.errors += record.error is not None
        batch.born += record.seq == 1
        for disposition in record.dispositions:
            batch.dispositions[disposition.how] += 1
        for effect in record.effects:
            body = effect.body
            batch.effects[type(body).__name__] += 1
            if isinstance(body, REQUESTS):
                batch.requests[effect.id] = expand(session, effect)
        for effect_id in cancelled(done):
            if batch.requests.pop(effect_id, None) is None:
                batch.cancels.append(effect_id)  # a request of this very batch never leaves it
        batch.orders += ordered(done)
        return session


def _check_place(event: Event, record: LogRecord) -> None:
    """Raises InvalidRecord where an event is of no session, or of another one than its record."""
    if event.session_id != record.session_id:
        raise InvalidRecord("the event is not of the session that its record is of")
    if event.session_id == "":
        if not isinstance(event.body, FlowActivated):
            raise InvalidRecord("the event is of no session, and activates no flow")
    elif not is_session_id(event.session_id):
        raise InvalidRecord("the event's session is none: `channel:account:` and who talks")


def _arrived(batch: Batch, event: Event) -> None:
    """A person's message, and how many of the batch's orders stand before it: for hosts that write
    the person's own line when they step it."""
    if isinstance(event.body, MessageReceived):
        batch.messages.append((len(batch.orders), event))


def cancelled(done: Step) -> list[str]:
    """The requests that nobody awaits any more after a step: whoever works on one should stop."""
    return [e.body.request for e in done.record.effects if isinstance(e.body, Cancel)]


def resolved(event: Event) -> tuple[str, ...]:
    """The request that an event ends, if it ends one: nobody should work on it any more."""
    return () if event.effect is None else (event.effect,)


def ordered(done: Step) -> list[Order]:
    """The orders of a step, for egress to take one after the other."""
    address = done.session.address
    at_ms = done.session.now_ms
    given = (e for e in done.record.effects if not isinstance(e.body, _FOR_RUNNERS))
    orders = [Order(effect, address, at_ms) for effect in given]
    if len(orders) > 1:
        # What ends a reply goes first: nothing new is said below one that still seems open.
        orders.sort(key=lambda order: type(order.effect.body) is not CloseReply)
    return orders


def activation(control: Event, session: Session) -> Event:
    """The activation as this session steps it: derived from both, the same in every replay."""
    return Event(
        id=derive(session.id, "activation", control.id),
        session_id=session.id,
        at_ms=max(session.now_ms, control.at_ms),
        source=control.source,
        body=control.body,
    )


class Due(Protocol):
    """As much of a `Pending` as the clock wants to know."""

    @property
    def due_ms(self) -> int:
        """Log time."""


def first_due(pending: Sequence[Due]) -> int | None:
    """When the first of these is due."""
    if len(pending) == 1:  # nearly always
        return pending[0].due_ms
    return min((one.due_ms for one in pending), default=None)


def activated(flow: Flow, config: bytes, *, at_ms: int) -> Event:
    """The control record that makes a flow the active one.

    Raises Refused where the configuration is too long for a record: nobody could read it again.
    """
    body = FlowActivated(flow=flow.ref, config=msgspec.Raw(config))
    ref = flow.ref
    event = Event(
        id=derive("", "control", ref.name, ref.version, ref.digest, at_ms),
        session_id="",
        at_ms=at_ms,
        source="host",
        body=body,
    )
    if (size := len(codec.encode(event))) > EVENT_BYTES_MAX:
        raise Refused(
            f"the flow's configuration makes a control record of {size} bytes, and an event has at "
            f"most {EVENT_BYTES_MAX}: shorten its longest text, mostly flow.system_prompt"
        )
    return event
