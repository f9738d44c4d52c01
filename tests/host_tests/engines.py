"""An engine in this process, wired as `ai-assistant run` wires it, with a model of the test's."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch

import msgspec

from console.http.app import Parts, make_app
from console.http.serve import Server as UvicornServer
from console.http.serve import config as server_config
from engine.ports import Incoming, Line, ModelRunner
from models.scripted import ScriptedModel
from streams.embedded import assemble as wiring
from streams.settings import Settings
from streams.settings.schema import FlowSettings, Model, Server, Skills
from tests.channel_tests.memory_host import TOKEN

CONVERSATION = "conversation-1"
PERSON = "0123456789abcdef" * 2
WITHIN_S = 10.0
"""What a test waits for comes within milliseconds, or not at all: the machine may be busy."""

_numbers = itertools.count(1)


async def eventually(what: Callable[[], Any]) -> Any:
    """What `what` returns (or its coroutine) once that is true; fails when it never is."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = what()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


class Engine:
    """One engine over `directory`. `start` and then `stop`, or `die` as a killed process would."""

    def __init__(
        self,
        directory: Path,
        *,
        model: ModelRunner | None = None,
        flow: str = "assistant",
        config: dict[str, Any] | None = None,
        skills: tuple[str, ...] = (),
        within_s: float = 5.0,
    ) -> None:
        self.directory = directory
        self.settings = Settings(
            server=Server(data_dir=directory),
            flow=FlowSettings(name=flow, config=msgspec.Raw(msgspec.json.encode(config or {}))),
            model=Model(kind="scripted"),
            skills=Skills(enabled=skills, within_s=within_s),
        )
        given = model or ScriptedModel()
        with patch.object(wiring, "model_runner", lambda settings: given):
            self.wired = wiring.assemble(self.settings, env={})
        self.host = self.wired.host

    async def start(self) -> "Engine":
        await self.wired.start()
        self.gateway = self.wired.webchat.gateway
        return self

    async def stop(self, drain_s: float = 5.0) -> None:
        await self.host.stop(drain_s=drain_s)

    async def die(self) -> None:
        """Leave the log as SIGKILL would: nothing in memory gets another word in."""
        host = self.host
        for task in [host._pump_task, *host._channels._calls, *host._performers._tasks.values()]:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await host._performers.close()
        host._writer.shutdown(wait=True)
        host._store.close()
        self.wired.guard.close()

    async def __aenter__(self) -> "Engine":
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # ---- what a person does --------------------------------------------------------------------

    async def say(self, text: str, *, id: str = "", to: str = CONVERSATION, **more: Any) -> str:
        """Accepted and durable; the session's id."""
        return await self.wired.webchat.gateway.accept(
            Incoming(
                account="web",
                conversation=to,
                sender=PERSON,
                message_id=id or f"message-{next(_numbers):06}",
                text=text,
                **more,
            )
        )

    def session_id(self, to: str = CONVERSATION) -> str:
        return self.gateway.session_id("web", conversation=to, sender=PERSON)

    async def lines(self, to: str = CONVERSATION) -> list[Line]:
        return await self.host.lines(self.session_id(to), after=0, limit=1_000)

    async def texts(self, to: str = CONVERSATION) -> list[str]:
        return [line.text for line in await self.lines(to)]

    async def answer(self, n: int = 1, *, to: str = CONVERSATION) -> Line:
        """The n-th line (from 1) that is not the person's own."""

        async def found() -> Line | None:
            said = [line for line in await self.lines(to) if line.author != "user"]
            return said[n - 1] if len(said) >= n else None

        line: Line = await eventually(found)
        return line

    async def ask(self, text: str, *, to: str = CONVERSATION, id: str = "") -> str:
        """The answer's text, once it is a line."""
        said = len([line for line in await self.lines(to) if line.author != "user"])
        await self.say(text, to=to, id=id)
        return (await self.answer(said + 1, to=to)).text


class EngineServer:
    """The real HTTP server of an engine, on a port of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.token = TOKEN
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/ws/chat"


@asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[EngineServer]:
    """Serve a started engine as long as the block lasts."""
    server = EngineServer(engine)
    wired = engine.wired
    parts = Parts(host=wired.host, chat=wired.webchat, token=TOKEN, registry=wired.metrics.registry)
    app = make_app(parts)
    uvicorn = UvicornServer(server_config(app, host="127.0.0.1", port=server.port, drain_s=1))
    task = asyncio.create_task(uvicorn.serve())
    while not uvicorn.started:
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        await wired.webchat.close()
        uvicorn.should_exit = True
        await task
