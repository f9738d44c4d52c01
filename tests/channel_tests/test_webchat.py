"""The web chat channel over a real server, as its clients see it."""

import asyncio
import json
import random

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from adapters.channels.webchat import SOCKETS_OF_A_PERSON_MAX, STOP_WITHIN_S
from adapters.channels.webchat_socket import ANSWERS_MAX
from adapters.channels.webchat_wire import RUBBISH_MAX
from engine.errors import Unavailable
from engine.events import Address
from engine.ports import Channel, Delivery, Frame, Line
from tests.channel_tests.clients import CONVERSATION, Client, person
from tests.channel_tests.memory_host import MemoryHost, Server


async def started(server: Server) -> Client:
    """A new person's socket, past its hello."""
    client = await Client.open(server, await person(server))
    await client.hello()
    await client.until("state")
    return client


async def test_a_message_is_acknowledged_streamed_and_answered(server: Server) -> None:
    client = await started(server)
    await client.say("message-1", "hello there")
    kinds = []
    while len(client.lines) < 2:
        kinds.append((await client.next())["type"])
    assert {"ack", "line", "frame", "state"} <= set(kinds)
    assert [(line["n"], line["author"]) for line in client.lines] == [(1, "user"), (2, "bot")]
    assert client.lines[0]["id"] == "message-1"
    assert client.lines[1]["html"] == "<p>You said: hello there</p>\n"
    assert (await client.until("state"))["state"] == "bot.listening"
    await client.close()


async def test_a_hello_is_answered_by_welcome_lines_state_and_open_frames(
    server: Server, host: MemoryHost
) -> None:
    host.hold.clear()
    client = await started(server)
    await client.say("message-1", "hello")
    await client.until("frame", n=3)
    await client.hello(after=0)
    got = [await client.until("welcome")]
    while got[-1]["type"] != "frame":
        got.append(await client.next())
    assert [frame["type"] for frame in got] == ["welcome", "line", "state", "frame"]
    assert got[0]["last"] == 0
    assert got[2]["busy"]
    assert got[3]["text"] == "You said: hello"
    await client.close()


