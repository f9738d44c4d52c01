"""Rows: what a client may send that it should not. Web-chat frames, HTTP bodies, texts."""

import asyncio
import json

from engine.errors import Refused
from tests.bad_input.scene import CHAT, Row, Scene
from tests.channel_tests.clients import CONVERSATION, Client
from tests.channel_tests.memory_host import TOKEN

MESSAGE = {"type": "message", "conversation": CONVERSATION, "id": "message-0001", "text": "hi"}
MIB = 1024 * 1024


def body(**fields: object) -> bytes:
    return json.dumps({"id": "message-0001", "text": "hi", **fields}).encode()


# ---- web-chat frames -----------------------------------------------------------------------------


async def without_hello(scene: Scene) -> str:
    return await scene.frame(**{**MESSAGE, "conversation": "conversation-2"})


async def twenty_times(scene: Scene) -> str:
    for _ in range(20):
        await scene.client.ws.send("rubbish")
    told = ""
    while not told.startswith("closed"):
        told = await scene.told()
    return told


async def without_cookie(scene: Scene) -> str:
    client = await Client.open(scene.server, "")
    told = json.dumps(await client.next())
    await client.ws.wait_closed()
    return f"{told} {client.ws.close_code}"


async def forged_cookie(scene: Scene) -> str:
    name, _, signature = scene.cookie.partition(".")
    client = await Client.open(scene.server, f"{name[:-1]}f.{signature[::-1]}")
    told = json.dumps(await client.next())
    await client.ws.wait_closed()
    return f"{told} {client.ws.close_code}"


async def thirty_three(scene: Scene) -> str:
    for n in range(32):
        await scene.client.hello(conversation=f"conversation-number-{n}")
    return await scene.told()


async def from_another_log(scene: Scene) -> str:
    await scene.client.hello(after=10**9)
    return json.dumps(await scene.client.until("welcome"))


async def breaks_off(scene: Scene) -> str:
    """The line dies in the middle of a message: what was not acknowledged is sent again."""
    await scene.client.send(**MESSAGE)
    scene.client.ws.transport.abort()
    client = await Client.open(scene.server, scene.cookie)
    await client.hello()
    await client.send(**MESSAGE)
    told = json.dumps(await client.until("line", author="bot"))
    assert [line["author"] for line in client.lines] == ["user", "bot"]
    await client.close()
    return told


FRAMES = [
    Row(
        group="frames",
        wrong="no JSON",
        does=lambda scene: scene.raw("{rubbish"),
        told="bad_frame.*not valid JSON",
    ),
    Row(
        group="frames",
        wrong="a binary frame",
        does=lambda scene: scene.raw(b"\x00\xff"),
        told="bad_frame.*a binary frame: send JSON",
    ),
    Row(
        group="frames",
        wrong="a type that does not exist",
        does=lambda scene: scene.frame(type="shout"),
        told="bad_frame.*use one of hello, message",
    ),
    Row(
        group="frames",
        wrong="a list instead of an object",
        does=lambda scene: scene.raw("[1, 2]"),
        told="bad_frame",
    ),
    Row(
        group="frames",
        wrong="nested a hundred thousand deep",
        does=lambda scene: scene.raw("[" * 100_000),
        told="bad_frame",
    ),
    Row(
        group="frames",
        wrong="an id of other characters",
        does=lambda scene: scene.frame(**{**MESSAGE, "id": "../../etc"}),
        told="bad_frame.*field `id`",
    ),
    Row(
        group="frames",
        wrong="a message before its hello",
        does=without_hello,
        told="hello_first",
    ),
    Row(
        group="frames",
        wrong="rubbish twenty times in a row",
        does=twenty_times,
        told="closed 1008",
    ),
    Row(
        group="frames",
        wrong="a socket without a cookie",
        does=without_cookie,
        told="no_person.*POST /api/person.* 4401",
    ),
    Row(
        group="frames",
        wrong="a cookie that somebody made",
        does=forged_cookie,
        told="no_person.* 4401",
    ),
    Row(
        group="frames",
        wrong="thirty-three conversations on one socket",
        does=thirty_three,
        told="too_many_conversations",
    ),
    Row(
        group="frames",
        wrong="a hello after more lines than there are",
        does=from_another_log,
        told='"last": 0',
    ),
    Row(
        group="frames",
        wrong="stop for a reply of somebody else",
        does=lambda scene: _ignored(scene, type="stop", id="request-0001", reply="webchat:x/1"),
        told="ack",
        ends=("answered",),
    ),
    Row(
        group="frames",
        wrong="a verdict that is none",
        does=lambda scene: scene.frame(
            type="feedback", conversation=CONVERSATION, reply="r", verdict="meh"
        ),
        told="bad_frame.*up or down",
    ),
    Row(
        group="frames",
        wrong="the line dies before the acknowledgement",
        does=breaks_off,
        told='"text": "hi"',
        ends=("answered",),
    ),
]


