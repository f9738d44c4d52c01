"""A real HTTP server that speaks chat completions, and misbehaves as a test tells it to."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass(kw_only=True)
class Asked:
    """One request as it came. `left`: set when the client closed its side."""

    headers: dict[str, str]
    body: dict[str, object]
    left: asyncio.Event = field(default_factory=asyncio.Event)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(kw_only=True)
class Server:
    """`answers`: how each request in turn is answered; the last one is used again."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection, and leave nothing of it behind."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self.serving.remove(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, answer it, and see whether the client goes away."""
        asked = await _read(reader)
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(asked)
        answering = asyncio.ensure_future(answer(writer))
        watching = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait([answering, watching], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                asked.left.set()
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(headers=headers, body=json.loads(body))


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    """Run a server on a free port as long as the block lasts."""
    server = Server(answers=list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
    if server.serving:
        await asyncio.wait(server.serving, timeout=5)


def event(text: str, finish: str | None = None) -> bytes:
    """Return one event of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def stream(*chunks: bytes, head: bytes = HEAD) -> Answer:
    """Answer with these bytes, one write each."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for chunk in (head, *chunks):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.005)  # lets each write arrive by itself

    return answer


def says(*words: str) -> Answer:
    """Answer as a good server does."""
    return stream(*(event(word) for word in words), event("", "stop"), b"data: [DONE]\n\n")


def then_hangs(*chunks: bytes) -> Answer:
    """Send this and then nothing, for ever."""
    send = stream(*chunks)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await send(writer)
        await asyncio.Event().wait()

    return answer


def then_resets(*chunks: bytes) -> Answer:
    """Send this and break the connection off."""
    send = stream(*chunks)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await send(writer)
        # Closing a socket that must not linger sends a reset, as a dying machine would.
        linger_not = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        writer.transport.abort()

    return answer


def status(code: int, body: bytes = b"{}", **headers: str) -> Answer:
    """Answer with an error."""
    lines = [f"HTTP/1.1 {code} X", "Connection: close", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return stream(body, head=("\r\n".join(lines) + "\r\n\r\n").encode())
