"""Hop 4, egress: each reply goes to its platform once, in order, under its account's limits.

In: orders of committed steps, and what a channel's call came to. Out: `Delivery` records to make
durable, the calls to make after that, and `ReplyUndelivered` events. A delivery goes
`queued → sending → sent | unknown | failed | withdrawn`; the mark `sending` is durable before the
call. A mark without a receipt is repeated only where the platform recognises a repetition.

The queues here are rebuilt from what is durable whenever a commit failed; what the world has seen
survives that: `streams.open_replies` (what was shown) and the limiters (what was called). It never
calls a platform and reads no clock or chance: `now_ms` and `jitter` are given.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from engine import codec
from engine.effects import CloseReply, SendMessage, Withdraw
from engine.errors import NoReceipt, Refused, Unavailable
from engine.events import Event, ReplyUndelivered
from engine.ids import derive
from engine.limits import MARK_TO_CALL_MAX_MS
from engine.ports import Append, Delivery, Receipt
from streams.departures import Departures
from streams.ingress import cleaned
from streams.limiter import Limiter
from streams.open_replies import OpenReplies
from streams.sessions import Order

MAY_HAVE_ARRIVED = "no receipt of an earlier try: it may have arrived"
TOO_OLD = "ordered too long ago: it was not sent"
ATTEMPTS_MAX = 8
RETRY_MS_MAX = 30_000
"""Full jitter over 0.25 s × 2^attempt, at most this: eight tries take at most two minutes."""
ERROR_CHARS_MAX = 500


class Account(NamedTuple):
    """What egress has to know of one channel account. `limiter` None: no limit."""

    idempotent: bool
    limiter: Limiter | None = None


class Called(NamedTuple):
    """What a channel's call came to; None: egress did not let it be made."""

    reply_id: str
    outcome: Receipt | Refused | Unavailable | None


UNKNOWN_ACCOUNT = Account(idempotent=False)
"""Of a delivery whose account is not configured any more."""


