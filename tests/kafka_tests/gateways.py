"""Gateways on a real broker, with their pages served; and a stand-in for the sessions role.

`Sessions` writes to im.outbox and im.frames what a partition's owner and a model worker would: a
test says what happens, and looks at what people see.
"""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.kafka.clients import KafkaSettings, producer_of
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from adapters.kafka.transactions import Transactions
from console.http.app import Parts, make_app
from console.http.serve import Server, config
from console.listening import bound_socket, url_of
from engine import codec
from engine.events import Event
from engine.ids import derive
from engine.ports import Frame, Line
from streams.cluster.assemble_gateway import GatewayRole, assemble_gateway
from streams.embedded import data_dir
from streams.host_state import HandedOver
from streams.settings import Settings, load
from streams.topics import T
from streams.wire import Said, View, frame_row, outbox_row
from tests.kafka_tests.installation import PARTITIONS, appending, everything

TOKEN = "a-token-that-only-tests-use"


class Sessions:
    """What the sessions role would write. Lines are numbered; nothing is stepped."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self._transactions = Transactions(kafka, "stand-in")
        self._frames = producer_of(kafka, durable=False)
        self._n: dict[str, int] = defaultdict(int)
        self._seq: dict[str, int] = defaultdict(int)
        self._frame_n = 0

    async def __aenter__(self) -> "Sessions":
        await self._transactions.begin()
        await self._frames.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transactions.stop()
        await self._frames.stop()

    async def write(self, *shown: View | Said) -> None:
        """All of it, in one transaction."""
        rows: list[Row] = []
        for one in shown:
            session_id = one.session_id if isinstance(one, View) else one.line.session_id
            rows.append(outbox_row(one, partition=partition_of(session_id.encode(), PARTITIONS)))
        await self._transactions.write(rows)

    def line(self, session_id: str, text: str, *, line_id: str = "", author: str = "bot") -> Said:
        self._n[session_id] += 1
        n = self._n[session_id]
        line_id = line_id or derive(session_id, "reply", n)
        line = Line(session_id=session_id, id=line_id, author=author, text=text, at_ms=n, n=n)
        return Said(line=line)

    def view(self, session_id: str, state: str = "bot.listening", **more: object) -> View:
        self._seq[session_id] += 1
        return View(session_id=session_id, seq=self._seq[session_id], state=state, **more)  # type: ignore[arg-type]

    async def frame(self, session_id: str, reply_id: str, text: str) -> None:
        self._frame_n += 1
        frame = Frame(
            reply_id=reply_id, session_id=session_id, attempt=1, n=self._frame_n, text=text
        )
        row = frame_row(frame, outbox=frozenset({"webchat"}))
        await self._frames.send_and_wait(
            self.kafka.named(row.topic), value=row.value, key=row.key, headers=list(row.headers)
        )

    async def events(self) -> list[Event]:
        """What was appended to the log of record."""
        found = await everything(self.kafka, T.EVENTS)
        return [codec.decode_event(record.value or b"") for record in found]

    async def answered(self, text: str, *, by: str) -> str:
        """Wait for this message in the log, write its line and the answer; its session."""
        while True:
            for event in await self.events():
                if getattr(event.body, "text", "") == text:
                    session_id = event.session_id
                    message_id = event.body.message_id  # type: ignore[union-attr]
                    mine = self.line(session_id, text, line_id=message_id, author="user")
                    reply = self.line(session_id, by)
                    await self.write(mine, reply, self.view(session_id, closed=(reply.line.id,)))
                    return session_id
            await asyncio.sleep(0.02)


def handed_over(session_id: str) -> HandedOver:
    channel, account = session_id.split(":")[:2]
    return HandedOver(
        session_id=session_id,
        channel=channel,
        account=account,
        state="person",
        since_ms=1_000,
        last_ms=1_000,
        last_text="help",
        waiting=1,
    )


class Gateway:
    """One gateway and where it is served; what `Client` of the channel tests takes."""

    def __init__(self, role: GatewayRole, url: str) -> None:
        self.role = role
        self.gateway = role.gateway
        self.url = url
        self.ws_url = url.replace("http", "ws", 1) + "/ws/chat"


def settings_of(kafka: KafkaSettings, folder: Path, *, name: str = "ingress-0") -> Settings:
    """The settings of one gateway; all in a folder share the keys."""
    keys = folder / "keys.json"
    if not keys.exists():
        data_dir.make(keys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "HOME": str(folder),
        "AI_ASSISTANT_DATA": str(folder / name),
        "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{port}",
        "AI_ASSISTANT_KAFKA__BROKERS": kafka.brokers,
        "AI_ASSISTANT_KAFKA__PREFIX": kafka.prefix,
        "AI_ASSISTANT_KAFKA__PARTITIONS": str(PARTITIONS),
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
        "AI_ASSISTANT_KAFKA__INSTANCE": name,
        "AI_ASSISTANT_KAFKA__KEYS_FILE": str(keys),
        "AI_ASSISTANT_OPERATORS__TOKEN": TOKEN,
    }
    return load(folder, env)


@asynccontextmanager
async def served(
    settings: Settings, role: GatewayRole, *, registry: CollectorRegistry
) -> AsyncIterator[str]:
    """The app in front of a gateway, from before it is ready; its address."""
    parts = Parts(
        host=role.gateway, chat=role.webchat, token=role.token.reveal(), registry=registry
    )
    bound = bound_socket(settings)
    bind = settings.server
    server = Server(config(make_app(parts), host=bind.host, port=bind.port, drain_s=1))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield url_of(bound)
    finally:
        server.should_exit = True
        await serving
        bound.close()


@asynccontextmanager
async def gateway(
    kafka: KafkaSettings, folder: Path, *, name: str = "ingress-0", wait: bool = True
) -> AsyncIterator[Gateway]:
    """A gateway that takes people in; without `wait` one that may still catch up."""
    settings = settings_of(kafka, folder, name=name)
    registry = CollectorRegistry()
    async with appending(kafka, instance=name) as appender:
        role = assemble_gateway(settings, appender, registry=registry)
        async with served(settings, role, registry=registry) as url:
            await role.gateway.start()
            try:
                async with asyncio.timeout(20):
                    while wait and role.gateway.ready:
                        await asyncio.sleep(0.01)
                yield Gateway(role, url)
            finally:
                await role.gateway.stop(drain_s=1)
