"""A small host in memory that obeys the Gateway's contract, and the server that it runs in.

It keeps what was committed over `Server.restart`, as the SQLite-backed host does over a crash. Its
assistant answers by a script: the text after `say: `, else an echo, word by word.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b

from prometheus_client import CollectorRegistry, Counter

from adapters.channels.webchat import WebChat
from console.http.app import Parts, make_app
from console.http.serve import Server as UvicornServer
from console.http.serve import config
from engine import ids
from engine.errors import Refused, Unavailable
from engine.ports import Frame, Incoming, Line, SessionView
from streams.host_state import HandedOver, HostState

KEY = b"a key that only tests use"
TOKEN = "a-token-that-only-tests-use"
START_MS = 1_750_000_000_000


class MemorySession:
    """What is durable of one session, and the reply that is open in it."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.lines: list[Line] = []
        self.person = False
        self.open: Frame | None = None
        self.task: asyncio.Task[None] | None = None

    def view(self) -> SessionView:
        state = "person" if self.person else "bot.answering" if self.open else "bot.listening"
        frames = (self.open,) if self.open else ()
        return SessionView(
            session_id=self.id,
            state=state,
            busy=self.open is not None,
            person=self.person,
            frames=frames,
            replies=tuple(frame.reply_id for frame in frames),
        )


