"""The hops of one partition, wired: what comes in becomes one batch, durable whole or not at all.

`decide` runs the hops in memory; `commit` makes what they decided durable (it may run in another
thread, and touches nothing but the log); then `confirm`, or `recover` where the commit failed,
which is a small restart. Used by the host's event loop; it knows no event loop itself.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from engine import codec
from engine.effects import RunnerRequest, SendMessage
from engine.errors import Conflict, InvalidRecord, Refused
from engine.events import ClockReached, FlowActivated, FlowRef
from engine.flow import Flow
from engine.ids import outcome_event_id
from engine.limits import DEATHS_MAX
from engine.ports import (
    Append,
    DeadLetter,
    Delivery,
    Line,
    LogRecord,
    Owner,
)
from engine.session import Session
from streams.clock import Deadlines
from streams.egress import Called as Called
from streams.egress import Egress
from streams.embedded.looking_back import pending_requests
from streams.embedded.store import Store
from streams.handed_over import in_a_persons_hands
from streams.ingress import Taken
from streams.sessions import Batch, Order, Sessions, activated, first_due

PARTITION = 0
MARKS_MAX = 1_024
WOKEN_MAX = 256
"""Sessions woken in one batch: after an outage they come in turn, not all at once."""
READ_MAX = 512


class Recovered(NamedTuple):
    """What a restart found: to be performed, in a person's hands, and the flow of before."""

    requests: list[RunnerRequest]
    handed_over: list[Session]
    replaced: FlowRef | None


class _Pending(msgspec.Struct):
    kind: str
    due_ms: int


class _Glance(msgspec.Struct):
    """As much of a session as a restart has to look at in each of them."""

    state: str
    pending: tuple[_Pending, ...]


_glance = msgspec.json.Decoder(_Glance).decode


