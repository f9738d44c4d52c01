"""A running engine, its server, and one client: what a row of the table does its wrong thing to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed

from tests.channel_tests.clients import CONVERSATION, Client, person
from tests.channel_tests.memory_host import TOKEN
from tests.host_tests.engines import Engine, EngineServer, serving

CHAT = f"/api/conversations/{CONVERSATION}/messages"
NEXT = "the next message"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`told` collects what the client was told."""

    data: Path
    engine: Engine
    server: EngineServer
    client: Client
    cookie: str
    http: httpx.AsyncClient

    async def frame(self, **frame: Any) -> str:
        """Send a frame; the answer that is an error or a line of the bot, as JSON."""
        await self.client.send(**frame)
        return await self.told()

    async def raw(self, data: str | bytes) -> str:
        """Send this instead of a frame; the answer, or how the socket was closed."""
        await self.client.ws.send(data)
        return await self.told()

    async def told(self) -> str:
        """The next error or line of the bot, or how the socket was closed."""
        try:
            while True:
                frame = await self.client.next()
                if frame["type"] == "error" or frame.get("author") in ("bot", "operator"):
                    return json.dumps(frame, ensure_ascii=False)
        except ConnectionClosed as closed:
            return f"closed {closed.rcvd.code if closed.rcvd else 1006}"

    async def say(self, text: str, **more: Any) -> str:
        """Say it over the socket; what was told then."""
        message = {"type": "message", "conversation": CONVERSATION, "id": "the-wrong-one"}
        return await self.frame(**{**message, "text": text, **more})

    async def post(self, path: str, content: bytes | str, **headers: str) -> str:
        """Status and body of the answer."""
        answer = await self.http.post(path, content=content, headers=headers)
        return f"{answer.status_code} {answer.text}"

    async def operator(self, path: str, body: object) -> str:
        """The same, as an operator."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = await self.http.post(f"/api/operator/{path}", json=body, headers=headers)
        return f"{answer.status_code} {answer.text}"

    async def is_answered(self) -> None:
        """The client's next message, over a socket of its own, gets its answer."""
        client = await Client.open(self.server, self.cookie)
        await client.hello()
        await client.say("the-next-message", NEXT)
        line = await client.until("line", author="bot", text=NEXT)
        assert line["how"] == "answered"
        numbers = [line["n"] for line in client.lines]
        assert numbers == list(range(1, len(numbers) + 1))
        await client.close()


Does = Callable[[Scene], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One wrong thing. `told`: found in what its doer was told. `ends`: how its messages ended.

    `engine`: how the engine is made (a callable where that must be new for each). `skills`: by name
    in `tests.skill_tests.rogues`. `letters`: records that were set aside.
    """

    group: str
    wrong: str
    does: Does
    told: str
    ends: tuple[str, ...] = ()
    engine: Callable[[], dict[str, Any]] = field(default=dict)
    skills: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.group}: {self.wrong}"


@asynccontextmanager
async def playing(data: Path, engine: Engine) -> AsyncIterator[Scene]:
    """The scene on a started engine."""
    async with serving(engine) as server:
        cookie = await person(server)
        client = await Client.open(server, cookie, max_size=None, close_timeout=0.5)
        await client.hello()
        await client.until("state")
        headers = {"cookie": cookie}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
            yield Scene(
                data=data, engine=engine, server=server, client=client, cookie=cookie, http=http
            )
        await client.close()
