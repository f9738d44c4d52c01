"""Suites for what only some channels can do: call a platform, show a reply grow, have buttons.

Beside `ChannelSuite`, which every channel passes: an author takes those that fit, each with the
same fixture `platform` and a few methods more of it (see `channel_platform`). A channel without
the ability leaves the suite out; nothing here is skipped.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from engine.errors import NoReceipt, Refused, Unavailable
from engine.ids import session_of
from engine.ports import Delivery, Frame, Receipt
from testkit.conformance.channel_gateway import a_view
from testkit.conformance.channel_platform import (
    BUSY_MS,
    CalledPlatform,
    Connected,
    Platform,
    PlatformWithButtons,
    connected,
)
from testkit.conformance.loop import AT_ONCE_S, WITHIN_S, in_a_loop
from testkit.conformance.model_runner import SECRET

BURST = 1_000
SHOWN_OF_A_BURST_MAX = 50
"""A platform takes a few messages a second: a thousand frames at once are one or two to it."""


class CallingChannelSuite:
    """A channel whose `send` calls its platform. `platform` can be away: see `CalledPlatform`.

    Its errors say by their class what the host does: Unavailable is tried again, Refused is not.
    """

    @in_a_loop
    async def test_a_platform_that_is_away_is_unavailable_and_the_reply_arrives_later(
        self, platform: CalledPlatform | AbstractAsyncContextManager[CalledPlatform]
    ) -> None:
        async with connected(platform) as line:
            delivery = line.gateway.delivery(await line.met(), "hello ann")
            line.platform.treat("away")
            for _ in range(3):
                with pytest.raises(Unavailable) as error:
                    await _bounded(line, delivery)
                assert error.value.retry_after_ms > 0
            line.platform.treat("well")
            await line.gateway.deliver(delivery)
            await line.seen_reply("ann", "hello ann")
            assert len(await line.platform.sights("ann")) == 1

    @in_a_loop
    async def test_a_busy_platform_says_when_to_come_back(
        self, platform: CalledPlatform | AbstractAsyncContextManager[CalledPlatform]
    ) -> None:
        async with connected(platform) as line:
            delivery = line.gateway.delivery(await line.met(), "hello ann")
            line.platform.treat("busy")
            with pytest.raises(Unavailable) as error:
                await _bounded(line, delivery)
            assert BUSY_MS <= error.value.retry_after_ms <= BUSY_MS + 1_000
            assert await line.platform.sights("ann") == []

    @in_a_loop
    async def test_a_refusal_is_final_and_quotes_nothing_that_was_said(
        self,
        platform: CalledPlatform | AbstractAsyncContextManager[CalledPlatform],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with connected(platform) as line:
            delivery = line.gateway.delivery(await line.met(), SECRET)
            line.platform.treat("refuses")
            with pytest.raises(Refused) as error:
                await _bounded(line, delivery)
            assert str(error.value).strip()
            assert SECRET not in str(error.value) + caplog.text
            line.platform.treat("well")
            await line.gateway.deliver(replace(delivery, text="another"))

    @in_a_loop
    async def test_a_cancelled_send_ends_at_once_and_costs_no_other(
        self, platform: CalledPlatform | AbstractAsyncContextManager[CalledPlatform]
    ) -> None:
        async with connected(platform) as line:
            ann, ben = await line.met("ann"), await line.met("ben")
            line.platform.treat("silent")
            for n in range(30):  # more than a pool of connections may have
                call = asyncio.create_task(
                    line.gateway.deliver(line.gateway.delivery(ann, f"{n}", n=n))
                )
                await asyncio.wait({call}, timeout=0.02)
                assert not call.done(), "a platform that says nothing has not taken it"
                call.cancel()
                await asyncio.wait({call}, timeout=AT_ONCE_S)
                assert call.done(), "a host cancels it after 30 s, and goes on"
            line.platform.treat("well")
            await _bounded(line, line.gateway.delivery(ben, "hello ben"))
            await line.seen_reply("ben", "hello ben")

    @in_a_loop
    async def test_a_reply_whose_answer_is_lost_is_never_seen_twice(
        self, platform: CalledPlatform | AbstractAsyncContextManager[CalledPlatform]
    ) -> None:
        async with connected(platform) as line:
            delivery = line.gateway.delivery(await line.met(), "only once")
            line.platform.treat("drops")
            for attempt in range(1, 9):  # as a host does: what is Unavailable is tried again
                try:
                    await _bounded(line, replace(delivery, attempt=attempt))
                except Unavailable:
                    line.platform.treat("well")
                    continue
                except NoReceipt:
                    assert not line.channel.idempotent, "it may be sent again, and was not"
                break
            await line.seen("ann", lambda seen: len(seen) >= 1, what="the reply that it took")
            assert len(await line.platform.sights("ann")) == 1


class StreamingChannelSuite:
    """A channel that shows a reply while it grows; the person looks at the conversation."""

    @in_a_loop
    async def test_a_reply_is_seen_growing_and_ends_as_one_message(
        self, platform: Platform | AbstractAsyncContextManager[Platform]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            for n, text in enumerate(("once", "once upon", "once upon a")):
                line.channel.show(_frame(delivery, text, n=n))
                await _grows_to(line, text)
            await line.gateway.deliver(replace(delivery, text="once upon a time"))
            await line.seen_reply("ann", "once upon a time")
            assert len(await line.platform.sights("ann")) == 1

    @in_a_loop
    async def test_the_greatest_attempt_and_number_win(
        self, platform: Platform | AbstractAsyncContextManager[Platform]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            line.channel.show(_frame(delivery, "a first attempt that says much", n=7))
            await _grows_to(line, "a first attempt that says much")
            line.channel.show(_frame(delivery, "again", n=0, attempt=1))
            await _grows_to(line, "again")
            for n, attempt in ((8, 0), (0, 1), (99, 0)):
                line.channel.show(_frame(delivery, "too late", n=n, attempt=attempt))
            await asyncio.sleep(0.2)
            await _grows_to(line, "again")

    @in_a_loop
    async def test_a_burst_of_frames_is_coalesced_to_the_latest(
        self, platform: Platform | AbstractAsyncContextManager[Platform]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            words = [f"word{n}" for n in range(BURST)]
            for n in range(BURST):
                line.channel.show(_frame(delivery, " ".join(words[: n + 1]), n=n))
            await _grows_to(line, " ".join(words))
            (sight,) = await line.platform.sights("ann")
            assert sight.changes <= SHOWN_OF_A_BURST_MAX

    @in_a_loop
    async def test_a_late_frame_changes_no_ended_reply(
        self, platform: Platform | AbstractAsyncContextManager[Platform]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            line.channel.show(_frame(delivery, "once", n=0))
            await line.gateway.deliver(delivery)
            await line.seen_reply("ann", delivery.text or "")
            for n, attempt in ((1, 0), (0, 5)):
                line.channel.show(_frame(delivery, "too late", n=n, attempt=attempt))
            await asyncio.sleep(0.2)
            await line.seen_reply("ann", delivery.text or "")
            assert len(await line.platform.sights("ann")) == 1

    @in_a_loop
    async def test_nobody_sees_another_s_reply(
        self, platform: Platform | AbstractAsyncContextManager[Platform]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            await line.met("ben")
            line.channel.show(_frame(delivery, "for ann", n=0))
            await _grows_to(line, "for ann")
            await line.gateway.deliver(delivery)
            await line.seen_reply("ann", delivery.text or "")
            assert await line.platform.sights("ben") == []


class ButtonsChannelSuite:
    """A channel on which a person can stop a reply and judge it: see `PlatformWithButtons`."""

    @in_a_loop
    async def test_a_press_reaches_the_host_and_a_repetition_is_known(
        self, platform: PlatformWithButtons | AbstractAsyncContextManager[PlatformWithButtons]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            for button in BUTTONS:
                line.gateway.pressed.clear()
                for press_id in ("press-first", "press-first", "press-second"):
                    await _press(line, delivery, button, press_id=f"{press_id}-{button}")
                first, again, second = line.gateway.pressed
                assert first.what == button
                assert (first.session_id, first.reply_id) == (
                    delivery.session_id,
                    delivery.reply_id,
                )
                assert first.request_id
                assert again == first
                assert second.request_id != first.request_id

    @in_a_loop
    async def test_a_press_is_answered_as_a_message_is(
        self, platform: PlatformWithButtons | AbstractAsyncContextManager[PlatformWithButtons]
    ) -> None:
        async with connected(platform) as line:
            delivery = await _opened(line)
            for n, button in enumerate(BUTTONS):
                faults: list[tuple[Exception, str]] = [
                    (Unavailable("the disk is full", retry_after_ms=50), "kept"),
                    (LookupError("a bug of the host"), "kept"),
                    (Refused("nobody has written yet: write first"), "refused"),
                ]
                for error, how in faults:
                    line.gateway.faults.append(error)
                    handed = await _press(line, delivery, button, press_id=f"press-{n}-{how}")
                    assert handed.how == how, button
                    assert how == "kept" or str(error) in handed.told
                handed = await _press(line, delivery, button, press_id=f"press-{n}-kept")
                assert handed.how == "acknowledged"


BUTTONS: tuple[Literal["stop", "up", "down"], ...] = ("stop", "up", "down")


async def _press(
    line: Connected[PlatformWithButtons],
    delivery: Delivery,
    button: Literal["stop", "up", "down"],
    *,
    press_id: str,
) -> Any:
    reply_id = delivery.reply_id
    return await line.platform.press("ann", button, reply_id=reply_id, press_id=press_id)


async def _bounded(line: Connected[Any], delivery: Delivery) -> Receipt:
    return await asyncio.wait_for(line.gateway.deliver(delivery), WITHIN_S)


async def _opened(line: Connected[Any]) -> Delivery:
    """A reply to ann that has begun, and how it will end."""
    delivery = line.gateway.delivery(await line.met(), "the end")
    opened = _frame(delivery, "", n=-1)
    line.channel.stepped(a_view(session_of(delivery.reply_id), opened))
    return delivery


def _frame(delivery: Delivery, text: str, *, n: int, attempt: int = 0) -> Frame:
    return Frame(
        reply_id=delivery.reply_id,
        session_id=delivery.session_id,
        attempt=attempt,
        n=n,
        text=text,
    )


async def _grows_to(line: Connected[Any], text: str) -> None:
    """Ann sees one reply, still open, with this text."""
    await line.seen(
        "ann",
        lambda seen: [(one.text, one.ended) for one in seen] == [(text, False)],
        what=f"one open reply {text[-40:]!r}",
    )