async def test_an_ack_comes_only_after_the_message_is_durable(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    host.down = 1
    await client.say("message-1", "hello")
    error = await client.until("error")
    assert (error["code"], error["id"]) == ("unavailable", "message-1")
    assert error["retry_after_ms"] == 50
    assert host.accepted == []
    await client.say("message-1", "hello")
    await client.until("ack", id="message-1")
    assert host.accepted == ["message-1"]
    await client.close()


async def test_what_the_host_refuses_is_told_and_the_next_message_is_answered(
    server: Server,
) -> None:
    client = await started(server)
    await client.say("message-1", "nul \x00")
    error = await client.until("error")
    assert (error["code"], error["id"]) == ("refused", "message-1")
    await client.say("message-2", "fine")
    await client.until("ack", id="message-2")
    await client.close()


async def test_a_message_sent_again_is_acknowledged_again_and_taken_once(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    for _ in range(3):
        await client.say("message-1", "hello")
        await client.until("ack", id="message-1")
    await client.until("line", n=2)
    assert host.accepted == ["message-1"]
    await client.close()


async def test_stop_ends_the_reply_with_what_was_shown(server: Server, host: MemoryHost) -> None:
    host.hold.clear()
    client = await started(server)
    await client.say("message-1", "one two three")
    shown = await client.until("frame", n=5)
    await client.send(type="stop", conversation=CONVERSATION, reply=shown["reply"], id="request-1")
    line = await client.until("line", author="bot")
    assert (line["how"], line["text"], line["id"]) == ("stopped", shown["text"], shown["reply"])
    assert host.stops == ["request-1"]
    await client.close()


async def test_feedback_reaches_the_host(server: Server, host: MemoryHost) -> None:
    client = await started(server)
    await client.say("message-1", "hello")
    line = await client.until("line", author="bot")
    await client.send(
        type="feedback", conversation=CONVERSATION, reply=line["id"], verdict="up", text=""
    )
    await client.send(type="ping")
    await client.until("pong")
    assert host.verdicts == [(line["id"], "up")]
    for number, verdict in enumerate(("down", "up")):
        await client.send(
            type="feedback",
            conversation=CONVERSATION,
            reply=line["id"],
            verdict=verdict,
            id=f"verdict-{number}",
        )
        await client.until("ack", id=f"verdict-{number}")
    assert [verdict for _, verdict in host.verdicts] == ["up", "down", "up"]
    assert host.judgements == ["", "verdict-0", "verdict-1"]
    await client.close()


async def test_where_nobody_wrote_there_is_nothing_to_stop_or_to_judge(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    await client.send(type="stop", conversation=CONVERSATION, reply="r", id="request-1")
    error = await client.until("error")
    assert (error["code"], error["id"]) == ("refused", "request-1")
    assert error["text"] == "nobody has written in this conversation yet: send a message first"
    await client.send(type="feedback", conversation=CONVERSATION, reply="r", verdict="up")
    assert (await client.until("error"))["code"] == "refused"
    assert host.sessions == {}
    await client.close()


async def test_the_host_is_told_when_a_message_was_sent(server: Server, host: MemoryHost) -> None:
    client = await Client.open(server, await person(server))
    await client.hello()
    now_ms = (await client.until("welcome"))["now_ms"]
    assert now_ms == host.now_ms()
    fields = {"type": "message", "conversation": CONVERSATION, "text": "hello"}
    await client.send(**fields, id="message-1", sent_ms=now_ms - 5)
    await client.until("ack")
    await client.send(**fields, id="message-2")
    await client.until("ack")
    assert [one.sent_ms for one in host.incoming] == [now_ms - 5, None]
    for rubbish in (-1, 2**60, 1.5, "now"):
        await client.send(**fields, id="message-3", sent_ms=rubbish)
        error = await client.until("error")
        assert error["code"] == "bad_frame"
        assert "`sent_ms`" in error["text"]
    await client.close()


async def test_a_person_has_so_many_sockets_and_no_more(server: Server) -> None:
    cookie = await person(server)
    clients = [await Client.open(server, cookie) for _ in range(SOCKETS_OF_A_PERSON_MAX)]
    for client in clients:
        await client.hello()
        await client.until("state")
    one_more = await Client.open(server, cookie)
    with pytest.raises(ConnectionClosed) as closed:
        await one_more.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    await (await started(server)).close()  # another person is let in
    await clients.pop().close()
    async with asyncio.timeout(5):
        while server.chat.watchers >= SOCKETS_OF_A_PERSON_MAX:
            await asyncio.sleep(0.01)
    again = await Client.open(server, cookie)
    await again.hello()
    await again.until("state")
    for client in [*clients, again]:
        await client.close()


async def test_two_tabs_see_the_same_conversation(server: Server) -> None:
    cookie = await person(server)
    tabs = [await Client.open(server, cookie), await Client.open(server, cookie)]
    for tab in tabs:
        await tab.hello()
        await tab.until("state")
    await tabs[0].say("message-1", "from one")
    await tabs[1].say("message-2", "from two")
    for tab in tabs:
        await tab.until("line", n=4)
        await tab.close()
    assert tabs[0].lines == tabs[1].lines


async def test_another_person_cannot_reach_a_conversation(server: Server) -> None:
    client = await started(server)
    await client.say("message-1", "secret")
    await client.until("line", n=2)
    other = await started(server)
    assert other.lines == []
    await other.say("message-1", "mine")
    await other.until("line", n=2)
    assert "secret" not in json.dumps(other.lines)
    await client.close()
    await other.close()


@pytest.mark.parametrize("cookie", ["", "person=", "person=" + "a" * 32, "person=x.y", "person=%%"])
async def test_without_our_cookie_a_socket_is_told_what_to_do(server: Server, cookie: str) -> None:
    client = await Client.open(server, cookie)
    assert (await client.until("error"))["code"] == "no_person"
    with pytest.raises(ConnectionClosed) as closed:
        await client.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_a_forged_signature_is_no_cookie(server: Server) -> None:
    name, _, signature = (await person(server)).partition(".")
    forged = f"{name}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}"
    client = await Client.open(server, forged)
    assert (await client.until("error"))["code"] == "no_person"


async def test_a_page_of_another_origin_cannot_open_a_socket(server: Server) -> None:
    cookie = await person(server)
    with pytest.raises(InvalidStatus):
        await Client.open(server, cookie, headers={"Origin": "https://evil.example"})
    client = await Client.open(server, cookie, headers={"Origin": server.url})
    await client.hello()
    await client.until("welcome")
    await client.close()


async def test_rubbish_is_answered_and_only_when_repeated_ends_the_socket(server: Server) -> None:
    client = await started(server)
    for rubbish in ("junk", b"\x00", "x" * 1_000_000, '{"type":"message"}'):
        await client.ws.send(rubbish)
        assert (await client.until("error"))["code"] in ("bad_frame", "too_long")
    await client.say("message-1", "still here")
    await client.until("ack", id="message-1")
    for _ in range(RUBBISH_MAX):
        await client.ws.send("junk")
    with pytest.raises(ConnectionClosed) as closed:
        await client.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_a_client_that_has_more_lines_than_the_log_starts_anew(server: Server) -> None:
    client = await started(server)
    await client.say("message-1", "hello")
    await client.until("line", n=2)
    await client.hello(after=700)
    assert (await client.until("welcome"))["last"] == 0
    await client.until("line", n=2)
    await client.close()


async def test_a_long_conversation_comes_in_pages_without_a_hole(
    server: Server, host: MemoryHost
) -> None:
    cookie = await person(server)
    sender = cookie.removeprefix("person=").partition(".")[0]
    await host.accept(incoming(sender, "message-0", "human"))
    (session,) = host.sessions.values()
    for n in range(350):
        host.write(session, f"written-{n}", "user", f"line {n}")
    client = await Client.open(server, cookie)
    await client.hello()
    while not client.lines or client.lines[-1]["n"] < 351:
        await client.next()
    assert [line["n"] for line in client.lines] == list(range(1, len(client.lines) + 1))
    await client.close()


async def test_lines_written_during_the_hello_come_once(server: Server, host: MemoryHost) -> None:
    """The race between reading the log and being told: a line is written inside each read."""
    client = await started(server)
    await client.say("message-1", "hello")
    await client.until("line", n=2)
    (session,) = host.sessions.values()
    left = 12

    def write(_: str) -> None:
        nonlocal left
        if left:
            left -= 1
            host.write(session, f"during-{left}", "user", "raced")

    host.before_lines = write
    client.lines.clear()
    await client.hello(after=0)
    while not client.lines or client.lines[-1]["n"] < 3:
        await client.next()
    while left:
        await client.hello(after=client.lines[-1]["n"])
        await client.until("welcome")
        await client.until("state")
    await client.send(type="ping")
    await client.until("pong")
    await client.hello(after=0)
    await client.until("welcome")
    client.lines.clear()
    await client.until("line", n=14)
    assert [line["n"] for line in client.lines] == list(range(1, 15))
    await client.close()


async def test_a_server_that_closes_tells_its_clients_to_come_back(server: Server) -> None:
    client = await started(server)
    await server.stop()
    with pytest.raises(ConnectionClosed) as closed:
        await client.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_a_message_in_hand_is_acknowledged_before_the_server_closes(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    host.commit.clear()
    await client.say("message-1", "in hand")
    await client.say("message-2", "not taken any more")
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(server.chat.close())
    await asyncio.sleep(0.1)
    assert not closing.done()
    host.commit.set()
    assert (await client.until("ack"))["id"] == "message-1"
    with pytest.raises(ConnectionClosed) as closed:
        await client.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    await closing
    assert host.accepted == ["message-1"]


async def test_a_client_that_reads_nothing_does_not_keep_the_server_from_closing(
    server: Server, host: MemoryHost
) -> None:
    client = await Client.open(server, await person(server), max_queue=1, compression=None)
    await client.hello()
    await client.until("state")
    await client.say("message-1", "hello")
    await client.until("line", n=2)
    (session,) = host.sessions.values()
    for n in range(300):  # far over every buffer between the two
        host.write(session, f"written-{n}", "bot", "x" * 20_000)
    for _ in range(ANSWERS_MAX + 2):
        await client.send(type="ping")
    (socket,) = server.chat._sockets
    async with asyncio.timeout(5):
        while len(socket._answers) < ANSWERS_MAX:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(STOP_WITHIN_S + 5):
        await server.chat.close()
    assert socket.closed.is_set()
    client.ws.transport.abort()


async def test_a_message_that_never_becomes_durable_does_not_keep_the_server_from_closing(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    host.commit.clear()
    await client.say("message-1", "never durable")
    await asyncio.sleep(0.1)
    async with asyncio.timeout(STOP_WITHIN_S + 5):
        await server.chat.close()
    host.commit.set()
    await client.until("ack")  # late, and no harm


async def test_a_channel_that_is_closed_sends_new_clients_away_to_come_back(
    server: Server,
) -> None:
    cookie = await person(server)
    await server.chat.close()
    client = await Client.open(server, cookie)
    with pytest.raises(ConnectionClosed) as closed:
        await client.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_a_log_that_cannot_be_read_for_a_moment_costs_no_line(
    server: Server, host: MemoryHost
) -> None:
    client = await started(server)
    await client.say("message-1", "hello")
    await client.until("line", n=2)
    failures = 3

    def fail(_: str) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unavailable("the disk is busy", retry_after_ms=20)

    host.before_lines = fail
    client.lines.clear()
    await client.hello(after=0)
    await client.until("line", n=2)
    assert [line["n"] for line in client.lines] == [1, 2]
    await client.close()


@pytest.mark.parametrize("seed", range(4))
async def test_no_line_is_lost_or_doubled_over_deaths_restarts_and_reconnects(
    server: Server, host: MemoryHost, seed: int
) -> None:
    """One client that reconnects whenever it must, or feels like it, and resends until acked."""
    chance = random.Random(seed)
    cookie = await person(server)
    lines: list[int] = []
    unacked = {f"message-{n}": f"text {n}" for n in range(12)}

    async def talk() -> None:
        client = await Client.open(server, cookie)
        await client.hello(after=len(lines))
        leave_after = chance.randrange(2, 60)
        for message_id, text in list(unacked.items())[:3]:
            await client.say(message_id, text)
        for _ in range(leave_after):
            frame = await client.next()
            if frame["type"] == "line":
                lines.append(frame["n"])
            elif frame["type"] == "ack":
                unacked.pop(frame["id"], None)
            if not unacked and len(lines) >= 24:
                break
        client.ws.transport.abort()

    async def disturb() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.2))
            await (server.die() if chance.random() < 0.7 else server.stop())
            await server.start()

    disturbance = asyncio.create_task(disturb())
    try:
        async with asyncio.timeout(30):
            while unacked or len(lines) < 24:
                try:
                    await talk()
                except (OSError, ConnectionClosed, EOFError, TimeoutError, InvalidHandshake):
                    await asyncio.sleep(0.01)
    finally:
        disturbance.cancel()
        await asyncio.gather(disturbance, return_exceptions=True)
    assert lines == list(range(1, 25))
    assert sorted(host.accepted) == sorted(f"message-{n}" for n in range(12))


async def test_a_reader_that_stops_reading_costs_little_and_misses_nothing(
    server: Server, host: MemoryHost
) -> None:
    cookie = await person(server)
    client = await Client.open(server, cookie, max_queue=1, compression=None)
    await client.hello()
    await client.until("state")
    await client.say("message-1", "hello")
    await client.until("line", n=2)
    (session,) = host.sessions.values()
    for n in range(300):  # about 12 MB, far over every buffer between the two
        host.write(session, f"written-{n}", "bot", "x" * 20_000)
        for k in range(5):
            frame = Frame(reply_id=f"r{n}", session_id=session.id, attempt=0, n=k, text="y")
            server.chat.show(frame)
        if n % 50 == 0:
            await asyncio.sleep(0)
    (socket,) = server.chat._sockets
    (follower,) = socket.followers.values()
    assert len(follower._held) + len(follower._frames) < 100
    while client.lines[-1]["n"] < 302:
        await client.next()
    assert [line["n"] for line in client.lines] == list(range(1, 303))
    client.ws.transport.abort()  # a close would wait for what it does not read


async def test_many_conversations_share_a_socket(server: Server) -> None:
    client = await started(server)
    for n in range(8):
        await client.hello(conversation=f"conversation-{n}")
        await client.say("message-1", f"text {n}", conversation=f"conversation-{n}")
    done = set()
    while len(done) < 8:
        frame = await client.next()
        if frame["type"] == "line" and frame["author"] == "bot":
            assert frame["text"] == f"You said: text {frame['conversation'][-1]}"
            done.add(frame["conversation"])
    await client.close()


async def test_the_channel_keeps_the_port_s_contract(server: Server) -> None:
    channel: Channel = server.chat
    assert (channel.kind, channel.account, channel.idempotent) == ("webchat", "web", True)
    delivery = Delivery(
        reply_id="r",
        session_id="nobody",
        cause="c",
        kind="message",
        address=Address(channel="webchat", account="web", conversation="c", sender="s"),
        state="sending",
        text="hi",
    )
    for _ in range(2):
        assert (await channel.send(delivery)).platform_ids == ("r",)
    channel.show(Frame(reply_id="r", session_id="nobody", attempt=0, n=0, text=""))
    channel.wrote([Line(session_id="nobody", id="x", author="bot", text="x", at_ms=0, n=1)])


def incoming(sender: str, message_id: str, text: str):  # type: ignore[no-untyped-def]
    from engine.ports import Incoming

    return Incoming(
        account="web", conversation=CONVERSATION, sender=sender, message_id=message_id, text=text
    )
