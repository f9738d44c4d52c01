"""Web chat on a cluster: the lines and views of sessions whose channel keeps its lines in the log.

Beside `streams.partition`, in whose transaction they become durable: *sent* means there, so such a
reply needs no mark, no call and no receipt. Gateways read them and show them to whoever holds the
person's socket. Lines are numbered here, without gaps, by the one who steps the session. Orders of
other channels go on to egress. It does no I/O: `now_ms` is given.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace as changed

from engine.effects import CloseReply, SendMessage, Withdraw
from engine.events import Event, MessageReceived
from engine.flow import Flow
from engine.ports import Line
from engine.session import Session
from streams.handed_over import handed_over, in_a_persons_hands
from streams.ingress import own_line
from streams.sessions import Batch, Order
from streams.wire import EXCUSED_MAX, Kept, Said, View

OUTBOX_CHANNELS = frozenset({"webchat"})
"""Channels whose lines are kept in the log: *sent* means that a line is durable there."""

NOBODY = Kept(b"")
"""A session of which nothing was ever stepped."""


class Taken:
    """What a batch shows people, in order, and the orders that are for egress."""

    __slots__ = ("closed", "kept", "orders", "shown")

    def __init__(self, kept: dict[str, Kept]) -> None:
        self.kept = kept
        self.shown: list[View | Said] = []
        self.orders: list[Order] = []
        self.closed: dict[str, list[str]] = {}  # by session


class Outbox:
    """The outbox of one partition.

    `channels`: whose lines are kept here. `shown`: what was last shown of a reply that streams, and
    None where nothing was; asked once, when the reply ends without a text of its own.
    """

    def __init__(self, channels: frozenset[str], *, shown: Callable[[str], str | None]) -> None:
        self._channels = channels
        self._shown = shown

    def take(
        self,
        batch: Batch,
        *,
        kept: dict[str, Kept],
        before: Mapping[str, Kept],
        flow: Flow,
        now_ms: int,
    ) -> Taken:
        """What people get to see of a batch. `kept`: its stepped sessions, counted up here."""
        taken = Taken(kept)
        for one in _in_turn(batch):
            event = one.effect if isinstance(one, Order) else one
            session_id = event.session_id
            if not self._is_here(session_id):
                if isinstance(one, Order) and _is_for_egress(one):
                    taken.orders.append(one)
                continue
            if session_id not in kept:
                kept[session_id] = before.get(session_id, NOBODY)
            if isinstance(one, Order):
                self._order(taken, one, now_ms)
            elif one.id not in kept[session_id].excused:
                assert isinstance(one.body, MessageReceived)
                _say(taken, own_line(one, one.body))
        for session, _ in batch.stepped.values():
            self._view(taken, session, before.get(session.id, NOBODY), flow)
        return taken

    def _is_here(self, session_id: str) -> bool:
        return session_id.partition(":")[0] in self._channels

    def _order(self, taken: Taken, order: Order, now_ms: int) -> None:
        effect, body = order.effect, order.effect.body
        session_id = effect.session_id
        kept = taken.kept[session_id]
        if order.excuse:
            if effect.cause in kept.excused:
                return
            excused = (*kept.excused, effect.cause)[-EXCUSED_MAX:]
            taken.kept[session_id] = kept._replace(excused=excused)
        if isinstance(body, SendMessage):
            _say(taken, _line(session_id, body, body.text, now_ms))
        elif isinstance(body, CloseReply):
            taken.closed.setdefault(session_id, []).append(body.reply_id)
            text = self._shown(body.reply_id) if body.text is None else body.text
            if text is not None:
                _say(taken, _line(session_id, body, text, now_ms))

    def _view(self, taken: Taken, session: Session, before: Kept, flow: Flow) -> None:
        person = in_a_persons_hands(flow, session.state)
        was_person = before.since_ms is not None
        since_ms = (before.since_ms if was_person else session.now_ms) if person else None
        taken.kept[session.id] = taken.kept[session.id]._replace(since_ms=since_ms)
        if not (person or was_person or self._is_here(session.id)):
            return
        closed = tuple(taken.closed.get(session.id, ()))
        taken.shown.append(view_of(session, since_ms=since_ms, closed=closed))


def view_of(session: Session, *, since_ms: int | None, closed: tuple[str, ...] = ()) -> View:
    """The session as people see it. `since_ms`: in a person's hands since then.

    `closed`: replies that ended just now.
    """
    return View(
        session_id=session.id,
        seq=session.seq,
        state=session.state,
        busy=any(pending.kind != "timer" for pending in session.pending),
        replies=tuple(reply.reply_id for reply in session.open_replies),
        closed=closed,
        handed_over=None if since_ms is None else handed_over(session, since_ms=since_ms),
    )


def _in_turn(batch: Batch) -> Iterator[Order | Event]:
    """Messages and orders as they came: what a person wrote stands above what it led to."""
    at = 0
    for position, event in batch.messages:
        yield from batch.orders[at:position]
        at = position
        yield event
    yield from batch.orders[at:]


def _is_for_egress(order: Order) -> bool:
    is_sent = isinstance(order.effect.body, SendMessage | CloseReply)
    return isinstance(order.effect.body, Withdraw) or (is_sent and order.address is not None)


def _say(taken: Taken, line: Line) -> None:
    kept = taken.kept[line.session_id]
    n = kept.lines + 1
    taken.kept[line.session_id] = kept._replace(lines=n)
    taken.shown.append(Said(line=changed(line, n=n)))


def _line(session_id: str, body: SendMessage | CloseReply, text: str, at_ms: int) -> Line:
    return Line(
        session_id=session_id,
        id=body.reply_id,
        author=body.author if isinstance(body, SendMessage) else "bot",
        text=text,
        at_ms=at_ms,
        how=body.how if isinstance(body, CloseReply) else "answered",
    )
