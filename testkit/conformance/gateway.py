"""The suites of the port `Gateway`: what a channel may count on in any host.

Use it in five lines; `host` gives a gateway and a look at what became durable: `gateway_host`
says what each method means:

    class TestGateway(GatewaySuite):
        @pytest.fixture
        def host(self) -> GatewayHost: return MyHost()

`LinesGatewaySuite` is for a host that keeps the lines of its channel, as those of web chat are;
`RestartedGatewaySuite` for one that can end and begin again, `FailingGatewaySuite` for one whose
log can fail.
"""

import asyncio
import base64
from contextlib import AbstractAsyncContextManager, suppress

import pytest
from msgspec.structs import replace

from engine.errors import Refused
from engine.limits import MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from engine.ports import Incoming
from testkit.conformance.gateway_host import (
    GatewayHost,
    Person,
    Took,
    is_well_formed,
    somebody,
)
from testkit.conformance.loop import entered, in_a_loop
from testkit.conformance.model_runner import SECRET

Given = GatewayHost | AbstractAsyncContextManager[GatewayHost]

AT_ONCE = 10
"""So many ask for the same at the same time."""

WRITTEN = (
    "hello",
    "你好，请问报销流程？🎉 👩‍👩‍👧 e\u0301",
    "two\nlines, a\ttab",
    "<b>bold</b> & *stars* {{ x }} \\ %s 'quoted' \"twice\"",
    "\U0001f9ea\U00020000\U0010fffd",
)
"""What a person can write, and is recorded as it is."""

ODD = ("\ud800", "a\udfffb", "\x00", "a\x00\x1b[31m\x7f\x9fb", "\ufeff\u202e\u2028x", "\U0010ffff")
"""What nobody writes and somebody sends: halves of a character, control and other characters."""

LONG = "9" * 300_000