async def _ignored(scene: Scene, **frame: str) -> str:
    before = {"type": "message", "id": "message-0000", "text": "hello"}
    await scene.client.send(conversation=CONVERSATION, **before)
    await scene.client.until("ack")
    await scene.client.send(conversation=CONVERSATION, **frame)
    return json.dumps(await scene.client.until("ack"))


# ---- HTTP bodies ---------------------------------------------------------------------------------


async def get(scene: Scene, path: str) -> str:
    answer = await scene.http.get(path)
    return f"{answer.status_code} {answer.text}"


async def nobody(scene: Scene) -> str:
    scene.http.headers.pop("cookie")
    return await scene.post(CHAT, body())


async def half_a_body(scene: Scene) -> str:
    """A client that promises a body and goes away."""
    _, writer = await asyncio.open_connection("127.0.0.1", scene.server.port)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nCookie: {scene.cookie}\r\nContent-Length: 500\r\n"
    writer.write(f"{head}\r\n{{".encode())
    await writer.drain()
    writer.close()
    return "nobody is there to be told"


HTTP = [
    Row(
        group="http",
        wrong="no JSON",
        does=lambda scene: scene.post(CHAT, b"id=1&text=hi"),
        told="^400.*not valid JSON",
    ),
    Row(
        group="http",
        wrong="a field is missing",
        does=lambda scene: scene.post(CHAT, b'{"id": "message-0001"}'),
        told="^400.*field `text`",
    ),
    Row(
        group="http",
        wrong="bytes that are no UTF-8",
        does=lambda scene: scene.post(CHAT, b'{"id": "message-0001", "text": "\xff\xfe"}'),
        told="^400.*UTF-8",
    ),
    Row(
        group="http",
        wrong="an operator's bytes that are no UTF-8",
        does=lambda scene: scene.post(
            "/api/operator/dead-letters/0:7/redrive",
            b'{"id": "\xff"}',
            authorization=f"Bearer {TOKEN}",
        ),
        told="^400.*UTF-8",
    ),
    Row(
        group="http",
        wrong="a number for a text",
        does=lambda scene: scene.post(CHAT, body(text=7)),
        told="^400.*field `text`",
    ),
    Row(
        group="http",
        wrong="no cookie",
        does=nobody,
        told="^401.*no_person",
    ),
    Row(
        group="http",
        wrong="a conversation that cannot be one",
        does=lambda scene: scene.post(CHAT.replace(CONVERSATION, "x"), body()),
        told="^400.*field `conversation`",
    ),
    Row(
        group="http",
        wrong="a page of another origin",
        does=lambda scene: scene.post(CHAT, body(), origin="https://evil.example"),
        told="^403.*another origin",
    ),
    Row(
        group="http",
        wrong="half a body, and gone",
        does=half_a_body,
        told="nobody",
    ),
    Row(
        group="http",
        wrong="a line number below zero",
        does=lambda scene: get(scene, f"/api/conversations/{CONVERSATION}/lines?after=-1"),
        told="^400.*field `after`",
    ),
    Row(
        group="http",
        wrong="an address that does not exist",
        does=lambda scene: get(scene, "/api/nothing"),
        told="^404",
    ),
    Row(
        group="http",
        wrong="the operators' list without their token",
        does=lambda scene: get(scene, "/api/operator/sessions"),
        told="^401.*token",
    ),
    Row(
        group="http",
        wrong="an operator speaks to nobody",
        does=lambda scene: scene.operator(
            "sessions/webchat:web:k1:x/say", {"id": "request-0001", "text": "hi"}
        ),
        told="^422.*operator list",
    ),
    Row(
        group="http",
        wrong="a dead letter that does not exist",
        does=lambda scene: scene.operator("dead-letters/0:7/redrive", {"id": "request-0001"}),
        told="^422.*there is no dead letter",
    ),
]

