"""A web chat client for tests: what a page does, without a page."""

import asyncio
import json
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.channel_tests.memory_host import Server

CONVERSATION = "conversation-1"


async def person(server: Server) -> str:
    """The Cookie header of a new person."""
    async with httpx.AsyncClient() as http:
        await http.post(f"{server.url}/api/person")
        return f"person={http.cookies['person']}"


class Client:
    """One socket of one person. `lines` holds every line that came, as it came."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.lines: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, server: Server, cookie: str, **settings: Any) -> "Client":
        headers = {"Cookie": cookie, **settings.pop("headers", {})}
        ws = await connect(server.ws_url, additional_headers=headers, **settings)
        return cls(ws)

    async def send(self, **frame: Any) -> None:
        await self.ws.send(json.dumps(frame))

    async def hello(self, after: int = 0, conversation: str = CONVERSATION) -> None:
        await self.send(type="hello", conversation=conversation, after=after)

    async def say(self, message_id: str, text: str, conversation: str = CONVERSATION) -> None:
        await self.send(type="message", conversation=conversation, id=message_id, text=text)

    async def next(self) -> dict[str, Any]:
        """The next frame; a test that waits for one in vain fails after five seconds."""
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.ws.recv(), 5))
        if frame["type"] == "line":
            self.lines.append(frame)
        return frame

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read on to the frame of this kind and with these fields."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and fields.items() <= frame.items():
                return frame

    async def close(self) -> None:
        await self.ws.close()
