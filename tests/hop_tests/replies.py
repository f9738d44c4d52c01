"""What egress is given in tests: orders of sessions of one channel account."""

from collections.abc import Callable

from engine.effects import Effect, EffectBody, SendMessage
from engine.events import Address
from engine.ports import Delivery
from streams.egress import Account, Egress
from streams.limiter import Limiter
from streams.sessions import Order

KEY = ("webchat", "web")
ADDRESS = Address(channel="webchat", account="web", conversation="c", sender="s")
SESSION = "webchat:web:k1:x"


def egress(
    *,
    idempotent: bool = True,
    limiter: Limiter | None = None,
    delivery: Callable[[str], Delivery | None] = lambda reply_id: None,
) -> Egress:
    """One account; its retries wait the longest that chance may give them. `delivery`: as durable;
    nothing is."""
    account = Account(idempotent=idempotent, limiter=limiter)
    return Egress({KEY: account}, delivery=delivery, jitter=lambda: 1.0)


def order(body: EffectBody, *, cause: str = "event-1", session: str = SESSION) -> Order:
    """An order that this event's step made."""
    effect = Effect(id=f"{session}/e", session_id=session, epoch=1, cause=cause, body=body)
    return Order(effect, ADDRESS)


def send(hop: Egress, reply: str, *, now_ms: int = 0, session: str = SESSION) -> Delivery:
    """Order a message."""
    body = SendMessage(reply_id=reply, text=f"text of {reply}")
    (queued,) = hop.order(order(body, session=session), now_ms=now_ms)
    return queued


def marked(hop: Egress, now_ms: int) -> list[str]:
    """Mark what may go now."""
    return [delivery.reply_id for delivery in hop.mark(now_ms, limit=100)]
