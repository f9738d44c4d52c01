"""A host of egress alone, with a log that may lose a commit and a platform that may be away.

It does what the embedded host does, in the same order: what calls came to, orders, marks, commit,
then calls; a lost commit is a rollback, a death a new hop over what is durable. Each act is small,
so that any order of acts is a schedule. It counts what really arrived at the platform.
"""

from collections import Counter

from engine import codec
from engine.effects import SendMessage, Withdraw
from engine.errors import Refused, Unavailable
from engine.events import ReplyUndelivered
from engine.ports import Append, Delivery, Receipt
from streams.egress import Account, Egress
from streams.limiter import Limiter
from tests.hop_tests.replies import KEY, order

LIMIT, PERIOD_MS = 3, 1_000
SLOW_MS = 3_000
Outcome = Receipt | Refused | Unavailable | None


class World:
    """One channel account; `idempotent`: its platform recognises a repeated reply id."""

    def __init__(self, *, idempotent: bool) -> None:
        self.idempotent = idempotent
        self.now_ms = 0
        self.durable: dict[str, Delivery] = {}
        self.told: Counter[str] = Counter()  # state of each ReplyUndelivered in the log
        self.calls: list[tuple[int, str]] = []
        self.took: list[str] = []  # arrivals at the platform, repetitions too
        self.died_sending = 0  # marks that a death left without a receipt
        self.ordered: dict[str, list[str]] = {}
        self._orders: list[tuple[str, str | None]] = []  # not in the log yet; None: withdraw
        self._marked: list[str] = []  # durable marks whose call has not begun
        self._under_way: list[str] = []
        self._ended: list[tuple[str, Outcome]] = []
        self._steps = 0
        self.hop = self._new_hop(None)

    def _new_hop(self, full_at_ms: int | None) -> Egress:
        limiter = Limiter(LIMIT, period_ms=PERIOD_MS, full_at_ms=full_at_ms)
        account = Account(idempotent=self.idempotent, limiter=limiter)
        return Egress({KEY: account}, delivery=self.durable.get, jitter=lambda: 0.5)

    # ---- acts --------------------------------------------------------------------------------

    def say(self, session: int) -> None:
        key = f"webchat:web:k1:{session}"
        replies = self.ordered.setdefault(key, [])
        replies.append(f"{key}/{len(replies)}")
        self._orders.append((key, replies[-1]))

    def withdraw(self, session: int) -> None:
        self._orders.append((f"webchat:web:k1:{session}", None))

    def wait(self, ms: int) -> None:
        self.now_ms += ms

    def turn(self, commit: str) -> None:
        """One batch; `commit`: ok, slow or lost."""
        orders, ended = self._orders, self._ended
        self._orders, self._ended = [], []
        changed: dict[str, Delivery] = {}
        events: list[Append] = []
        for reply, outcome in ended:
            self._receipt(reply, outcome, changed, events=events)
        for session, reply in orders:
            self._steps += 1
            body = Withdraw() if reply is None else SendMessage(reply_id=reply, text=reply)
            ordered = order(body, cause=f"event-{self._steps}", session=session)
            for delivery in self.hop.order(ordered, now_ms=self.now_ms):
                changed[delivery.reply_id] = delivery
        marked = self.hop.mark(self.now_ms, limit=10)
        changed |= {delivery.reply_id: delivery for delivery in marked}
        self.now_ms += SLOW_MS if commit == "slow" else 1
        if commit == "lost":
            self._orders, self._ended = orders + self._orders, ended + self._ended
            in_hand = frozenset([*self._marked, *self._under_way, *(r for r, _ in self._ended)])
            self._recover(in_hand)
            return
        self._write(changed, events)
        self.hop.confirm()
        self._marked += [delivery.reply_id for delivery in marked]

    def call(self, n: int) -> None:
        """The n-th call begins, where egress lets it."""
        if not self._marked:
            return
        reply = self._marked.pop(n % len(self._marked))
        if not self.hop.called(reply, self.now_ms):
            self._ended.append((reply, None))
            return
        assert self.durable[reply].state == "sending"
        assert self.durable[reply].withdrawn_ms is None
        self.calls.append((self.now_ms, reply))
        self._under_way.append(reply)

    def end(self, n: int, how: str) -> None:
        """The n-th call under way ends: took, away or refused."""
        if not self._under_way:
            return
        reply = self._under_way.pop(n % len(self._under_way))
        outcome: Outcome = Unavailable("away") if how == "away" else Refused("no")
        if how == "took":
            self.took.append(reply)
            outcome = Receipt()
        self._ended.append((reply, outcome))

    def die(self, arrived: bool) -> None:
        """The process dies, and another takes over. `arrived`: what it was calling for."""
        if arrived:
            self.took += self._under_way
        self.died_sending += sum(d.state == "sending" for d in self.durable.values())
        self._marked, self._under_way, self._ended = [], [], []
        self.hop = self._new_hop(self.now_ms)
        self._recover(frozenset())

    def rest(self) -> None:
        """From here on all goes well, until nothing is on its way."""
        while self._orders or self._ended or self._marked or self._under_way or self.hop.waiting:
            self.turn("ok")
            for _ in range(len(self._marked)):
                self.call(0)
            for _ in range(len(self._under_way)):
                self.end(0, "took")
            next_ms = self.hop.next_ms(self.now_ms)
            if next_ms is not None:
                self.now_ms = max(self.now_ms, next_ms)

    # ---- inside ------------------------------------------------------------------------------

    def _receipt(
        self, reply: str, outcome: Outcome, changed: dict[str, Delivery], *, events: list[Append]
    ) -> None:
        event: Append | None = None
        match outcome:
            case None:
                delivery = self.hop.uncalled(reply, now_ms=self.now_ms)
            case Receipt():
                delivery = self.hop.sent(reply, outcome, now_ms=self.now_ms)
            case Unavailable():
                ended = self.hop.unavailable(reply, "away", now_ms=self.now_ms)
                delivery, event = ended if ended is not None else (None, None)
            case Refused():
                ended = self.hop.refused(reply, "no", now_ms=self.now_ms)
                delivery, event = ended if ended is not None else (None, None)
        assert delivery is not None, f"{reply} is in hand, and egress does not know it"
        changed[reply] = delivery
        events += [event] if event is not None else []

    def _recover(self, in_hand: frozenset[str]) -> None:
        open_ones = [d for d in self.durable.values() if d.state in ("queued", "sending")]
        changed, events = self.hop.recover(open_ones, now_ms=self.now_ms, in_hand=in_hand)
        self._write({d.reply_id: d for d in changed}, events)

    def _write(self, changed: dict[str, Delivery], events: list[Append]) -> None:
        self.durable |= changed
        for append in events:
            body = codec.decode_event(append.value).body
            assert isinstance(body, ReplyUndelivered)
            self.told[body.state] += 1