class MemoryHost:
    """Gateway and Host in memory. `pace_s`: between two frames.

    `hold`, cleared, keeps replies open; `commit`, cleared, lets no message become durable.
    """

    def __init__(self, *, pace_s: float = 0.01) -> None:
        self.sessions: dict[str, MemorySession] = {}
        self.pace_s = pace_s
        self.hold = asyncio.Event()
        self.hold.set()
        self.commit = asyncio.Event()
        self.commit.set()
        self.down = 0
        self.accepted: list[str] = []
        self.incoming: list[Incoming] = []
        self.verdicts: list[tuple[str, str]] = []
        self.judgements: list[str] = []  # the request ids of verdicts
        self.stops: list[str] = []
        self.stopped: list[str] = []  # the replies that stops named
        self.redriven: list[str] = []
        self.ready = True
        self.chat: WebChat | None = None
        self.before_lines: Callable[[str], None] = lambda session_id: None

    # ---- Gateway --------------------------------------------------------------------------------

    async def accept(self, incoming: Incoming) -> str:
        if self.down > 0:
            self.down -= 1
            raise Unavailable("the disk is full: free some space", retry_after_ms=50)
        if "\x00" in incoming.text:
            raise Refused("the text contains NUL: leave it out")
        session_id = self.session_id(
            incoming.account, conversation=incoming.conversation, sender=incoming.sender
        )
        session = self.sessions.setdefault(session_id, MemorySession(session_id))
        await self.commit.wait()
        if any(line.id == incoming.message_id for line in session.lines):
            return session_id
        self.accepted.append(incoming.message_id)
        self.incoming.append(incoming)
        self.write(session, incoming.message_id, "user", incoming.text)
        if incoming.text == "human":
            session.person = True
            self.stepped(session)
        elif not session.person:
            reply = ids.derive(session_id, "reply", incoming.message_id)
            said = incoming.text.removeprefix("say: ")
            self.begin(session, reply, said if said != incoming.text else f"You said: {said}")
        return session_id

    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        session = self.known(session_id)
        self.stops.append(request_id)
        self.stopped.append(reply_id)
        if session.task and session.open and session.open.reply_id == reply_id:
            session.task.cancel()
            self.finish(session, session.open.text, how="stopped")

    async def feedback(
        self, session_id: str, *, reply_id: str, verdict: str, text: str, request_id: str = ""
    ) -> None:
        self.known(session_id)
        self.verdicts.append((reply_id, verdict))
        self.judgements.append(request_id)

    def known(self, session_id: str) -> MemorySession:
        if session_id not in self.sessions:
            raise Refused("nobody has written in this conversation yet: send a message first")
        return self.sessions[session_id]

    def now_ms(self) -> int:
        return START_MS

    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        key = f"{conversation}\x1f{sender}".encode()
        return f"webchat:{account}:{blake2b(key, digest_size=8).hexdigest()}"

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        session = self.sessions.get(session_id)
        found = session.lines[after : after + limit] if session else []
        await asyncio.sleep(0)
        self.before_lines(session_id)
        return found

    async def view(self, session_id: str) -> SessionView | None:
        session = self.sessions.get(session_id)
        return session.view() if session else None

    # ---- Host -----------------------------------------------------------------------------------

    def state(self) -> HostState:
        return HostState(
            ready=self.ready,
            reason="" if self.ready else "the model is loading",
            version="0",
            flow="assistant@1",
            started_ms=START_MS,
            sessions=len(self.sessions),
            events=len(self.accepted),
            lag=0,
            undelivered=0,
            dead_letters=0,
        )

    async def operator_sessions(self) -> Sequence[HandedOver]:
        return [
            HandedOver(
                session_id=session.id,
                channel="webchat",
                account="web",
                state="person",
                since_ms=session.lines[-1].at_ms,
                last_ms=session.lines[-1].at_ms,
                last_text=session.lines[-1].text,
                waiting=int(session.lines[-1].author == "user"),
            )
            for session in self.sessions.values()
            if session.person
        ]

    async def operator_say(
        self, session_id: str, *, request_id: str, text: str, operator: str
    ) -> None:
        session = self.handed_over(session_id)
        if not any(line.id == request_id for line in session.lines):
            self.write(session, request_id, "operator", text)

    async def hand_back(self, session_id: str, *, request_id: str, operator: str) -> None:
        session = self.handed_over(session_id)
        session.person = False
        self.stepped(session)

    async def redrive(self, number: str, *, operator: str) -> None:
        if number != "0:7":
            raise Refused(f"there is no dead letter {number}: see ai-assistant dead-letters list")
        self.redriven.append(number)

    # ---- its assistant --------------------------------------------------------------------------

    def handed_over(self, session_id: str) -> MemorySession:
        session = self.sessions.get(session_id)
        if session is None or not session.person:
            raise Refused("the session is not in a person's hands: reload the list")
        return session

    def write(
        self, session: MemorySession, line_id: str, author: str, text: str, how: str = ""
    ) -> None:
        n = len(session.lines) + 1
        line = Line(
            session_id=session.id,
            id=line_id,
            author=author,
            text=text,
            at_ms=START_MS + n * 1_000,
            n=n,
            how=how,
        )
        session.lines.append(line)
        if self.chat:
            self.chat.wrote([line])

    def stepped(self, session: MemorySession) -> None:
        if self.chat:
            self.chat.stepped(session.view())

    def begin(self, session: MemorySession, reply: str, said: str, attempt: int = 0) -> None:
        if session.task and session.open:
            session.task.cancel()
            self.finish(session, session.open.text, how="cancelled")
        session.open = Frame(reply_id=reply, session_id=session.id, attempt=attempt, n=0, text="")
        self.stepped(session)
        session.task = asyncio.create_task(self.speak(session, said))

    async def speak(self, session: MemorySession, said: str) -> None:
        assert session.open
        pieces = said.split(" ")
        for n in range(1, len(pieces) + 1):
            await asyncio.sleep(self.pace_s)
            session.open = Frame(
                reply_id=session.open.reply_id,
                session_id=session.id,
                attempt=session.open.attempt,
                n=n,
                text=" ".join(pieces[:n]),
            )
            if self.chat:
                self.chat.show(session.open)
        await self.hold.wait()
        self.finish(session, said, how="answered")

    def finish(self, session: MemorySession, text: str, *, how: str) -> None:
        assert session.open
        reply, session.open = session.open.reply_id, None
        self.write(session, reply, "bot", text, how)
        self.stepped(session)

    async def close(self) -> None:
        tasks = [session.task for session in self.sessions.values() if session.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Server:
    """The real app on a real port; its host outlives it."""

    def __init__(self, host: MemoryHost, token: str = TOKEN) -> None:
        self.host = host
        self.token = token
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/ws/chat"

    async def start(self) -> None:
        self.registry = CollectorRegistry()
        Counter("turns", "Turns.", registry=self.registry).inc()
        self.chat = self.host.chat = WebChat("web", KEY)
        await self.chat.start(self.host)
        parts = Parts(host=self.host, chat=self.chat, token=self.token, registry=self.registry)
        app = make_app(parts)
        self.uvicorn = UvicornServer(config(app, host="127.0.0.1", port=self.port, drain_s=1))
        self.task = asyncio.create_task(self.uvicorn.serve())
        while not self.uvicorn.started:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.host.chat = None
        await self.chat.close()
        self.uvicorn.should_exit = True
        await self.task

    async def die(self) -> None:
        """As SIGKILL would: connections break without a word."""
        self.host.chat = None
        for listening in self.uvicorn.servers:
            listening.close()
        for connection in list(self.uvicorn.server_state.connections):
            connection.transport.abort()
        self.uvicorn.should_exit = self.uvicorn.force_exit = True
        with suppress(asyncio.CancelledError):
            await self.task
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn
