"""A network between some workers and their broker that can be cut: a TCP proxy in this process.

The broker tells its clients where they reach it, so it has a listener of its own for them, which it
advertises at the proxy's port: whoever comes that way stays on that way. A cut is silence, as of a
cable or a firewall: nothing arrives, nobody is told, new connections come to nothing.
"""

import asyncio
from contextlib import suppress

from deploy.kafka.settings import HOST
from tests.crash.engines import free_port

CHUNK = 65_536


class Network:
    """The way to a lab's only broker; `settings` and `ports` are the broker's."""

    def __init__(self) -> None:
        near = free_port()
        controller = free_port(after=near)
        self._far = free_port(after=controller)
        self._proxy = free_port(after=self._far)
        self.ports = (near, controller)
        inside, far = f"INSIDE://{HOST}:{near}", f"FAR://{HOST}"
        self.settings = {
            "listeners": f"{inside},{far}:{self._far},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"{inside},{far}:{self._proxy}",
            "listener.security.protocol.map": (
                "INSIDE:PLAINTEXT,FAR:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
        }
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where those workers find the broker."""
        return f"{HOST}:{self._proxy}"

    async def open(self) -> None:
        """Begin to forward."""
        self._server = await asyncio.start_server(self._link, HOST, self._proxy)

    async def close(self) -> None:
        """Let go of everything."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def cut(self) -> None:
        """Silence, both ways."""
        self._whole.clear()

    def mend(self) -> None:
        """What was held back by the cut arrives now, as TCP would have sent it again."""
        self._whole.set()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await self._whole.wait()
            there, back = await asyncio.open_connection(HOST, self._far)
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._forward(reader, back))
                    ways.create_task(self._forward(there, writer))
            finally:
                back.close()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # either side has hung up, or the lab ends
        finally:
            writer.close()
            self._links.discard(task)

    async def _forward(self, come: asyncio.StreamReader, go: asyncio.StreamWriter) -> None:
        while data := await come.read(CHUNK):
            await self._whole.wait()
            go.write(data)
            await go.drain()
        with suppress(OSError, RuntimeError):
            go.close()
