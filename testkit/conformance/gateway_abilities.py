"""The suites of what only some gateways can do: lines to read, a restart, a log that fails.

Each wants the fixture `host` of `GatewaySuite`, with a method or two more where `gateway_host`
says so. A gateway without lines is that of a channel whose platform keeps them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from msgspec.structs import replace

from engine.errors import Unavailable
from engine.limits import MESSAGE_AGE_MAX_MS
from engine.ports import Gateway, Line, SessionView
from testkit.conformance.gateway import AT_ONCE, ODD, WRITTEN, Given
from testkit.conformance.gateway_host import (
    FailingGatewayHost,
    RestartedGatewayHost,
    Took,
    is_well_formed,
    somebody,
)
from testkit.conformance.loop import LOOK_EVERY_S, WITHIN_S, entered, in_a_loop
from testkit.conformance.model_runner import SECRET

MANY = 1_000
TOLD_WITHIN_S = 2 * WITHIN_S
"""A client of a log that is away may wait for it; so may whoever asks, and no longer."""


class LinesGatewaySuite:
    """What a person reads of their conversation, where the host keeps its lines."""

    @in_a_loop
    async def test_before_the_first_message_there_is_nothing_to_read(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for session_id in (ann.session_at(at.gateway), "", "no session", "\ud800"):
                assert await at.gateway.view(session_id) is None
                for after in (-1, 0, 1, MANY):
                    assert await at.gateway.lines(session_id, after=after, limit=9) == []

    @in_a_loop
    async def test_a_person_reads_what_they_wrote_as_it_was_written(self, host: Given) -> None:
        async with entered(host) as at:
            ann, began_ms = somebody(at), at.gateway.now_ms()
            for n, text in enumerate(WRITTEN):
                await at.gateway.accept(ann.says(f"message-{n}", text))
            session_id = ann.session_at(at.gateway)
            lines = await _read(at.gateway, session_id, f"message-{len(WRITTEN) - 1}")
            own = [line for line in lines if line.author == "user"]
            assert [(line.id, line.text) for line in own] == [
                (f"message-{n}", text) for n, text in enumerate(WRITTEN)
            ]
            for line in own:
                assert line.session_id == session_id
                assert line.how == ""
                assert began_ms <= line.at_ms <= at.gateway.now_ms()

    @in_a_loop
    async def test_lines_are_numbered_without_gaps_and_never_change(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            before: list[Line] = []
            for n in range(4):
                session_id = await at.gateway.accept(ann.says(f"message-{n}"))
                lines = await _read(at.gateway, session_id, f"message-{n}")
                assert [line.n for line in lines] == list(range(1, len(lines) + 1))
                assert len({line.id for line in lines}) == len(lines)
                assert lines[: len(before)] == before
                before = lines

    @in_a_loop
    async def test_a_page_begins_after_a_line_and_ends_at_the_limit(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for n in range(6):
                session_id = await at.gateway.accept(ann.says(f"message-{n}"))
            whole = await _read(at.gateway, session_id, "message-5")
            for after in range(-1, len(whole) + 3):
                for limit in (1, 2, 5, MANY):
                    page = await at.gateway.lines(session_id, after=after, limit=limit)
                    # An answer may come meanwhile, behind what was there.
                    first = max(after, 0)
                    assert page[: len(whole) - first] == whole[first:][:limit]
                    assert [line.n for line in page] == [first + 1 + n for n in range(len(page))]
                    assert len(page) <= limit

    @in_a_loop
    async def test_a_repeated_message_has_one_line(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for message_id in ("message-1", "message-1", "message-2", "message-1", "message-3"):
                session_id = await at.gateway.accept(ann.says(message_id))
            lines = await _read(at.gateway, session_id, "message-3")
            own = [line.id for line in lines if line.author == "user"]
            assert own == ["message-1", "message-2", "message-3"]

    @in_a_loop
    async def test_a_line_holds_no_control_characters_and_no_halves(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            for n, odd in enumerate(ODD):
                await at.gateway.accept(ann.says(f"message-{n}", f"seen {odd} seen"))
            session_id = ann.session_at(at.gateway)
            lines = await _read(at.gateway, session_id, f"message-{len(ODD) - 1}")
            own = [line.text for line in lines if line.author == "user"]
            assert len(own) == len(ODD)
            for text in own:
                assert text.startswith("seen ")
                assert text.endswith(" seen")
                assert is_well_formed(text)

    @in_a_loop
    async def test_nobody_reads_another_s_lines(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            ben, elsewhere = ann._replace(sender="ben"), ann._replace(conversation="elsewhere")
            people = {"of ann": ann, "of ben": ben._replace(conversation=somebody(at).sender)}
            people["of ann elsewhere"] = elsewhere._replace(sender=somebody(at).sender)
            for text, person in people.items():
                await at.gateway.accept(person.says("message-1", text))
            for text, person in people.items():
                lines = await _read(at.gateway, person.session_at(at.gateway), "message-1")
                assert [line.text for line in lines if line.author == "user"] == [text]

    @in_a_loop
    async def test_what_was_sent_too_long_ago_is_read_as_too_late(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            sent_ms = at.gateway.now_ms() - MESSAGE_AGE_MAX_MS
            told = {"late": sent_ms - 60_000, "in time": sent_ms + 60_000, "ahead": 1 << 50}
            for text, ms in told.items():
                said = replace(ann.says(text, text), sent_ms=ms)
                session_id = await at.gateway.accept(said)
            lines = await _read(at.gateway, session_id, "ahead")
            how = {line.text: line.how for line in lines if line.author == "user"}
            assert how == {"late": "expired", "in time": "", "ahead": ""}

    @in_a_loop
    async def test_the_view_is_the_session_as_its_person_may_see_it(self, host: Given) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            view = await _seen(at.gateway, session_id)
            assert view.session_id == session_id
            assert view.state
            assert (type(view.busy), view.person) == (bool, False)
            assert {frame.reply_id for frame in view.frames} <= set(view.replies)


class RestartedGatewaySuite:
    """What holds over a restart. `host`: see `RestartedGatewayHost`."""

    @in_a_loop
    async def test_what_was_taken_is_there_and_is_not_taken_again(
        self, host: RestartedGatewayHost | AbstractAsyncContextManager[RestartedGatewayHost]
    ) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            await at.restart()
            assert list(await at.took(session_id)) == [Took("message", "message-1", "hello")]
            assert ann.session_at(at.gateway) == session_id
            assert await at.gateway.accept(ann.says("message-1")) == session_id
            assert await at.gateway.accept(ann.says("message-2")) == session_id
            took = await at.took(session_id)
            assert [one.of for one in took] == ["message-1", "message-2"]

    @in_a_loop
    async def test_a_press_from_before_is_not_counted_again(
        self, host: RestartedGatewayHost | AbstractAsyncContextManager[RestartedGatewayHost]
    ) -> None:
        async with entered(host) as at:
            session_id = await at.gateway.accept(somebody(at).says("message-1"))
            await _press(at.gateway, session_id)
            await _seen(at.gateway, session_id)  # who presses has seen a reply
            await at.restart()
            await _press(at.gateway, session_id)
            reply = f"{session_id}/r"
            expected = [Took("stop", reply), Took("up", reply), Took("down", reply)]
            assert (await at.took(session_id))[1:] == expected

    @in_a_loop
    async def test_lines_and_time_go_on_where_they_were(
        self, host: RestartedGatewayHost | AbstractAsyncContextManager[RestartedGatewayHost]
    ) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            before = await _read(at.gateway, session_id, "message-1")
            was_ms = at.gateway.now_ms()
            await at.restart()
            assert at.gateway.now_ms() >= was_ms
            await at.gateway.accept(ann.says("message-1"))
            await at.gateway.accept(ann.says("message-2"))
            lines = await _read(at.gateway, session_id, "message-2")
            assert lines[: len(before)] == before
            assert [line.n for line in lines] == list(range(1, len(lines) + 1))
            own = [line.id for line in lines if line.author == "user"]
            assert own == ["message-1", "message-2"]


class FailingGatewaySuite:
    """What holds while nothing can become durable. `host`: see `FailingGatewayHost`."""

    @in_a_loop
    async def test_what_cannot_become_durable_is_unavailable_and_is_taken_once_later(
        self, host: FailingGatewayHost | AbstractAsyncContextManager[FailingGatewayHost]
    ) -> None:
        async with entered(host) as at:
            ann = somebody(at)
            session_id = await at.gateway.accept(ann.says("message-1"))
            await _seen(at.gateway, session_id)
            asked: list[Callable[[], Awaitable[object]]] = [
                *[lambda: at.gateway.accept(ann.says("message-2", SECRET))] * AT_ONCE,
                lambda: at.gateway.accept(ann.says("message-3", SECRET)),
                lambda: at.gateway.stop(session_id, reply_id=f"{session_id}/r", request_id="1"),
                lambda: at.gateway.feedback(
                    session_id, reply_id=f"{session_id}/r", verdict="up", text="", request_id="2"
                ),
            ]
            await at.fail()
            async with asyncio.timeout(TOLD_WITHIN_S):
                for told in await asyncio.gather(*(ask() for ask in asked), return_exceptions=True):
                    assert isinstance(told, Unavailable), repr(told)
                    assert SECRET not in str(told), "a person's words are in no error"
                    assert told.retry_after_ms > 0
            with pytest.raises(Unavailable):  # somebody else's first message
                async with asyncio.timeout(TOLD_WITHIN_S):
                    await at.gateway.accept(somebody(at).says("message-1"))
            await at.mend()
            # A log that was cut off may have taken it all the same: then it counts already.
            meanwhile = list(await at.took(session_id))
            assert len(set(meanwhile)) == len(meanwhile), meanwhile
            for ask in asked:
                await ask()
            took = list(await at.took(session_id))
            reply = f"{session_id}/r"
            assert sorted(took) == sorted(
                [
                    Took("message", "message-1", "hello"),
                    Took("message", "message-2", SECRET),
                    Took("message", "message-3", SECRET),
                    Took("stop", reply),
                    Took("up", reply),
                ]
            )


async def _press(gateway: Gateway, session_id: str) -> None:
    """Stop a reply, and judge it twice."""
    reply = f"{session_id}/r"
    await gateway.stop(session_id, reply_id=reply, request_id="press-1")
    await gateway.feedback(session_id, reply_id=reply, verdict="up", text="", request_id="press-2")
    await gateway.feedback(session_id, reply_id=reply, verdict="down", text="")


async def _read(gateway: Gateway, session_id: str, last: str) -> list[Line]:
    """All lines, once the one of this id is among them: it is committed after its message is."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            lines = await gateway.lines(session_id, after=0, limit=MANY)
            if any(line.id == last for line in lines):
                return lines
            await asyncio.sleep(LOOK_EVERY_S)


async def _seen(gateway: Gateway, session_id: str) -> SessionView:
    """The session's view, once there is one."""
    async with asyncio.timeout(WITHIN_S):
        while (view := await gateway.view(session_id)) is None:
            await asyncio.sleep(LOOK_EVERY_S)
        return view
