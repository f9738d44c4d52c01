"""Web chat's platform for the channel's suites: browsers, over the real server and a real port.

Each person has a cookie and a socket that follows their conversation, and shows what came over it.
A message goes over that socket, or over its HTTP twin. What it never does: keep what a page would
not; who reconnects says hello with the last line it has.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import httpx
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from adapters.channels.webchat import WebChat
from console.http.app import Parts, make_app
from console.http.serve import Server, config
from testkit.conformance import Handed, Sight, Wrote
from tests.channel_tests.memory_host import KEY, TOKEN, MemoryHost

ANSWERED_WITHIN_S = 10

KEEPS = ("unavailable", "internal", "hello_first")
"""Errors after which a page keeps the message and sends it again."""


def handed(answer: dict[str, Any] | None) -> Handed:
    """What an answer of the server's means to a page; None: the connection ended."""
    if answer is None:
        return Handed("kept")
    if answer["type"] == "ack":
        return Handed("acknowledged")
    return Handed("kept" if answer["code"] in KEEPS else "refused", answer["text"])


class Browser:
    """One person's page: its cookie, its socket, and the bot's messages that it shows."""

    def __init__(self, port: int, person: str) -> None:
        self.conversation = f"conversation-of-{person}"
        self.cards: dict[str, Sight] = {}
        self._port = port
        self._cookie = ""
        self._ws: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[tuple[str | None, asyncio.Future[dict[str, Any] | None]]] = []
        self._last = 0
        self._opening = asyncio.Lock()  # a page has one socket, and sends in the order it is told

    async def send(self, payload: bytes, *, answers: str | None) -> Handed:
        """Send a frame, and wait for the answer to this id."""
        try:
            ws = await self.open()
            answer = asyncio.get_running_loop().create_future()
            self._waiting.append((answers, answer))
            try:
                await ws.send(payload.decode())
            except UnicodeDecodeError:
                await ws.send(payload)
        except (OSError, ConnectionClosed):
            return Handed("kept")
        return handed(await asyncio.wait_for(answer, ANSWERED_WITHIN_S))

    async def post(self, path: str, payload: bytes) -> Handed:
        """The same over HTTP."""
        with suppress(OSError, ConnectionClosed):
            await self.open()  # a page follows its conversation, whatever way it sends
        try:
            async with httpx.AsyncClient(timeout=ANSWERED_WITHIN_S, verify=False) as http:
                url = f"http://127.0.0.1:{self._port}{path}"
                answer = await http.post(url, content=payload, headers={"Cookie": self._cookie})
        except httpx.HTTPError:
            return Handed("kept")
        return handed(answer.json())

    async def open(self) -> ClientConnection:
        """Its socket, opened again where it has ended."""
        async with self._opening:
            if self._ws is None or self._reading is None or self._reading.done():
                self._ws = await self._opened()
            return self._ws

    async def _opened(self) -> ClientConnection:
        if not self._cookie:
            async with httpx.AsyncClient(verify=False) as http:
                await http.post(f"http://127.0.0.1:{self._port}/api/person")
                self._cookie = f"person={http.cookies['person']}"
        url = f"ws://127.0.0.1:{self._port}/ws/chat"
        ws = await connect(url, additional_headers={"Cookie": self._cookie})
        self._reading = asyncio.create_task(self._read(ws))
        hello = {"type": "hello", "conversation": self.conversation, "after": self._last}
        await ws.send(json.dumps(hello))
        return ws

    async def close(self) -> None:
        if self._ws is not None:
            await self._ws.close()
        if self._reading is not None:
            await self._reading

    async def _read(self, ws: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                self._take(json.loads(await ws.recv()))
        for _, answer in self._waiting:
            answer.set_result(None)
        self._waiting.clear()

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "ack" | "error":
                for waiting in self._waiting:
                    if waiting[0] == frame["id"] or frame["id"] is None:
                        self._waiting.remove(waiting)
                        waiting[1].set_result(frame)
                        break
            case "line":
                self._last = frame["n"]
                if frame["author"] != "user":
                    self._show(frame["id"], frame["text"], ended=True)
            case "frame":
                self._show(frame["reply"], frame["text"], ended=False)

    def _show(self, reply: str, text: str, *, ended: bool) -> None:
        before = self.cards.get(reply)
        changes = 1 if before is None else before.changes + 1
        self.cards[reply] = Sight(reply, text, ended, changes)


class QuickServer(Server):
    """The server, which looks often whether it is to stop: once a test is too often to wait."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.005)


class WebPages:
    """The platform: this project's own server, and the browsers in front of it."""

    def __init__(self, over: Literal["socket", "http"]) -> None:
        self._over = over
        self._browsers: dict[str, Browser] = {}
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]

    async def connect(self) -> WebChat:
        await self.stop()
        chat = WebChat("web", KEY)
        host = MemoryHost()  # for the other pages of the app; this chat gets another gateway
        parts = Parts(host=host, chat=chat, token=TOKEN, registry=CollectorRegistry())
        made = config(make_app(parts), host="127.0.0.1", port=self._port, drain_s=1)
        self._server = QuickServer(made)
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        return chat

    async def stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def close(self) -> None:
        for browser in self._browsers.values():
            await browser.close()
        await self.stop()

    async def hand_over(self, wrote: Wrote) -> Handed:
        browser = self._browser(wrote.person)
        message_id = wrote.id.rjust(8, "-")
        said = {"id": message_id, "text": wrote.text, "sent_ms": 1_000}
        if self._over == "http":
            return await self.hand_over_raw(json.dumps(said).encode(), person=wrote.person)
        frame = {"type": "message", "conversation": browser.conversation, **said}
        return await browser.send(json.dumps(frame).encode(), answers=message_id)

    async def hand_over_raw(self, payload: bytes, *, person: str = "ann") -> Handed:
        browser = self._browser(person)
        if self._over == "http":
            path = f"/api/conversations/{browser.conversation}/messages"
            return await browser.post(path, payload)
        return await browser.send(payload, answers=None)

    async def press(self, person: str, button: str, *, reply_id: str, press_id: str) -> Handed:
        browser = self._browser(person)
        pressed = {"conversation": browser.conversation, "id": press_id, "reply": reply_id}
        kind = {"type": "stop"} if button == "stop" else {"type": "feedback", "verdict": button}
        return await browser.send(json.dumps(kind | pressed).encode(), answers=press_id)

    async def sights(self, person: str) -> list[Sight]:
        browser = self._browser(person)
        with suppress(OSError, ConnectionClosed):  # it sees what it saw before
            await browser.open()
        return list(browser.cards.values())

    def _browser(self, person: str) -> Browser:
        return self._browsers.setdefault(person, Browser(self._port, person))


@asynccontextmanager
async def pages(over: Literal["socket", "http"]) -> AsyncIterator[WebPages]:
    """The platform, and its end."""
    made = WebPages(over)
    try:
        yield made
    finally:
        await made.close()
