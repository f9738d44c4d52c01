"""A server that each test has for itself, on a host in memory."""

from collections.abc import AsyncIterator

import pytest

from tests.channel_tests.memory_host import MemoryHost, Server


@pytest.fixture
async def host() -> AsyncIterator[MemoryHost]:
    made = MemoryHost()
    yield made
    await made.close()


@pytest.fixture
async def server(host: MemoryHost) -> AsyncIterator[Server]:
    made = Server(host)
    await made.start()
    yield made
    if not made.task.done():
        await made.stop()
