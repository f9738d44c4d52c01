"""Web chat: the channel whose platform is this project's own page, over WebSocket and HTTP.

First and last hop for people with a browser: takes messages to the gateway, and tells open sockets
what the host committed. A reply is *sent* when its line is durable in the outbox, which the host
writes in its own transaction; so there is nothing to call, and a repeated send is harmless.

What it never does: keep a line or a frame for anybody who is not connected (the outbox does), or
let one session's reader see another's.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from adapters.channels import webchat_http
from adapters.channels.webchat_cookie import NAME, PersonCookie
from adapters.channels.webchat_follow import Follower
from adapters.channels.webchat_socket import CLOSE_WITHIN_S, Socket
from adapters.channels.webchat_wire import encode
from engine.errors import Unavailable
from engine.ports import Delivery, Frame, Gateway, Line, Receipt, SessionView

SOCKETS_MAX = 10_000
"""Open sockets; each costs about 30 KB. More are turned away with code 1013 (try again later)."""

SOCKETS_OF_A_PERSON_MAX = 32
"""Tabs of one browser: so that nobody takes all sockets. More are turned away with code 1013."""

STOP_WITHIN_S = 2 * CLOSE_WITHIN_S
"""How long `close` waits for messages in hand, and for clients that take nothing."""

NO_PERSON = 4401
"""Close code for a socket without our cookie: POST /api/person, then connect again."""
BUSY = 1013
RESTART = 1012


class WebChat:
    """One account of web chat. `key` signs the person cookies (at least 16 bytes)."""

    kind = "webchat"
    idempotent = True
    at_once = True  # a line is durable before anybody is shown it

    def __init__(self, account: str, key: bytes) -> None:
        self.account = account
        self._cookie = PersonCookie(key)
        self._gateway: Gateway | None = None
        self._sockets: set[Socket] = set()
        self._open_of: Counter[str] = Counter()  # sockets of each person
        self._watched: dict[str, set[Follower]] = {}

    # ---- the Channel port -----------------------------------------------------------------------

    async def start(self, gateway: Gateway) -> None:
        """Begin to take messages in."""
        self._gateway = gateway

    async def close(self) -> None:
        """Close each socket after the message in hand, with 1012: its client comes back.

        A message that is not durable by `STOP_WITHIN_S` is left unacknowledged.
        """
        self._gateway = None
        for socket in list(self._sockets):
            socket.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                for socket in list(self._sockets):
                    await socket.closed.wait()

    async def send(self, delivery: Delivery) -> Receipt:
        """Receipt at once: the host writes the line in the transaction that records the receipt."""
        return Receipt(platform_ids=(delivery.reply_id,))

    def show(self, frame: Frame) -> None:
        """Show an open reply's text so far to whoever has the conversation open."""
        for follower in self._watched.get(frame.session_id, ()):
            follower.show(frame)

    def follows(self, session_id: str) -> bool:
        """Whether anybody has this conversation open."""
        return session_id in self._watched

    def stepped(self, view: SessionView) -> None:
        """Show the new state to whoever has the conversation open."""
        for follower in self._watched.get(view.session_id, ()):
            follower.stepped(view)

    def wrote(self, lines: Sequence[Line]) -> None:
        """Send the lines to whoever has the conversation open."""
        for line in lines:
            for follower in self._watched.get(line.session_id, ()):
                follower.wrote(line)

    # ---- what pages and the HTTP app need -------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """The host. Raises Unavailable before `start` and after `close`."""
        if self._gateway is None:
            raise Unavailable("the assistant is starting or stopping: try again in a second")
        return self._gateway

    @property
    def watchers(self) -> int:
        """Open sockets."""
        return len(self._sockets)

    def routes(self) -> list[BaseRoute]:
        """The WebSocket and its HTTP twins."""
        return [WebSocketRoute("/ws/chat", self._serve), *webchat_http.routes(self)]

    def person(self, connection: HTTPConnection) -> str | None:
        """Who this browser is, if it has a cookie of ours."""
        return self._cookie.read(connection.cookies.get(NAME))

    def greet(self, connection: HTTPConnection, response: Response) -> None:
        """Give the browser its cookie, a new one or the same for longer."""
        value = connection.cookies.get(NAME)
        if value is None or self._cookie.read(value) is None:
            value = self._cookie.new()
        secure = connection.scope["scheme"] in ("https", "wss")
        response.headers.append("set-cookie", self._cookie.header(value, secure=secure))

    # ---- sockets --------------------------------------------------------------------------------

    async def _serve(self, ws: WebSocket) -> None:
        person = self.person(ws)
        await ws.accept()
        if person is None:
            await ws.send_text(encode(webchat_http.NO_PERSON))
            await ws.close(NO_PERSON)
            return
        if self._gateway is None:
            await ws.close(RESTART)
            return
        if len(self._sockets) >= SOCKETS_MAX:
            await ws.close(BUSY, "the server has no room for another connection: try again later")
            return
        if self._open_of[person] >= SOCKETS_OF_A_PERSON_MAX:
            await ws.close(BUSY, f"{SOCKETS_OF_A_PERSON_MAX} tabs are open already: close some")
            return
        socket = Socket(
            ws, gateway=self._gateway, account=self.account, person=person, watch=self._watch
        )
        self._sockets.add(socket)
        self._open_of[person] += 1
        try:
            await socket.serve()
        finally:
            self._sockets.discard(socket)
            self._open_of[person] -= 1
            if not self._open_of[person]:
                del self._open_of[person]
            for follower in socket.followers.values():
                self._unwatch(follower)

    def _watch(self, follower: Follower) -> None:
        self._watched.setdefault(follower.session_id, set()).add(follower)

    def _unwatch(self, follower: Follower) -> None:
        watching = self._watched.get(follower.session_id, set())
        watching.discard(follower)
        if not watching:
            self._watched.pop(follower.session_id, None)
