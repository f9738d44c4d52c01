"""The suite of the port `Channel`: what every channel promises, messages in and replies out.

Use it in ten lines; `platform` gives the platform's side of a channel, see `channel_platform`:

    class TestMyChannel(ChannelSuite):
        unusable = {"text": b'{"id": "m1"}', "id": b'{"text": "hello"}'}
        @pytest.fixture
        def platform(self) -> Platform: return MyPlatform()

`unusable` holds payloads that are no message, each under the name of the field that is wrong.
What only some channels can do has suites of its own in `channel_abilities`.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from msgspec.structs import replace

from engine.errors import Refused, Unavailable
from engine.limits import MESSAGE_TEXT_BYTES_MAX, REPLY_TEXT_BYTES_MAX
from engine.ports import Channel, Frame, Receipt
from testkit.conformance.channel_gateway import NOW_MS, SuiteGateway, a_view
from testkit.conformance.channel_platform import (
    Connected,
    Handed,
    Platform,
    Wrote,
    connected,
    restarted,
)
from testkit.conformance.loop import AT_ONCE_S, WITHIN_S, entered, in_a_loop
from testkit.conformance.model_runner import SECRET

Given = Platform | AbstractAsyncContextManager[Platform]

WRITTEN = (
    "hello",
    "你好，请问报销流程？🎉 👩‍👩‍👧 e\u0301",
    "two\nlines, a\ttab",
    "<b>bold</b> & *stars* [link](javascript:x) {{ x }} \\ %s",
    "/command @all #1",
)
"""What a person can write, and a channel passes on as it is."""

CLOSED_WITHIN_S = 10.0
"""A process that stops waits no longer than this for messages in hand: then it is killed."""


class ChannelSuite:
    """What every channel promises. `unusable`: payloads by the name of the field that is wrong."""

    unusable: Mapping[str, bytes]

    # ---- messages in --------------------------------------------------------------------------

    @in_a_loop
    async def test_it_says_what_it_is(self, platform: Given) -> None:
        async with connected(platform) as line:
            channel = line.channel
            for name in (channel.kind, channel.account):
                assert name, "kind and account stand in every session's id"
                assert not set(name) & set(":/ "), "a session's id is taken apart at these"
            assert isinstance(channel.idempotent, bool)
            assert isinstance(channel.at_once, bool)

    @in_a_loop
    async def test_a_message_is_accepted_as_it_was_written(self, platform: Given) -> None:
        async with connected(platform) as line:
            for n, text in enumerate(WRITTEN):
                handed = await line.platform.hand_over(Wrote(f"message-{n}", text))
                assert handed.how == "acknowledged", handed
                incoming = line.gateway.taken[-1]
                assert incoming.text == text
                assert incoming.account == line.channel.account
                ids = (incoming.message_id, incoming.conversation, incoming.sender)
                for one in ids:
                    assert 0 < len(one) <= 200, "ids of a platform; ingress takes no longer ones"
                    assert one.isprintable()
            assert len(line.gateway.calls) == len(WRITTEN)

    @in_a_loop
    async def test_messages_and_people_are_told_apart(self, platform: Given) -> None:
        async with connected(platform) as line:
            for n in range(2):
                for person in ("ann", "ben"):
                    await line.platform.hand_over(Wrote(f"{person}-writes-{n}", "ok", person))
            ann, ben, ann_again, ben_again = line.gateway.taken
            assert len({one.message_id for one in line.gateway.taken}) == 4
            assert (ann.sender, ann.conversation) == (ann_again.sender, ann_again.conversation)
            assert (ben.sender, ben.conversation) == (ben_again.sender, ben_again.conversation)
            assert ann.sender != ben.sender

    @in_a_loop
    async def test_a_message_that_is_handed_over_again_is_the_same_message(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            wrote = Wrote("message-1", "hello")
            for _ in range(2):
                assert (await line.platform.hand_over(wrote)).how == "acknowledged"
            async with restarted(line) as again:
                assert (await again.platform.hand_over(wrote)).how == "acknowledged"
            # Whether it takes the repetition for one itself, or leaves that to the session.
            same = {(i.message_id, i.conversation, i.sender, i.sent_ms) for i in line.gateway.calls}
            assert len(same) == 1, "a repetition is known by its ids; it was written when it was"

    @in_a_loop
    async def test_what_is_written_in_a_row_is_accepted_in_that_row(self, platform: Given) -> None:
        async with connected(platform) as line:
            line.gateway.commits.clear()
            handing = []
            for n in range(5):
                wrote = Wrote(f"message-{n}", f"{n}")
                handing.append(asyncio.create_task(line.platform.hand_over(wrote)))
                await asyncio.sleep(0.02)
            line.gateway.commits.set()
            for handed in await asyncio.wait_for(asyncio.gather(*handing), WITHIN_S):
                assert handed.how == "acknowledged"
            assert [incoming.text for incoming in line.gateway.taken] == list("01234")

    @in_a_loop
    async def test_a_message_is_acknowledged_only_after_the_append(self, platform: Given) -> None:
        async with connected(platform) as line:
            line.gateway.commits.clear()
            wrote = Wrote("message-1", "hello")
            handing = asyncio.create_task(line.platform.hand_over(wrote))
            await _called(line.gateway)
            await asyncio.wait({handing}, timeout=0.2)
            assert not handing.done(), "it was answered before it was durable"
            line.gateway.commits.set()
            assert (await asyncio.wait_for(handing, WITHIN_S)).how == "acknowledged"

    @in_a_loop
    async def test_what_cannot_be_appended_now_is_not_acknowledged(self, platform: Given) -> None:
        async with connected(platform) as line:
            line.gateway.faults.append(Unavailable("the disk is full", retry_after_ms=50))
            wrote = Wrote("message-1", "hello")
            assert (await line.platform.hand_over(wrote)).how == "kept"
            assert (await line.platform.hand_over(wrote)).how == "acknowledged"
            assert [incoming.text for incoming in line.gateway.taken] == ["hello"]

    @in_a_loop
    async def test_what_the_host_refuses_is_told_to_the_person(self, platform: Given) -> None:
        async with connected(platform) as line:
            line.gateway.faults.append(Refused("the queue is full: wait for an answer"))
            handed = await line.platform.hand_over(Wrote("message-1", "hello"))
            assert handed.how == "refused", handed
            assert "the queue is full: wait for an answer" in handed.told
            await line.met()

    @in_a_loop
    async def test_an_error_of_the_host_costs_no_message_and_logs_no_text(
        self, platform: Given, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connected(platform) as line:
            line.gateway.faults.append(LookupError(SECRET))
            wrote = Wrote("message-1", SECRET)
            handed = await line.platform.hand_over(wrote)
            assert handed.how == "kept", handed
            assert SECRET not in handed.told + caplog.text
            assert (await line.platform.hand_over(wrote)).how == "acknowledged"

    @in_a_loop
    async def test_a_payload_that_is_no_message_is_refused_with_the_field_named(
        self, platform: Given, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connected(platform) as line:
            assert self.unusable, "a payload for each field that it reads"
            for field, payload in self.unusable.items():
                handed = await line.platform.hand_over_raw(payload)
                assert handed.how == "refused", f"{field}: it would be handed over for ever"
                assert field in handed.told
            for rubbish in (b"", b"\x00\xff\xfe", b"[" * 100_000, b"null", b"{}"):
                assert (await line.platform.hand_over_raw(rubbish)).how != "acknowledged"
                await line.met()
            assert {incoming.text for incoming in line.gateway.calls} == {"hello"}
            assert SECRET not in caplog.text

    @in_a_loop
    async def test_a_long_message_is_accepted_whole_or_refused(self, platform: Given) -> None:
        async with connected(platform) as line:
            for n, text in enumerate(("长" * (MESSAGE_TEXT_BYTES_MAX // 3), "长" * 20_000)):
                handed = await line.platform.hand_over(Wrote(f"message-{n}", text))
                assert handed.how == ("acknowledged", "refused")[n], handed.how
                assert all(one.text == text for one in line.gateway.calls[n:])
            assert handed.told, "the person is told how long a message may be"
            await line.met()

    # ---- start and close ----------------------------------------------------------------------

    @in_a_loop
    async def test_nothing_is_acknowledged_before_the_start_or_after_the_close(
        self, platform: Given
    ) -> None:
        async with entered(platform) as far:
            gateway = SuiteGateway()
            channel = await far.connect()
            assert (await far.hand_over(Wrote("message-1", "hello"))).how == "kept"
            await gateway.run(channel)
            assert (await far.hand_over(Wrote("message-1", "hello"))).how == "acknowledged"
            for _ in range(2):  # twice is no error
                await asyncio.wait_for(channel.close(), CLOSED_WITHIN_S)
                assert (await far.hand_over(Wrote("message-2", "hello"))).how == "kept"
            assert len(gateway.calls) == 1

    @in_a_loop
    async def test_a_channel_that_was_never_started_is_closed(self, platform: Given) -> None:
        async with entered(platform) as far:
            await asyncio.wait_for((await far.connect()).close(), CLOSED_WITHIN_S)

    @in_a_loop
    async def test_a_message_in_hand_is_acknowledged_before_the_close(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            handing, closing = await _closing_with_one_in_hand(line)
            await asyncio.wait({closing}, timeout=0.1)
            line.gateway.commits.set()
            await asyncio.wait_for(closing, CLOSED_WITHIN_S)
            handed = await asyncio.wait_for(handing, WITHIN_S)
            assert handed.how == ("acknowledged" if line.gateway.taken else "kept")

    @in_a_loop
    async def test_a_message_that_never_becomes_durable_does_not_hold_up_the_close(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            handing, closing = await _closing_with_one_in_hand(line)
            await asyncio.wait_for(closing, CLOSED_WITHIN_S)
            line.gateway.end()
            handed = await asyncio.wait_for(handing, WITHIN_S)
            assert handed.how == "kept", "it was acknowledged, and is not durable"

    # ---- replies out --------------------------------------------------------------------------

    @in_a_loop
    async def test_a_reply_arrives_whole_and_the_receipt_has_the_platform_s_ids(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            ann = await line.met()
            ids: list[str] = []
            for n, text in enumerate(("hi ann", "你好 🎉", "two\nlines")):
                receipt = await line.gateway.deliver(line.gateway.delivery(ann, text, n=n))
                await line.seen_reply("ann", text)
                assert isinstance(receipt, Receipt)
                ids += receipt.platform_ids
            assert ids == [sight.id for sight in await line.platform.sights("ann")]
            assert len(set(ids)) == len(ids)

    @in_a_loop
    async def test_each_reply_goes_to_its_own_person(self, platform: Given) -> None:
        async with connected(platform) as line:
            people = {person: await line.met(person) for person in ("ann", "ben", "eve")}
            deliveries = [
                line.gateway.delivery(incoming, f"for {person}")
                for person, incoming in people.items()
            ]
            sending = [line.gateway.deliver(delivery) for delivery in deliveries]
            await asyncio.wait_for(asyncio.gather(*sending), WITHIN_S)
            for person in people:
                await line.seen_reply(person, f"for {person}")
                assert len(await line.platform.sights(person)) == 1

    @in_a_loop
    async def test_a_long_reply_loses_nothing(self, platform: Given) -> None:
        async with connected(platform) as line:
            text = " ".join(f"{n}:答案" for n in range(REPLY_TEXT_BYTES_MAX // 13))
            ann = await line.met()
            receipt = await line.gateway.deliver(line.gateway.delivery(ann, text))
            sights = await line.seen(
                "ann",
                lambda seen: _letters(*(one.text for one in seen)) == _letters(text),
                what="every letter of it, in order, in one message or more",
            )
            assert list(receipt.platform_ids) == [sight.id for sight in sights]

    @in_a_loop
    async def test_whatever_a_reply_says_it_is_sent_or_refused(self, platform: Given) -> None:
        async with connected(platform) as line:
            ann = await line.met()
            for n, text in enumerate((*WRITTEN, " ", "\x00", "\u202e", "`" * 9_000)):
                for author, how in (("bot", "stopped"), ("operator", "answered")):
                    delivery = line.gateway.delivery(ann, text, n=2 * n + (author == "bot"))
                    said = replace(delivery, author=author, how=how, kind="message")
                    assert isinstance(await _sent(line.channel.send(said)), Receipt | Refused)
            await line.gateway.deliver(line.gateway.delivery(ann, "and now?", n=99))
            await line.seen_reply("ann", "and now?")

    @in_a_loop
    async def test_a_reply_arrives_without_its_token_or_after_the_token_s_end(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            ann = await line.met()
            for n, (token, expires_ms) in enumerate(((ann.reply_token, NOW_MS - 1), ("", None))):
                delivery = line.gateway.delivery(ann, f"reply {n}", n=n)
                address = replace(
                    delivery.address, reply_token=token, reply_token_expires_ms=expires_ms
                )
                await line.gateway.deliver(replace(delivery, address=address))
                await line.seen_reply("ann", f"reply {n}")

    @in_a_loop
    async def test_a_reply_to_nobody_is_sent_or_refused(self, platform: Given) -> None:
        async with connected(platform) as line:
            stranger = replace(await line.met(), conversation="nowhere", sender="nobody")
            delivery = line.gateway.delivery(stranger, "hello?")
            assert isinstance(await _sent(line.channel.send(delivery)), Receipt | Refused)
            assert await line.platform.sights("ann") == []

    @in_a_loop
    async def test_a_repeated_reply_is_seen_once_where_that_is_claimed(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            delivery = line.gateway.delivery(await line.met(), "only once")
            receipt = await line.gateway.deliver(delivery)
            await line.seen_reply("ann", "only once")
            if not line.channel.idempotent:  # nobody ever asks it to send one again
                return
            assert await line.gateway.deliver(replace(delivery, attempt=2)) == receipt
            async with restarted(line) as again:
                assert await again.gateway.deliver(replace(delivery, attempt=3)) == receipt
                await asyncio.sleep(0.1)
                await again.seen_reply("ann", "only once")
                assert len(await again.platform.sights("ann")) == 1

    @in_a_loop
    async def test_a_send_at_once_waits_for_nothing_where_that_is_claimed(
        self, platform: Given
    ) -> None:
        async with connected(platform) as line:
            call = line.channel.send(line.gateway.delivery(await line.met(), "hello"))
            waits = True
            try:
                call.send(None)
            except StopIteration:
                waits = False
            finally:
                call.close()
            assert not (waits and line.channel.at_once), "its sends wait for each other"

    @in_a_loop
    async def test_telling_it_something_never_blocks_and_never_raises(
        self, platform: Given
    ) -> None:
        async with entered(platform) as far:
            gateway = SuiteGateway()
            channel = await far.connect()
            _tell(channel, "somebody:main:0123")
            await gateway.run(channel)
            await far.hand_over(Wrote("message-1", "hello"))
            for session_id in ("somebody:main:0123", gateway.session_of(gateway.taken[-1])):
                _tell(channel, session_id)
            await asyncio.wait_for(channel.close(), CLOSED_WITHIN_S)
            _tell(channel, "somebody:main:0123")


async def _sent(call: Coroutine[Any, Any, Receipt]) -> Receipt | Refused:
    """What a send came to."""
    try:
        return await asyncio.wait_for(call, WITHIN_S)
    except Refused as error:
        return error


def _letters(*texts: str) -> str:
    """A platform may begin a new message anywhere; blanks are lost there."""
    return "".join("".join(texts).split())


async def _called(gateway: SuiteGateway) -> None:
    """The channel has passed a message on."""
    async with asyncio.timeout(WITHIN_S):
        while not gateway.calls:
            await asyncio.sleep(0.01)


async def _closing_with_one_in_hand(
    line: Connected[Platform],
) -> "tuple[asyncio.Task[Handed], asyncio.Task[None]]":
    line.gateway.commits.clear()
    wrote = Wrote("message-1", "hello")
    handing = asyncio.create_task(line.platform.hand_over(wrote))
    await _called(line.gateway)
    return handing, asyncio.create_task(line.channel.close())


def _tell(channel: Channel, session_id: str) -> None:
    """All that a host tells a channel without waiting, a thousand frames of it within a second."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert channel.follows(session_id) in (True, False)
    for n in range(1_000):
        text = ("", "so far", "长" * 8_000)[n % 3]
        frame = Frame(reply_id="r", session_id=session_id, attempt=0, n=n, text=text)
        channel.show(frame)
    channel.stepped(a_view(session_id, frame))
    channel.wrote([])
    assert loop.time() - began_s < AT_ONCE_S, "it blocks"
