"""One open WebSocket: a reader that takes frames in order, a writer that brings followers up.

Between Starlette's WebSocket and the gateway. The reader acknowledges a message only after the
gateway returned; the writer sends errors and acks first, then for each conversation its lines, its
state and its latest frames. Nothing queues without a bound: a reader that is slow gets less.

What it never does: render, decide what a frame means (`webchat_wire`), or remember anything after
the socket closed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from adapters.channels.webchat_follow import Follower
from adapters.channels.webchat_wire import (
    Ack,
    ClientFrame,
    ErrorFrame,
    Feedback,
    Hello,
    Message,
    Ping,
    Pong,
    ServerFrame,
    Stop,
    Welcome,
    Wire,
    encode,
    fault,
    language,
)
from engine.errors import Refused, Unavailable, trace_of
from engine.ports import Gateway, Incoming, SessionView

ANSWERS_MAX = 64
"""Acks and errors that wait for a slow reader; then no more frames are taken from it."""

PAGE_LINES = 100
"""Lines fetched at once: at most a few megabytes, whatever the conversation."""

RESTART = 1012
POLICY = 1008

_BLANK = SessionView(session_id="", state="", busy=False, person=False)
"""What there is to see before the first message."""

CLOSE_WITHIN_S = 2
"""A client that takes no more acks by then sends those messages again."""

Watch = Callable[[Follower], None]
"""Asks the channel to tell this follower what its host commits."""

log = logging.getLogger(__name__)


class Socket:
    """One person's socket, on one account."""

    def __init__(
        self, ws: WebSocket, *, gateway: Gateway, account: str, person: str, watch: Watch
    ) -> None:
        self._ws = ws
        self._watch = watch
        self._gateway = gateway
        self._account = account
        self._person = person
        self._wire = Wire()
        self._answers: deque[ServerFrame] = deque()
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[int] | None = None
        self._waiting = False  # for the client, with no message in hand
        self._closing = False
        self.followers: dict[str, Follower] = {}
        self.closed = asyncio.Event()

    async def serve(self) -> None:
        """Talk until the client goes, sends rubbish, or the server closes."""
        self._reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        code = RESTART
        try:
            await asyncio.wait({self._reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done() and not self._reader.cancelled():
                code = self._reader.result()
        except WebSocketDisconnect:
            pass
        finally:
            self._reader.cancel()
            writer.cancel()
            _, ended = await asyncio.gather(self._reader, writer, return_exceptions=True)
            if isinstance(ended, Exception) and not isinstance(ended, WebSocketDisconnect):
                log.error("a socket's writer ended: %s", trace_of(ended))
            await self._hang_up(code)
            self.closed.set()

    def close(self) -> None:
        """Take nothing more in; a message in hand is finished and acknowledged first."""
        self._closing = True
        if self._reader is not None and self._waiting:
            self._reader.cancel()

    # ---- reading --------------------------------------------------------------------------------

    async def _read(self) -> int:
        """Take frames one after the other; the code to close with."""
        while not self._closing:
            self._waiting = True
            packet = await self._ws.receive()
            self._waiting = False
            if packet["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(packet.get("code", 1005))
            text = packet.get("text")
            await self._answer(await self._do(packet["bytes"] if text is None else text))
            if self._wire.hopeless:
                return POLICY
        return RESTART

    async def _do(self, data: str | bytes) -> ServerFrame | None:
        frame = self._wire.take(data)
        if isinstance(frame, ErrorFrame):
            return frame
        try:
            return await self._obey(frame)
        except Refused as error:
            return fault("refused", str(error), about=frame)
        except Unavailable as error:
            wait_ms = error.retry_after_ms
            return fault("unavailable", str(error), about=frame, retry_after_ms=wait_ms)
        except Exception as error:
            log.error("a %s frame failed: %s", type(frame).__name__, trace_of(error))
            text = "the server failed on this frame and has logged why: send it again later"
            return fault("internal", text, about=frame)

    async def _obey(self, frame: ClientFrame) -> ServerFrame | None:
        match frame:
            case Ping():
                return Pong()
            case Hello():
                self._follow(frame).hello(frame.after)
                return None
            case Message():
                await self._gateway.accept(
                    Incoming(
                        account=self._account,
                        conversation=frame.conversation,
                        sender=self._person,
                        message_id=frame.id,
                        text=frame.text,
                        quoted=frame.quoted,
                        sent_ms=frame.sent_ms,
                        locale=self.followers[frame.conversation].locale,
                    )
                )
                return Ack(conversation=frame.conversation, id=frame.id)
            case Stop():
                session_id = self.followers[frame.conversation].session_id
                await self._gateway.stop(session_id, reply_id=frame.reply, request_id=frame.id)
                return Ack(conversation=frame.conversation, id=frame.id)
            case Feedback():
                session_id = self.followers[frame.conversation].session_id
                await self._gateway.feedback(
                    session_id,
                    reply_id=frame.reply,
                    verdict=frame.verdict,
                    text=frame.text,
                    request_id=frame.id or "",
                )
                return Ack(conversation=frame.conversation, id=frame.id) if frame.id else None

    def _follow(self, hello: Hello) -> Follower:
        known = self.followers.get(hello.conversation)
        if known is None:
            session_id = self._gateway.session_id(
                self._account, conversation=hello.conversation, sender=self._person
            )
            known = Follower(hello.conversation, session_id, wake=self._wake.set)
            self.followers[hello.conversation] = known
            self._watch(known)
        spoken = language(self._ws.headers.get("accept-language", ""))
        known.locale = hello.locale or known.locale or spoken
        return known

    async def _answer(self, frame: ServerFrame | None) -> None:
        if frame is None:
            return
        while len(self._answers) >= ANSWERS_MAX and not self._closing:
            self._room.clear()
            self._waiting = True
            await self._room.wait()
            self._waiting = False
        self._answers.append(frame)
        self._wake.set()

    # ---- writing --------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send whatever there is, until cancelled or the client is gone."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_answers()
            for follower in list(self.followers.values()):
                try:
                    await self._bring_up(follower)
                except Unavailable as error:
                    # The log cannot be read just now: the socket stays, and asks again.
                    asyncio.get_running_loop().call_later(
                        error.retry_after_ms / 1_000, self._wake.set
                    )

    async def _bring_up(self, follower: Follower) -> None:
        after = follower.asked()
        if after is not None:
            await self._begin(follower, after)
        await self._send_lines(follower)
        if follower.blind:
            await self._look(follower)
        state = follower.next_state()
        if state is not None:
            await self._send(state)
        # Lines come first: one that is written now ends this round, and has woken the next.
        while not follower.behind and (frame := follower.next_frame()) is not None:
            await self._send(frame)
            await self._send_answers()

    async def _begin(self, follower: Follower, after: int) -> None:
        lines, session_id = self._gateway.lines, follower.session_id
        try:
            if after:  # a host that has not read so far yet does so now
                await lines(session_id, after=after, limit=1)
            found = await lines(session_id, after=max(after - 1, 0), limit=1)
        except Unavailable:
            follower.hello(after)
            raise
        # A client that has more lines than the log talks to another data directory: from the start.
        cursor = after if found else 0
        if found and found[0].n > cursor + 1:
            # Numbers have no gaps, but a host may keep the oldest lines for some time only.
            cursor = found[0].n - 1
        follower.begin(cursor)
        now_ms = self._gateway.now_ms()
        await self._send(
            Welcome(conversation=follower.conversation, last=follower.cursor, now_ms=now_ms)
        )

    async def _send_lines(self, follower: Follower) -> None:
        while follower.behind:
            writes = follower.writes
            lines = follower.held() or await self._gateway.lines(
                follower.session_id, after=follower.cursor, limit=PAGE_LINES
            )
            before = follower.cursor
            for line in lines:
                frame = follower.take(line)
                if frame is not None:
                    await self._send(frame)
            if follower.cursor == before:
                follower.caught_up(writes)
                return
            await self._send_answers()

    async def _look(self, follower: Follower) -> None:
        """Read the state and the open replies, for a client that begins."""
        views = follower.views
        view = await self._gateway.view(follower.session_id)
        if view is None:
            view = _BLANK
        for frame in view.frames:
            follower.show(frame)
        # One that was committed while this one was read is the newer.
        if follower.views == views:
            follower.stepped(view)
        follower.blind = False

    async def _send_answers(self) -> None:
        while self._answers:
            await self._send(self._answers.popleft())
            self._room.set()

    async def _send(self, frame: ServerFrame) -> None:
        await self._ws.send_text(encode(frame))

    async def _hang_up(self, code: int) -> None:
        # The client may be gone, or take nothing more: both end in a closed connection.
        with suppress(RuntimeError, WebSocketDisconnect, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._send_answers()
                if self._ws.application_state is WebSocketState.CONNECTED:
                    await self._ws.close(code)