# ---- texts ---------------------------------------------------------------------------------------


async def half_a_character(scene: Scene) -> str:
    """Over the socket it is refused; a channel that lets it through finds it replaced."""
    return await scene.raw(json.dumps({**MESSAGE, "text": "half \ud83d"}))


async def half_a_character_inside(scene: Scene) -> str:
    return await scene.engine.ask("half \ud83d\x00\x1b[31m", to="conversation-2")


async def half_an_id(scene: Scene) -> str:
    try:
        return await scene.engine.say("hi", id="half-\ud83d-an-id", to="conversation-2")
    except Refused as error:
        return str(error)


TEXT = [
    Row(
        group="text",
        wrong="a megabyte over the socket",
        does=lambda scene: scene.say("x" * MIB),
        told="too_long.*at most",
    ),
    Row(
        group="text",
        wrong="five megabytes over the socket",
        does=lambda scene: scene.say("x" * 5 * MIB),
        told="closed 1009",
    ),
    Row(
        group="text",
        wrong="a megabyte over HTTP",
        does=lambda scene: scene.post(CHAT, body(text="x" * MIB)),
        told="^413.*too_long",
    ),
    Row(
        group="text",
        wrong="one byte more than a message may have",
        does=lambda scene: scene.say("x" * (16 * 1024 + 1)),
        told="too_long.*16385 bytes",
    ),
    Row(
        group="text",
        wrong="a quotation that is too long",
        does=lambda scene: scene.say("hi", quoted="字" * 3_000),
        told="too_long.*quoted.*9000 bytes",
    ),
    Row(
        group="text",
        wrong="half of a surrogate pair in JSON",
        does=half_a_character,
        told="bad_frame.*surrogates",
    ),
    Row(
        group="text",
        wrong="half of a surrogate pair from a channel that lets it through",
        does=half_a_character_inside,
        told="^half \ufffd\\[31m$",
        ends=("answered",),
    ),
    Row(
        group="text",
        wrong="half of a surrogate pair in a message's id",
        does=half_an_id,
        told="message id has .* halves of a character",
    ),
    Row(
        group="text",
        wrong="nothing but control characters",
        does=lambda scene: scene.say("\x00\x07\x1b"),
        told="refused.*no text",
    ),
    Row(
        group="text",
        wrong="control characters inside",
        does=lambda scene: scene.say("he\x00l\x1bl\x7fo\ttab\nline"),
        told=r'"text": "hello\\ttab\\nline"',
        ends=("answered",),
    ),
    Row(
        group="text",
        wrong="nothing but white space",
        does=lambda scene: scene.say(" \n\t\u3000"),
        told="bad_frame.*it is empty",
    ),
    Row(
        group="text",
        wrong="the longest message, which JSON doubles",
        does=lambda scene: scene.say('"\\' * (8 * 1024)),
        told='"how": "answered"',
        ends=("answered",),
    ),
]
ROWS = [*FRAMES, *HTTP, *TEXT]