class GatewaySuite:
    """What every gateway promises. `host`: of one account, see `GatewayHost`."""

    # ---- messages -----------------------------------------------------------------------------

    @in_a_loop
    async def test_a_message_is_durable_when_it_is_accepted(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for n, text in enumerate(WRITTEN):
                session_id = await at.gateway.accept(ann.says(f"message-{n}", text))
                assert session_id == ann.session_at(at.gateway)
                assert (await at.took(session_id))[n:] == [Took("message", f"message-{n}", text)]

    @in_a_loop
    async def test_a_repeated_message_is_no_error_and_is_taken_once(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            first = ann.says("message-1", "as it came first")
            again = replace(first, reply_token="another", sent_ms=at.gateway.now_ms())
            told = [await at.gateway.accept(one) for one in (first, first, again)]
            assert set(told) == {ann.session_at(at.gateway)}
            assert list(await at.took(told[0])) == [Took("message", "message-1", first.text)]

    @in_a_loop
    async def test_a_message_that_comes_many_times_at_once_is_taken_once(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            said = [ann.says(f"message-{n % 3}") for n in range(3 * AT_ONCE)]
            told = await asyncio.gather(*map(at.gateway.accept, said))
            assert set(told) == {ann.session_at(at.gateway)}
            took = await at.took(told[0])
            assert sorted(one.of for one in took) == ["message-0", "message-1", "message-2"]

    @in_a_loop
    async def test_the_same_id_in_another_conversation_is_another_message(
        self, host: Given
    ) -> None:
        async with entered(host) as at:
            ann, ben = somebody(at), somebody(at)
            for text, person in (("of ann", ann), ("of ben", ben)):
                session_id = await at.gateway.accept(person.says("message-1", text))
                assert list(await at.took(session_id)) == [Took("message", "message-1", text)]

    @in_a_loop
    async def test_who_hangs_up_and_asks_again_has_said_it_once(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for turns in range(5):
                said = ann.says(f"message-{turns}")
                asking = asyncio.create_task(at.gateway.accept(said))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                session_id = await at.gateway.accept(said)
                assert (await at.took(session_id))[turns:] == [Took("message", *_words(said))]

    @in_a_loop
    async def test_a_message_without_text_is_refused(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for n, text in enumerate(("", "  \t\n ", "\x00\x07")):
                with pytest.raises(Refused, match="text"):
                    await at.gateway.accept(ann.says(f"message-{n}", text))
            assert list(await at.took(ann.session_at(at.gateway))) == []

    @in_a_loop
    async def test_what_is_too_long_is_refused_by_name_and_what_just_fits_is_taken(
        self, host: Given
    ) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            most, most_quoted = MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
            too_long = {
                "text": ann.says("message-1", SECRET + "中" * (most // 3)),
                "quoted": replace(ann.says("message-1"), quoted=SECRET + "中" * (most_quoted // 3)),
            }
            for field, said in too_long.items():
                with pytest.raises(Refused, match=field) as refused:
                    await at.gateway.accept(said)
                assert SECRET not in str(refused.value), "a person's words are in no error"
            fits = replace(ann.says("message-1", '"' * most), quoted="\\" * most_quoted)
            session_id = await at.gateway.accept(fits)  # the id was not taken before
            assert list(await at.took(session_id)) == [Took("message", *_words(fits))]

    @in_a_loop
    async def test_whatever_is_sent_is_taken_or_refused(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for n, said in enumerate(_odd_messages(ann)):
                with suppress(Refused):
                    session_id = await at.gateway.accept(said)
                    assert isinstance(session_id, str), n
            for took in await at.took(ann.session_at(at.gateway)):
                assert is_well_formed(took.text)
            session_id = await at.gateway.accept(ann.says("message-last"))
            assert (await at.took(session_id))[-1].of == "message-last"

    # ---- whose session --------------------------------------------------------------------------

    @in_a_loop
    async def test_each_person_has_a_session_in_each_conversation(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            ids = [ann.conversation, ann.sender, "a", "ab", "b", "a\x1fb", "a:b", "", *ODD]
            both = [(one, other) for one in ids for other in ids]
            sessions = [ann._replace(conversation=c, sender=s) for c, s in both]
            found = [one.session_at(at.gateway) for one in sessions]
            assert len(set(found)) == len(both), "two people in one session"
            assert [one.session_at(at.gateway) for one in sessions] == found

    @in_a_loop
    async def test_another_account_is_refused(self, host: Given) -> None:
        async with entered(host) as at:
            stranger = somebody(at)._replace(account=f"{at.account}x")
            with pytest.raises(Refused, match="account"):
                stranger.session_at(at.gateway)
            with pytest.raises(Refused, match="account"):
                await at.gateway.accept(stranger.says("message-1"))
            ours = stranger._replace(account=at.account).session_at(at.gateway)
            assert list(await at.took(ours)) == []

    @in_a_loop
    async def test_a_session_id_names_its_account_and_hides_the_person(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = ann.session_at(at.gateway)
            assert session_id.isascii()
            assert session_id.isprintable()
            assert "/" not in session_id, "it parts a session's id from what is of the session"
            assert session_id.split(":")[1:2] == [at.account]
            for one in (ann.conversation, ann.sender):
                raw = one.encode()
                for form in (one, raw.hex(), base64.b64encode(raw).decode().rstrip("=")):
                    assert form.lower() not in session_id.lower()

    # ---- stops and verdicts ---------------------------------------------------------------------

    @in_a_loop
    async def test_a_repeated_stop_counts_once(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            reply = f"{session_id}/reply"
            for request in ("press-1", "press-1", "press-2"):
                await at.gateway.stop(session_id, reply_id=reply, request_id=request)
            at_once = [
                at.gateway.stop(session_id, reply_id=reply, request_id="press-3")
                for _ in range(AT_ONCE)
            ]
            await asyncio.gather(*at_once)
            assert (await at.took(session_id))[1:] == [Took("stop", reply)] * 3

    @in_a_loop
    async def test_a_repeated_verdict_counts_once_and_a_later_one_holds(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            reply = f"{session_id}/reply"
            for request, verdict in (("1", "up"), ("1", "up"), ("2", "down"), ("3", "up")):
                await at.gateway.feedback(
                    session_id, reply_id=reply, verdict=verdict, text="why", request_id=request
                )
            at_once = [
                at.gateway.feedback(
                    session_id, reply_id=reply, verdict="down", text="", request_id="4"
                )
                for _ in range(AT_ONCE)
            ]
            await asyncio.gather(*at_once)
            assert (await at.took(session_id))[1:] == [
                Took("up", reply, "why"),
                Took("down", reply, "why"),
                Took("up", reply, "why"),
                Took("down", reply),
            ]

    @in_a_loop
    async def test_an_equal_verdict_without_a_request_id_is_one(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            reply, other = f"{session_id}/reply", f"{session_id}/other"
            verdicts = [Took("up", reply), Took("up", reply, "why"), Took("down", reply, "why")]
            for one in (*verdicts, *verdicts, Took("up", other)):
                await at.gateway.feedback(
                    session_id, reply_id=one.of, verdict=one.what, text=one.text
                )
            assert (await at.took(session_id))[1:] == [*verdicts, Took("up", other)]

    @in_a_loop
    async def test_a_verdict_that_is_none_is_refused(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            for verdict, text, told in (
                ("", "", "verdict"),
                ("UP", "", "verdict"),
                ("up", SECRET + "中" * (QUOTED_TEXT_BYTES_MAX // 3), "feedback"),
            ):
                with pytest.raises(Refused, match=told) as refused:
                    await at.gateway.feedback(
                        session_id, reply_id=f"{session_id}/r", verdict=verdict, text=text
                    )
                assert SECRET not in str(refused.value)
            assert len(await at.took(session_id)) == 1

    @in_a_loop
    async def test_a_press_where_nobody_wrote_is_refused_and_makes_no_session(
        self, host: Given
    ) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            ours = ann.session_at(at.gateway)
            for session_id in (ours, "", "no session", "\ud800", f"x:{at.account}:k1:0"):
                with pytest.raises(Refused):
                    await at.gateway.stop(session_id, reply_id="r", request_id="press-1")
                with pytest.raises(Refused):
                    await at.gateway.feedback(session_id, reply_id="r", verdict="up", text="")
            assert list(await at.took(ours)) == []
            await at.gateway.accept(ann.says("message-1"))
            await at.gateway.stop(ours, reply_id=f"{ours}/r", request_id="press-1")
            assert [one.what for one in await at.took(ours)] == ["message", "stop"]

    @in_a_loop
    async def test_a_press_for_an_unknown_reply_is_taken_or_refused(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            for n, odd in enumerate(("", "no reply", f"{session_id}/0", LONG, *ODD)):
                with suppress(Refused):
                    await at.gateway.stop(session_id, reply_id=odd, request_id=f"{n}")
                with suppress(Refused):
                    await at.gateway.stop(session_id, reply_id="r", request_id=odd)
                with suppress(Refused):
                    await at.gateway.feedback(session_id, reply_id=odd, verdict="up", text="")
                with suppress(Refused):
                    await at.gateway.feedback(session_id, reply_id="r", verdict="up", text=odd)
            for took in await at.took(session_id):
                assert is_well_formed(took.of + took.text)
                assert len(took.of) < len(LONG), "no id of a reply is as long"
            await at.gateway.accept(ann.says("message-2"))
            assert (await at.took(session_id))[-1].of == "message-2"

    # ---- time -----------------------------------------------------------------------------------

    @in_a_loop
    async def test_time_never_goes_back(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            read = []
            for n in range(20):
                read += [at.gateway.now_ms() for _ in range(50)]
                await at.gateway.accept(ann.says(f"message-{n}"))
            assert all(isinstance(one, int) and one > 0 for one in read)
            assert read == sorted(read)


def _words(said: Incoming) -> tuple[str, str]:
    return said.message_id, said.text


def _odd_messages(ann: Person) -> list[Incoming]:
    """Each with something that no platform should send, and some do."""
    plain, found = ann.says("plain"), []
    for n, odd in enumerate(ODD):
        message = replace(plain, message_id=f"odd-{n}")
        found += [replace(message, text=odd), replace(message, text=f"seen {odd} seen")]
        found += [
            replace(plain, message_id=f"odd-{n}-{field}", **{field: odd})
            for field in ("quoted", "locale", "reply_token", "conversation", "sender")
        ]
        found += [replace(plain, message_id=f"{odd}-{n}"), replace(plain, message_id=odd)]
    for field in ("message_id", "conversation", "sender", "locale", "reply_token"):
        fields: dict[str, str] = {"message_id": f"long-{field}", field: LONG}
        found.append(replace(plain, **fields))
    for n, ms in enumerate((-1, 0, 1 << 40, 1 << 80)):
        found.append(replace(plain, message_id=f"time-{n}", sent_ms=ms))
        found.append(
            replace(plain, message_id=f"end-{n}", reply_token="token", reply_token_expires_ms=ms)
        )
    return [*found, replace(plain, message_id=""), replace(plain, conversation="", sender="")]
