"""Hop 4, egress: each reply goes to its platform once, in order, under its account's limits.

In: orders of committed steps, frames, and what a channel's call came to. Out: `Delivery` records to
make durable, the calls to make after that, and `ReplyUndelivered` events. A delivery goes
`queued → sending → sent | unknown | failed`; the mark `sending` is durable before the call.

Only the session opens and closes replies: a frame of a closed reply is dropped here. It never calls
a platform and reads no clock or chance: `now_ms` and `jitter` are given.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec.structs import replace

from engine import codec
from engine.effects import CloseReply, SendMessage, Withdraw
from engine.events import Event, ReplyUndelivered
from engine.ids import derive
from engine.limits import MARK_TO_CALL_MAX_MS
from engine.ports import Append, Delivery, Frame, Receipt
from streams.ingress import cleaned
from streams.limiter import Limiter
from streams.sessions import Order

ATTEMPTS_MAX = 8
RETRY_MS_MAX = 30_000
"""Full jitter over 0.25 s × 2^attempt, at most this: eight tries take at most two minutes."""
ERROR_CHARS_MAX = 500
CLOSED_KEPT_MAX = 10_000
"""Reply ids remembered as closed, so that a late frame of one of them is dropped."""


class Account(NamedTuple):
    """What egress has to know of one channel account. `limiter` None: no limit."""

    idempotent: bool
    limiter: Limiter | None = None


class Egress:
    """The egress hop. `jitter` gives numbers in [0, 1)."""

    def __init__(self, accounts: dict[tuple[str, str], Account], *, jitter: Callable[[], float]):
        self._accounts = accounts
        self._jitter = jitter
        # In order within each session; a session's next reply waits until the one before is done.
        self._queues: dict[str, deque[Delivery]] = {}
        self._ready: dict[str, int] = {}  # session -> not before
        self._sending: dict[str, Delivery] = {}
        self._frames: dict[str, Frame] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()

    # ---- from the sessions hop --------------------------------------------------------------

    def order(self, order: Order, *, now_ms: int) -> list[Delivery]:
        """Take an order of a step; the deliveries it makes or ends."""
        body = order.effect.body
        if isinstance(body, Withdraw):
            return self._withdraw(order, body, now_ms)
        if isinstance(body, SendMessage | CloseReply) and order.address is not None:
            return [self._queue(order, body, now_ms)]
        return []

    def _queue(self, order: Order, body: SendMessage | CloseReply, now_ms: int) -> Delivery:
        effect, address = order.effect, order.address
        assert address is not None
        ends = isinstance(body, CloseReply)
        text = body.text
        if isinstance(body, CloseReply):
            frame = self._frames.pop(body.reply_id, None)
            self._remember_closed(body.reply_id)
            if text is None and frame is not None:
                text = frame.text
        delivery = Delivery(
            reply_id=body.reply_id,
            session_id=effect.session_id,
            cause=effect.cause,
            kind="reply" if ends else "message",
            address=address,
            # Nothing was ever shown, and nothing is to be: the receipt says so.
            state="closed" if text is None else "queued",
            text=text,
            how=body.how if isinstance(body, CloseReply) else "answered",
            author="bot" if isinstance(body, CloseReply) else body.author,
            queued_ms=now_ms,
            receipted_ms=now_ms if text is None else None,
        )
        if text is not None:
            self._enqueue(delivery, now_ms)
        return delivery

    def _withdraw(self, order: Order, body: Withdraw, now_ms: int) -> list[Delivery]:
        session_id, cause = order.effect.session_id, order.effect.cause
        queue = self._queues.get(session_id, deque())
        gone = [
            delivery
            for delivery in queue
            if delivery.state == "queued"
            and (
                delivery.cause != cause
                if body.reply_id is None
                else delivery.reply_id == body.reply_id
            )
        ]
        first = queue[0] if queue else None
        for delivery in gone:
            queue.remove(delivery)
        if not queue:
            self._queues.pop(session_id, None)
            self._ready.pop(session_id, None)
        elif queue[0] is not first:
            # The pause before another try was the withdrawn reply's, not the next one's.
            self._ready[session_id] = now_ms
        return [replace(d, state="withdrawn", receipted_ms=now_ms) for d in gone]

    # ---- to the platform --------------------------------------------------------------------

    def mark(self, now_ms: int, *, limit: int) -> list[Delivery]:
        """Mark what may go now as `sending`: make these durable, then call the channel."""
        marked: list[Delivery] = []
        for session_id in list(self._ready):
            if len(marked) >= limit:
                break
            delivery = self._queues[session_id][0]
            if self._ready[session_id] > now_ms:
                continue
            account = self._account(delivery)
            if account.limiter is not None:
                if account.limiter.wait_ms(now_ms) > 0:
                    continue
                account.limiter.take(now_ms)
            del self._ready[session_id]
            sending = replace(
                delivery, state="sending", sending_ms=now_ms, attempt=delivery.attempt + 1
            )
            self._queues[session_id][0] = sending
            self._sending[sending.reply_id] = sending
            marked.append(sending)
        return marked

    def next_ms(self, now_ms: int) -> int | None:
        """When `mark` may have something again; None while nothing waits."""
        soonest: int | None = None
        for session_id, not_before_ms in self._ready.items():
            account = self._account(self._queues[session_id][0])
            wait = account.limiter.wait_ms(now_ms) if account.limiter is not None else 0
            at_ms = max(not_before_ms, now_ms + wait)
            soonest = at_ms if soonest is None else min(soonest, at_ms)
        return soonest

    def is_stale(self, delivery: Delivery, now_ms: int) -> bool:
        """A mark too old to call on: somebody else may have taken the account since."""
        return now_ms - (delivery.sending_ms or 0) > MARK_TO_CALL_MAX_MS

    def sent(self, reply_id: str, receipt: Receipt, *, now_ms: int) -> Delivery | None:
        """The platform took it: the receipt to make durable."""
        delivery = self._done(reply_id, now_ms)
        if delivery is None:
            return None
        ids = receipt.platform_ids
        return replace(delivery, state="sent", receipted_ms=now_ms, platform_ids=ids)

    def refused(
        self, reply_id: str, error: str, *, now_ms: int
    ) -> tuple[Delivery, Append | None] | None:
        """The platform will never take it."""
        delivery = self._done(reply_id, now_ms)
        if delivery is None:
            return None
        ended = replace(delivery, state="failed", receipted_ms=now_ms, error=_short(error))
        return ended, undelivered(ended, now_ms=now_ms)

    def unavailable(
        self, reply_id: str, error: str, *, now_ms: int, retry_after_ms: int = 0
    ) -> tuple[Delivery, Append | None] | None:
        """It did not arrive: tried again later, until the attempts are used up."""
        delivery = self._sending.get(reply_id)
        if delivery is None:
            return None
        if delivery.attempt >= ATTEMPTS_MAX:
            return self.refused(reply_id, error, now_ms=now_ms)
        del self._sending[reply_id]
        waits = int(self._jitter() * min(RETRY_MS_MAX, 250 << delivery.attempt))
        queued = replace(delivery, state="queued", error=_short(error))
        self._queues[delivery.session_id][0] = queued
        self._ready[delivery.session_id] = now_ms + max(waits, retry_after_ms)
        return queued, None

    # ---- frames -----------------------------------------------------------------------------

    def show(self, frame: Frame) -> bool:
        """Whether the frame is to be shown: its reply is open, and it is the newest of it."""
        if frame.reply_id in self._closed:
            return False
        last = self._frames.get(frame.reply_id)
        if last is not None and (last.attempt, last.n) >= (frame.attempt, frame.n):
            return False
        self._frames[frame.reply_id] = frame
        return True

    def frames(self, session_id: str) -> tuple[Frame, ...]:
        """The latest frame of each open reply of a session."""
        return tuple(f for f in self._frames.values() if f.session_id == session_id)

    # ---- after a restart --------------------------------------------------------------------

    def recover(
        self,
        deliveries: Iterable[Delivery],
        *,
        now_ms: int,
        in_hand: frozenset[str] = frozenset(),
    ) -> tuple[list[Delivery], list[Append]]:
        """Take over what was on its way: what changed, and the events about what is unknown.

        A mark without a receipt is sent again only where the platform recognises a repetition.
        `in_hand`: replies that this very process has called for, and of which it will hear.
        """
        changed: list[Delivery] = []
        events: list[Append] = []
        for delivery in deliveries:
            if delivery.kind == "reply":
                self._remember_closed(delivery.reply_id)
            if delivery.state == "sending" and delivery.reply_id in in_hand:
                self._enqueue(delivery, now_ms)
                self._ready.pop(delivery.session_id, None)  # a mark is the first of its queue
                self._sending[delivery.reply_id] = delivery
            elif delivery.state == "sending" and not self._account(delivery).idempotent:
                unknown = replace(delivery, state="unknown", receipted_ms=now_ms)
                changed.append(unknown)
                events.append(undelivered(unknown, now_ms=now_ms))
            else:
                self._enqueue(replace(delivery, state="queued"), now_ms)
        return changed, events

    @property
    def waiting(self) -> int:
        """Deliveries without a receipt."""
        return sum(len(queue) for queue in self._queues.values())

    # ---- inside -----------------------------------------------------------------------------

    def _account(self, delivery: Delivery) -> Account:
        address = delivery.address
        return self._accounts.get((address.channel, address.account), Account(idempotent=False))

    def _enqueue(self, delivery: Delivery, now_ms: int) -> None:
        queue = self._queues.setdefault(delivery.session_id, deque())
        queue.append(delivery)
        if len(queue) == 1:
            self._ready[delivery.session_id] = now_ms

    def _done(self, reply_id: str, now_ms: int) -> Delivery | None:
        delivery = self._sending.pop(reply_id, None)
        if delivery is None:
            return None
        queue = self._queues[delivery.session_id]
        queue.popleft()
        if queue:
            self._ready[delivery.session_id] = now_ms
        else:
            del self._queues[delivery.session_id]
        return delivery

    def _remember_closed(self, reply_id: str) -> None:
        self._closed[reply_id] = None
        if len(self._closed) > CLOSED_KEPT_MAX:
            self._closed.popitem(last=False)


def _short(error: str) -> str:
    """What a platform said, as it may stand in a record."""
    return cleaned(error)[:ERROR_CHARS_MAX]


def undelivered(delivery: Delivery, *, now_ms: int) -> Append:
    """The event that tells the session that a reply did not arrive, or may not have."""
    body = ReplyUndelivered(
        reply_id=delivery.reply_id,
        state="unknown" if delivery.state == "unknown" else "failed",
        detail=delivery.error,
    )
    event = Event(
        id=derive(delivery.session_id, "undelivered", delivery.reply_id, delivery.state),
        session_id=delivery.session_id,
        at_ms=now_ms,
        source="egress",
        body=body,
    )
    return Append(event.session_id, event.id, codec.encode(event))
