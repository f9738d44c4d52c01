"""Calls to channels: one that does not come back holds nothing up for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.channels.webchat import WebChat
from engine.errors import NoReceipt, Unavailable
from engine.events import Address
from engine.ports import Delivery, Receipt
from engine.pseudonym import Key
from streams import calls
from streams.calls import Pump
from streams.embedded.channels import Channels
from streams.embedded.pipeline import Called
from streams.ingress import Ingress
from tests.host_tests.engines import Engine, eventually

REPLY = "webchat:web:k1:x/reply"
DELIVERY = Delivery(
    reply_id=REPLY,
    session_id="webchat:web:k1:x",
    cause="webchat:web:k1:x/1",
    kind="message",
    address=Address(channel="webchat", account="web", conversation="c", sender="s"),
    state="sending",
    text="hello",
)


class Silent(WebChat):
    """A platform that takes the first call, and says nothing any more."""

    at_once = False

    def __init__(self, *, idempotent: bool) -> None:
        super().__init__("web", b"a key that only tests use")
        self.idempotent = idempotent
        self.calls = 0

    async def send(self, delivery: Delivery) -> Receipt:
        self.calls += 1
        if self.calls == 1:
            await asyncio.Event().wait()
        return await super().send(delivery)


@asynccontextmanager
async def called(channel: WebChat) -> AsyncIterator["asyncio.Queue[Called]"]:
    """What the host hears of its calls to this channel."""
    keys = (Key(id="k1", secret=b"a secret of tests"),)
    routes = Ingress("webchat", "web", keys=keys, known=lambda session_id: False)
    made = Channels([(channel, routes)])
    heard: asyncio.Queue[Called] = asyncio.Queue()
    made.pump = Pump(lambda reply_id: True, heard.put_nowait, lambda at, n: None)
    made.call([DELIVERY])
    assert made.in_hand == {REPLY}
    yield heard
    assert not made.in_hand
    made.cancel()


async def test_a_call_without_an_end_is_tried_again_where_the_platform_knows_a_repetition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "SEND_WITHIN_S", 0.05)
    async with called(Silent(idempotent=True)) as heard:
        call = await asyncio.wait_for(heard.get(), 5)
    assert call.reply_id == REPLY
    assert isinstance(call.outcome, Unavailable)
    assert str(call.outcome) == "channel webchat did not answer within 0.05 s"


async def test_elsewhere_nobody_knows_whether_it_arrived_and_it_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "SEND_WITHIN_S", 0.05)
    async with called(Silent(idempotent=False)) as heard:
        call = await asyncio.wait_for(heard.get(), 5)
    assert isinstance(call.outcome, NoReceipt)


async def test_a_sessions_replies_go_on_after_a_call_without_an_end(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SEND_WITHIN_S", 0.05)
    engine = Engine(data)
    called = 0
    sends = engine.wired.webchat.send

    async def silent_at_first(delivery: Delivery) -> Receipt:
        nonlocal called
        called += 1
        if called == 1:
            await asyncio.Event().wait()
        return await sends(delivery)

    monkeypatch.setattr(engine.wired.webchat, "send", silent_at_first)
    async with engine:
        assert await engine.ask("first") == "first"
        assert await engine.ask("second") == "second"
    assert called == 3


async def silent(delivery: Delivery) -> Receipt:
    await asyncio.Event().wait()
    raise AssertionError


async def lost(delivery: Delivery) -> Receipt:
    raise NoReceipt("the connection ended before the answer came")


@pytest.mark.parametrize("send", [silent, lost])
async def test_where_it_may_have_arrived_the_flow_is_told_that_nobody_knows(
    data: Path, monkeypatch: pytest.MonkeyPatch, send: Callable[[Delivery], Awaitable[Receipt]]
) -> None:
    monkeypatch.setattr(calls, "SEND_WITHIN_S", 0.05)
    engine = Engine(data)
    monkeypatch.setattr(engine.wired.webchat, "idempotent", False)

    monkeypatch.setattr(engine.wired.webchat, "send", send)
    async with engine:
        session_id = await engine.say("hello")
        store = engine.host._store

        def ended() -> list[str]:
            found = [d.state for d in store.deliveries_of(session_id)]  # type: ignore[attr-defined]
            return found if found and "sending" not in found else []

        assert await eventually(ended) == ["unknown"]


class CancelsItself(Silent):
    """An adapter in which what a call waits for was cancelled: its socket's reader ended, say."""

    async def send(self, delivery: Delivery) -> Receipt:
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, answer.cancel)
        return await answer


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_send_that_cancels_itself_still_ends(idempotent: bool) -> None:
    async with called(CancelsItself(idempotent=idempotent)) as heard:
        call = await asyncio.wait_for(heard.get(), 5)
    assert isinstance(call.outcome, Unavailable if idempotent else NoReceipt)