class Egress:
    """The egress hop, by (channel, account). `jitter` gives numbers in [0, 1).

    `delivery`: of the deliveries port; a frame of a reply that has one is late. `kept_ms`: what was
    ordered before that is not sent: who steps a restored log gives the orders of years again.
    """

    def __init__(
        self,
        accounts: Mapping[tuple[str, str], Account],
        *,
        delivery: Callable[[str], Delivery | None],
        jitter: Callable[[], float],
        kept_ms: int | None = None,
    ) -> None:
        self.open_replies = OpenReplies(lambda reply_id: delivery(reply_id) is not None)
        self._accounts = accounts
        self._jitter = jitter
        self._kept_ms = kept_ms
        self._forget()

    def _forget(self) -> None:
        # In order within each session; a session's next reply waits until the one before is done.
        self._queues: dict[str, deque[Delivery]] = {}
        self._sending: dict[str, Delivery] = {}
        self._departures: dict[tuple[str, str], Departures] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Deliveries without a receipt."""
        return self._waiting

    # ---- from the sessions hop --------------------------------------------------------------

    def order(self, order: Order, *, now_ms: int) -> list[Delivery]:
        """Take an order of a step; the deliveries it makes, changes or ends."""
        body = order.effect.body
        if isinstance(body, Withdraw):
            return self._withdraw(order, body, now_ms)
        if isinstance(body, SendMessage | CloseReply) and order.address is not None:
            return [self._queue(order, body, now_ms)]
        return []

    def confirm(self) -> None:
        """What the orders since the last call decided is durable."""
        self.open_replies.confirm()

    def _queue(self, order: Order, body: SendMessage | CloseReply, now_ms: int) -> Delivery:
        text = body.text
        if isinstance(body, CloseReply):
            shown = self.open_replies.close(order.effect.session_id, body.reply_id)
            text = shown if text is None else text
        delivery = _delivery(order, body, text=text, now_ms=now_ms)
        if text is None:
            # Nothing was ever shown, and nothing is to be: the receipt says so.
            return replace(delivery, state="closed", receipted_ms=now_ms)
        if self._kept_ms is not None and 0 < order.at_ms < now_ms - self._kept_ms:
            # Nor is its session told: it went on long ago.
            return replace(delivery, state="failed", receipted_ms=now_ms, error=TOO_OLD)
        self._enqueue(delivery, now_ms)
        return delivery

    def _withdraw(self, order: Order, body: Withdraw, now_ms: int) -> list[Delivery]:
        session_id, cause = order.effect.session_id, order.effect.cause
        queue = self._queues.get(session_id)
        if queue is None:
            return []
        kept: deque[Delivery] = deque()
        changed: list[Delivery] = []
        for delivery in queue:
            if body.reply_id is None:
                is_meant = delivery.cause != cause
            else:
                is_meant = delivery.reply_id == body.reply_id
            if not is_meant:
                kept.append(delivery)
            elif delivery.state == "queued":
                changed.append(replace(delivery, state="withdrawn", receipted_ms=now_ms))
            else:
                # It may be on its way. If it turns out not to have arrived, it is not sent again.
                asked_back = replace(delivery, withdrawn_ms=delivery.withdrawn_ms or now_ms)
                self._sending[delivery.reply_id] = asked_back
                kept.append(asked_back)
                changed.append(asked_back)
        self._waiting += len(kept) - len(queue)
        first, self._queues[session_id] = queue[0], kept
        if not kept or kept[0].reply_id != first.reply_id:
            # The pause before another try was the withdrawn reply's, not the next one's.
            self._departures_of(first).drop(session_id)
            self._next_departs(session_id, now_ms)
        return changed

    # ---- to the platform --------------------------------------------------------------------

    def mark(self, now_ms: int, *, limit: int) -> list[Delivery]:
        """Mark what may go now as `sending`: make these durable, then call the channel."""
        marked: list[Delivery] = []
        for departures in self._departures.values():
            while len(marked) < limit and (delivery := departures.take(now_ms)) is not None:
                sending = replace(
                    delivery, state="sending", sending_ms=now_ms, attempt=delivery.attempt + 1
                )
                self._queues[sending.session_id][0] = sending
                self._sending[sending.reply_id] = sending
                marked.append(sending)
        return marked

    def next_ms(self, now_ms: int) -> int | None:
        """When `mark` may have something again; None while nothing waits."""
        times = (departures.next_ms(now_ms) for departures in self._departures.values())
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    def called(self, reply_id: str, now_ms: int) -> bool:
        """Whether the channel is to be called now; then it must be, and `sent`, … says how it went.

        Not where the reply was withdrawn since, nor where the mark is so old that somebody else may
        have taken the account over and found the reply unknown, or counts its calls under the
        account's limit: then `uncalled` ends the mark.
        """
        delivery = self._sending.get(reply_id)
        if delivery is None or delivery.withdrawn_ms is not None:
            return False
        account = self._account(delivery)
        is_stale = now_ms - (delivery.sending_ms or 0) > MARK_TO_CALL_MAX_MS
        if is_stale and (not account.idempotent or account.limiter is not None):
            return False
        if account.limiter is not None:
            account.limiter.called(reply_id, now_ms)
        return True

    def came(self, call: Called, *, now_ms: int) -> tuple[Delivery, Append | None] | None:
        """What a call came to: the delivery to make durable, and the event that tells of it."""
        delivery: Delivery | None
        reply_id, outcome = call
        match outcome:
            case Receipt():
                delivery = self.sent(reply_id, outcome, now_ms=now_ms)
            case None:
                delivery = self.uncalled(reply_id, now_ms=now_ms)
            case NoReceipt():
                return self.unknown(reply_id, str(outcome), now_ms=now_ms)
            case Unavailable():
                pause_ms = outcome.retry_after_ms
                return self.unavailable(
                    reply_id, str(outcome), now_ms=now_ms, retry_after_ms=pause_ms
                )
            case Refused():
                return self.refused(reply_id, str(outcome), now_ms=now_ms)
        return None if delivery is None else (delivery, None)

    def uncalled(self, reply_id: str, *, now_ms: int) -> Delivery | None:
        """Its call was not made: it is marked anew, and that was no attempt."""
        delivery = self._sending.get(reply_id)
        if delivery is None:
            return None
        if delivery.withdrawn_ms is not None:
            return self._withdrawn(reply_id, now_ms)
        queued = replace(delivery, state="queued", sending_ms=None, attempt=delivery.attempt - 1)
        return self._again(queued, not_before_ms=now_ms)

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

    def unknown(self, reply_id: str, error: str, *, now_ms: int) -> tuple[Delivery, Append] | None:
        """Nobody knows whether the platform took it, so it is not sent again: the flow is told."""
        delivery = self._done(reply_id, now_ms)
        if delivery is None:
            return None
        ended = replace(delivery, state="unknown", receipted_ms=now_ms, error=_short(error))
        return ended, undelivered(ended, now_ms=now_ms)

    def unavailable(
        self, reply_id: str, error: str, *, now_ms: int, retry_after_ms: int = 0
    ) -> tuple[Delivery, Append | None] | None:
        """It did not arrive: tried again later, until the attempts are used up."""
        delivery = self._sending.get(reply_id)
        if delivery is None:
            return None
        if delivery.withdrawn_ms is not None:
            withdrawn = self._withdrawn(reply_id, now_ms, error=_short(error))
            return None if withdrawn is None else (withdrawn, None)
        if delivery.attempt >= ATTEMPTS_MAX:
            return self.refused(reply_id, error, now_ms=now_ms)
        pause_ms = max(self._pause_ms(delivery.attempt), retry_after_ms)
        queued = replace(delivery, state="queued", error=_short(error))
        return self._again(queued, not_before_ms=now_ms + pause_ms), None

    # ---- after a restart --------------------------------------------------------------------

    def recover(
        self,
        deliveries: Iterable[Delivery],
        *,
        now_ms: int,
        in_hand: frozenset[str] = frozenset(),
    ) -> tuple[list[Delivery], list[Append]]:
        """Begin anew with what was on its way: what changed, and the events about what is unknown.

        A mark without a receipt is sent again only where the platform recognises a repetition.
        `in_hand`: replies that this very process has called for, and of which it will hear.
        """
        self._forget()
        self.open_replies.roll_back()
        for account in self._accounts.values():
            if account.limiter is not None:
                account.limiter.keep(in_hand)
        changed: list[Delivery] = []
        events: list[Append] = []
        for delivery in deliveries:
            repeatable = self._account(delivery).idempotent and delivery.withdrawn_ms is None
            if delivery.kind == "reply":
                self.open_replies.close(delivery.session_id, delivery.reply_id)
            if delivery.state == "queued":
                # Tried before, it waits again: else all would come at once to a channel in need.
                pause_ms = self._pause_ms(delivery.attempt) if delivery.attempt else 0
                self._enqueue(delivery, now_ms + pause_ms)
            elif delivery.reply_id in in_hand:
                self._sending[delivery.reply_id] = delivery
                self._enqueue(delivery, now_ms)
            elif repeatable:
                # Should it be withdrawn before it is sent again, its record still says this.
                self._enqueue(replace(delivery, state="queued", error=MAY_HAVE_ARRIVED), now_ms)
            else:
                unknown = replace(delivery, state="unknown", receipted_ms=now_ms)
                changed.append(unknown)
                events.append(undelivered(unknown, now_ms=now_ms))
        self.open_replies.confirm()
        return changed, events

    # ---- inside -----------------------------------------------------------------------------

    def _account(self, delivery: Delivery) -> Account:
        address = delivery.address
        return self._accounts.get((address.channel, address.account), UNKNOWN_ACCOUNT)

    def _departures_of(self, delivery: Delivery) -> Departures:
        key = (delivery.address.channel, delivery.address.account)
        found = self._departures.get(key)
        if found is None:
            found = self._departures[key] = Departures(self._account(delivery).limiter)
        return found

    def _enqueue(self, delivery: Delivery, not_before_ms: int) -> None:
        queue = self._queues.setdefault(delivery.session_id, deque())
        queue.append(delivery)
        self._waiting += 1
        if len(queue) == 1 and delivery.state == "queued":
            self._departures_of(delivery).put(delivery, not_before_ms=not_before_ms)

    def _next_departs(self, session_id: str, now_ms: int) -> None:
        """The session's first has changed: the one that is first now may go."""
        queue = self._queues[session_id]
        if queue:
            self._departures_of(queue[0]).put(queue[0], not_before_ms=now_ms)
        else:
            del self._queues[session_id]

    def _again(self, queued: Delivery, *, not_before_ms: int) -> Delivery:
        """Put what was marked back at the head of its queue."""
        del self._sending[queued.reply_id]
        self._release(queued)
        self._queues[queued.session_id][0] = queued
        self._departures_of(queued).put(queued, not_before_ms=not_before_ms)
        return queued

    def _done(self, reply_id: str, now_ms: int) -> Delivery | None:
        delivery = self._sending.pop(reply_id, None)
        if delivery is None:
            return None
        self._release(delivery)
        self._queues[delivery.session_id].popleft()
        self._waiting -= 1
        self._next_departs(delivery.session_id, now_ms)
        return delivery

    def _withdrawn(self, reply_id: str, now_ms: int, *, error: str = "") -> Delivery | None:
        delivery = self._done(reply_id, now_ms)
        if delivery is None:
            return None
        return replace(delivery, state="withdrawn", receipted_ms=now_ms, error=error)

    def _release(self, delivery: Delivery) -> None:
        """Give back the limiter's place of a mark that led to no call."""
        limiter = self._account(delivery).limiter
        if limiter is not None:
            limiter.release(delivery.reply_id)

    def _pause_ms(self, attempt: int) -> int:
        # A row that somebody else wrote may name any number of attempts.
        return int(self._jitter() * min(RETRY_MS_MAX, 250 << min(attempt, ATTEMPTS_MAX)))


def _delivery(
    order: Order, body: SendMessage | CloseReply, *, text: str | None, now_ms: int
) -> Delivery:
    effect, address = order.effect, order.address
    assert address is not None
    ends = isinstance(body, CloseReply)
    return Delivery(
        reply_id=body.reply_id,
        session_id=effect.session_id,
        cause=effect.cause,
        kind="reply" if ends else "message",
        address=address,
        state="queued",
        text=text,
        how=body.how if isinstance(body, CloseReply) else "answered",
        author="bot" if isinstance(body, CloseReply) else body.author,
        queued_ms=now_ms,
    )


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
