"""A platform of a test's own, behind the port `Channel`: it keeps what it was sent, and when."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from engine.effects import CloseReply, Effect, SendMessage, Withdraw
from engine.events import Address
from engine.ids import derive
from engine.ports import Delivery, Frame, Gateway, Line, Receipt, SessionView
from streams.machine_clock import wall_ms
from streams.sessions import Order


class Platform:
    """What has arrived, over all processes of a test. `answer` may raise, and `delay_s` waits."""

    def __init__(self, *, idempotent: bool = False, delay_s: float = 0.0) -> None:
        self.idempotent = idempotent
        self.delay_s = delay_s
        self.arrived: list[tuple[str, str, int]] = []  # reply, text, when
        self.answer: Callable[[Delivery], None] = lambda delivery: None

    def replies(self) -> Counter[str]:
        return Counter(reply for reply, _, _ in self.arrived)

    def channel(self, account: str = "a") -> "PlatformChannel":
        return PlatformChannel(self, account)


class PlatformChannel:
    """One process's link to it."""

    kind = "im"
    at_once = False

    def __init__(self, platform: Platform, account: str) -> None:
        self.account = account
        self.idempotent = platform.idempotent
        self.shown: list[Frame] = []
        self._platform = platform

    async def start(self, gateway: Gateway) -> None: ...

    async def close(self) -> None: ...

    async def send(self, delivery: Delivery) -> Receipt:
        self._platform.arrived.append((delivery.reply_id, delivery.text or "", wall_ms()))
        await asyncio.sleep(self._platform.delay_s)
        self._platform.answer(delivery)
        return Receipt(platform_ids=(f"p-{delivery.reply_id}",))

    def show(self, frame: Frame) -> None:
        self.shown.append(frame)

    def follows(self, session_id: str) -> bool:
        return True

    def stepped(self, view: SessionView) -> None: ...

    def wrote(self, lines: Sequence[Line]) -> None: ...


def session(n: int, *, account: str = "a") -> str:
    return f"im:{account}:k1:s{n}"


def reply(n: int, *, of: int = 0, account: str = "a") -> str:
    """The id of a session's n-th reply."""
    return derive(session(of, account=account), "reply", n)


def say(n: int, text: str = "", *, of: int = 0, account: str = "a") -> Order:
    """Send a whole message."""
    body = SendMessage(reply_id=reply(n, of=of, account=account), text=text or f"text {n}")
    return _order(body, n, of, account)


def end(n: int, text: str | None, *, of: int = 0, account: str = "a") -> Order:
    """End a reply that streams."""
    body = CloseReply(reply_id=reply(n, of=of, account=account), how="answered", text=text)
    return _order(body, n, of, account)


def withdraw(n: int, *, of: int = 0, account: str = "a") -> Order:
    """Take one reply back."""
    body = Withdraw(reply_id=reply(n, of=of, account=account))
    return _order(body, n + 1_000, of, account)


def _order(body: SendMessage | CloseReply | Withdraw, n: int, of: int, account: str) -> Order:
    session_id = session(of, account=account)
    effect = Effect(
        id=derive(session_id, "effect", n),
        session_id=session_id,
        epoch=1,
        cause=derive(session_id, "event", n),
        body=body,
    )
    address = Address(channel="im", account=account, conversation="c", sender="s")
    return Order(effect, address)