class Decided:
    """One batch: what is to become durable, and what is to be done after that."""

    __slots__ = (
        "appends",
        "at_ms",
        "batch",
        "deaths",
        "deliveries",
        "first_offset",
        "letters",
        "lines",
        "marked",
        "numbers",
    )

    def __init__(self, at_ms: int, first_offset: int) -> None:
        self.at_ms = at_ms
        self.first_offset = first_offset
        self.appends: list[Append] = []
        self.batch = Batch()
        self.lines: list[Line] = []
        self.numbers: list[int] = []  # of the lines, once committed
        self.deliveries: dict[str, Delivery] = {}
        self.marked: list[Delivery] = []
        self.letters: list[DeadLetter] = []
        self.deaths: tuple[str, int] | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing to make durable."""
        return not (self.appends or self.deliveries or self.lines or self.batch.watermark)

    @property
    def requests(self) -> list[RunnerRequest]:
        """To be started once this is durable."""
        return list(self.batch.requests.values())


class Pipeline:
    """The sans-I/O middle of the embedded host. One owner, one partition.

    `outbox`: the channels whose lines this log keeps (web chat, terminal). `stepping`: told each
    event's id before its step.
    """

    def __init__(
        self,
        store: Store,
        *,
        egress: Egress,
        build: Callable[[FlowActivated], Flow],
        outbox: frozenset[str],
        stepping: Callable[[str], None],
    ) -> None:
        self.store = store
        self._build = build
        self._outbox = outbox
        self._stepping = stepping
        self._owner: Owner = store.claim(PARTITION)
        self._offset = 0
        self.deadly: dict[str, int] = {}
        self.sessions = self._new_sessions()
        self.egress = egress
        self.deadlines = Deadlines()
        self.last_flow: FlowRef | None = None

    @property
    def attempt(self) -> int:
        """Greater than that of any earlier process over this log."""
        return self._owner.token

    # ---- start -----------------------------------------------------------------------------

    def recover(
        self,
        flow: Flow,
        config: bytes,
        *,
        now_ms: int,
        standing: str = "",
        in_hand: frozenset[str] = frozenset(),
    ) -> Recovered:
        """Take over what is durable, and make `flow` the active one if it is not.

        `standing`: the event at which the last process died. Used at the start, and whenever a
        commit failed; then `in_hand` are the replies whose channel was called and has answered, or
        will. Raises Unavailable where the log cannot be written, Refused where it needs a flow
        that is not here.
        """
        self.sessions = self._new_sessions()
        self.deadlines = Deadlines()
        self.deadly = {event_id: deaths for _, event_id, deaths in self.store.deaths()}
        self._offset = self.store.head(PARTITION)
        # In this order: a death counts even if the next step dies too, egress knows what is on its
        # way before new orders come, what is in the log is stepped by the flow that was active for
        # it, and events of our own find a flow.
        if standing:
            self._count_death(standing, now_ms)
        undelivered = self.store.undelivered()
        changed, events = self.egress.recover(undelivered, now_ms=now_ms, in_hand=in_hand)
        self._activate_last()
        self._catch_up(now_ms)
        replaced = self._activate(flow, config, now_ms)
        self._append(events, {d.reply_id: d for d in changed}, now_ms=now_ms)
        # Last: what these steps ask for, cancel or hand over is a part of it.
        requests, handed_over = self._waiting(flow)
        return Recovered(requests=requests, handed_over=handed_over, replaced=replaced)

    def roll_back(
        self,
        flow: Flow,
        config: bytes,
        *,
        taken: Sequence[Taken],
        called: Sequence[Called],
        in_hand: frozenset[str],
        now_ms: int,
    ) -> list[RunnerRequest]:
        """A commit failed: begin anew with what is durable; the requests to be performed.

        `taken`, `called`: what still waits to be decided, after this. `in_hand`: replies whose call
        has begun and not ended. Raises as `recover`, and may be tried again.
        """
        known = in_hand | {call.reply_id for call in called}
        found = self.recover(flow, config, now_ms=now_ms, in_hand=known)
        # What a runner has done already waits to be appended: it is not done a second time.
        done = {item.append.event_id for item in taken}
        return [r for r in found.requests if outcome_event_id(r.effect_id) not in done]

    def _count_death(self, event_id: str, now_ms: int) -> None:
        deaths = self.deadly.get(event_id, 0) + 1
        self.deadly[event_id] = deaths
        decided = self._decided(now_ms)
        decided.deaths = (event_id, deaths)
        self.commit(decided)

    def _activate(self, flow: Flow, config: bytes, now_ms: int) -> FlowRef | None:
        """The ref that `flow` replaces, if it was not active already."""
        current = self.sessions.flow
        if current is not None and current.ref == flow.ref:
            return None
        replaced = self.last_flow
        control = activated(flow, config, at_ms=now_ms)
        self._append([Append("", control.id, codec.encode(control))], {}, now_ms=now_ms)
        self.last_flow = flow.ref
        return replaced

    def _append(
        self, appends: list[Append], deliveries: dict[str, Delivery], *, now_ms: int
    ) -> None:
        """A batch of our own: nobody waits for it, and nothing of it is performed."""
        decided = self._decided(now_ms)
        decided.appends = appends
        decided.deliveries = deliveries
        self._apply_to(decided)
        if not decided.is_empty:
            self.commit(decided)
            self.confirm(decided)

    def _waiting(self, flow: Flow) -> tuple[list[RunnerRequest], list[Session]]:
        """Requests that are still to be performed, and the sessions in a person's hands.

        One pass over all that has something pending; only what is one of both is decoded whole.
        """
        requests: list[RunnerRequest] = []
        handed_over: list[Session] = []
        for row in self.store.waiting():
            try:
                glance = _glance(row.value.partition(b"\n")[0])
                self.deadlines.put(row.session_id, first_due(glance.pending))
                awaits = any(pending.kind != "timer" for pending in glance.pending)
                person = in_a_persons_hands(flow, glance.state)
                if not (awaits or person):
                    continue
                session = codec.decode_session(row.value)
                if awaits:
                    requests += pending_requests(self.store, session)
            except (InvalidRecord, msgspec.DecodeError):
                continue  # its next event is a dead letter, which says so
            if person:
                handed_over.append(session)
        self._put_off()
        return requests, handed_over

    def _put_off(self) -> None:
        """Sessions whose wake-ups were set aside: they are woken when they would have been."""
        for letter in self.store.dead_letters():
            try:
                body = codec.decode_event(letter.value).body
            except InvalidRecord:
                continue
            if isinstance(body, ClockReached):
                self.deadlines.set_aside(letter.session_id, body.due_ms, at_ms=letter.at_ms)

    # ---- one batch -------------------------------------------------------------------------

    def decide(self, taken: Sequence[Taken], called: Sequence[Called], *, now_ms: int) -> Decided:
        """Run the hops over what came in, and over what time brought."""
        decided = self._decided(now_ms)
        decided.appends = [item.append for item in taken]
        decided.lines = [item.line for item in taken if item.line is not None]
        decided.letters = [item.letter for item in taken if item.letter is not None]
        for call in called:
            self._receipt(decided, call)
        decided.appends += self.deadlines.reached(now_ms, limit=WOKEN_MAX)
        self._apply_to(decided)
        # Only here: whoever calls `decide` performs it, and a mark that nobody calls on is lost.
        decided.marked = self.egress.mark(now_ms, limit=MARKS_MAX)
        for delivery in decided.marked:
            decided.deliveries[delivery.reply_id] = delivery
        return decided

    def commit(self, decided: Decided) -> None:
        """Make it durable in one transaction. Raises Unavailable (nothing of it is) or Conflict."""
        batch, at_ms = decided.batch, decided.at_ms
        with self.store.transaction(self._owner) as tx:
            if decided.appends:
                offsets = tx.append(decided.appends, at_ms=at_ms)
                if offsets[0] != decided.first_offset:
                    raise Conflict("another process appends to this log")
            tx.put_sessions(batch.rows())
            tx.put_steps(batch.steps, at_ms=at_ms)
            tx.put_deliveries(list(decided.deliveries.values()))
            decided.numbers = tx.put_lines(decided.lines)
            tx.put_dead_letters([*batch.dead, *decided.letters])
            if batch.watermark:
                tx.put_watermark(batch.watermark)
            if decided.deaths is not None:
                event_id, deaths = decided.deaths
                tx.put_deaths(decided.first_offset, event_id, deaths=deaths)

    def confirm(self, decided: Decided) -> None:
        """It is durable: memory may rely on it."""
        self.sessions.committed(decided.batch)
        self.egress.confirm()
        self._offset += len(decided.appends)
        for session, _ in decided.batch.stepped.values():
            self.deadlines.put(session.id, first_due(session.pending))
        for session_id, due_ms in decided.batch.unwoken:
            self.deadlines.set_aside(session_id, due_ms, at_ms=decided.at_ms)

    # ---- inside ----------------------------------------------------------------------------

    def _new_sessions(self) -> Sessions:
        return Sessions(
            PARTITION, load=self.store.get, build=self._build, before_step=self._stepping
        )

    def _decided(self, now_ms: int) -> Decided:
        return Decided(now_ms, self._offset + 1)

    def _apply_to(self, decided: Decided) -> None:
        """Step what is appended, and let egress have the orders."""
        now_ms = decided.at_ms
        records = [
            LogRecord(decided.first_offset + i, a.session_id, a.value, now_ms)
            for i, a in enumerate(decided.appends)
        ]
        self._step(decided, records)

    def _step(self, decided: Decided, records: Sequence[LogRecord]) -> None:
        deadly = frozenset(key for key, n in self.deadly.items() if n >= DEATHS_MAX)
        batch = self.sessions.apply(records, now_ms=decided.at_ms, deadly=deadly)
        decided.batch = batch
        for order in batch.orders:
            if order.excuse and self._excused(decided, order):
                continue
            for delivery in self.egress.order(order, now_ms=decided.at_ms):
                decided.deliveries[delivery.reply_id] = delivery

    def _excused(self, decided: Decided, order: Order) -> bool:
        """Whether this message was set aside before: a redelivery of it gets no second word."""
        body = order.effect.body
        assert isinstance(body, SendMessage)
        reply_id = body.reply_id
        return reply_id in decided.deliveries or self.store.delivery(reply_id) is not None

    def _receipt(self, decided: Decided, call: Called) -> None:
        ended = self.egress.came(call, now_ms=decided.at_ms)
        if ended is None:
            return
        delivery, event = ended
        decided.deliveries[delivery.reply_id] = delivery
        if event is not None:
            decided.appends.append(event)
        if delivery.state == "sent" and delivery.address.channel in self._outbox:
            decided.lines.append(line_of(delivery, at_ms=decided.at_ms))

    def _activate_last(self) -> None:
        control = self.store.last_control(up_to=self.store.watermark(PARTITION))
        if control is None:
            return
        event = codec.decode_event(control.value)
        assert isinstance(event.body, FlowActivated)
        self.last_flow = event.body.flow
        try:
            self.sessions.activate(event)
        except Refused:
            # The version that ran last is not in this program: sessions go over to the one that
            # is activated next, from what they have stored.
            self._require_applied(self.last_flow)

    def _require_applied(self, ref: FlowRef) -> None:
        """Events that the missing version was to step cannot be stepped by another."""
        missing = self.store.head(PARTITION) - self.store.watermark(PARTITION)
        if missing:
            raise Refused(
                f"{missing} events of the log are not applied yet, and flow {ref}, which was "
                "active for them, is not in this version: run the version that has it once"
            )

    def _catch_up(self, now_ms: int) -> None:
        """Step what is in the log beyond the watermark: a log that was copied or restored."""
        while True:
            after = self.store.watermark(PARTITION)
            records = self.store.read(PARTITION, after=after, limit=READ_MAX)
            if not records:
                return
            decided = Decided(now_ms, self._offset + 1)
            self._step(decided, records)
            self.commit(decided)
            self.confirm(decided)


def line_of(delivery: Delivery, *, at_ms: int) -> Line:
    """A sent reply as its person reads it."""
    return Line(
        session_id=delivery.session_id,
        id=delivery.reply_id,
        author=delivery.author,
        text=delivery.text or "",
        at_ms=at_ms,
        how=delivery.how,
    )


def numbered(decided: Decided) -> list[Line]:
    """The lines of a committed batch with the numbers they got."""
    return [replace(line, n=n) for line, n in zip(decided.lines, decided.numbers, strict=True)]
