"""The cluster's gateway as the gateway's suites see it, and a worker that steps what it appends.

`installation` is one for many tests: each writes to conversations of its own.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.partitions import partition_of
from adapters.kafka.reading import read_partition
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.ports import Gateway
from streams.cluster.assemble_gateway import GatewayRole, assemble_gateway
from streams.topics import T
from testkit.conformance import Took
from tests.host_tests.gateway_host import counted
from tests.kafka_tests import processes
from tests.kafka_tests.conftest import started
from tests.kafka_tests.gateways import settings_of
from tests.kafka_tests.installation import PARTITIONS, appending, installed

WITHIN_S = 60


class Installation(NamedTuple):
    """Topics on a broker, and where its gateways have their keys and files."""

    kafka: KafkaSettings
    folder: Path


@contextmanager
def installation(bootstrap: str, prefix: str, folder: Path) -> Iterator[Installation]:
    """An installation with a worker of the role sessions."""

    async def made() -> KafkaSettings:
        settings = await installed(bootstrap, prefix)
        now_ms = time.time_ns() // 1_000_000
        await processes.activate(settings, partitions=PARTITIONS, at_ms=now_ms)
        return settings

    settings = asyncio.run(made())
    env = processes.environment(settings, folder, instance="sessions-0")
    with processes.running(processes.sessions_command(), env, log=folder / "worker.log"):
        yield Installation(settings, folder)


class ClusterGatewayHost:
    """One gateway of an installation."""

    account = "web"

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._running = AsyncExitStack()

    async def __aenter__(self) -> "ClusterGatewayHost":
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._running.aclose()

    @property
    def gateway(self) -> Gateway:
        gateway = self._role.webchat.gateway
        assert gateway is not None
        return gateway

    async def took(self, session_id: str) -> Sequence[Took]:
        key = session_id.encode()
        reading = read_partition(
            self._installation.kafka, T.EVENTS, partition=partition_of(key, PARTITIONS)
        )
        return counted(
            [
                codec.decode_event(record.value or b"")
                async for batch in reading
                for record in batch
                if record.key == key
            ]
        )

    async def restart(self) -> None:
        await self._running.aclose()
        await self._start()

    async def _start(self) -> None:
        kafka, folder = self._installation
        registry = CollectorRegistry()
        appender = await self._running.enter_async_context(appending(kafka))
        self._role: GatewayRole = assemble_gateway(
            settings_of(kafka, folder), appender, registry=registry
        )
        await self._role.gateway.start()
        self._running.push_async_callback(self._role.gateway.stop, drain_s=0)
        await self._is_ready()

    async def _is_ready(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while self._role.gateway.ready:
                await asyncio.sleep(0.01)


class LonelyBrokerHost(ClusterGatewayHost):
    """The same on a broker of its own, which is killed and comes back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._around = ExitStack()

    async def __aenter__(self) -> "LonelyBrokerHost":
        self._broker: Cluster = self._around.enter_context(started())
        made = installation(self._broker.bootstrap, "lonely", self._folder)
        super().__init__(await asyncio.to_thread(self._around.enter_context, made))
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        await asyncio.to_thread(self._around.close)

    async def fail(self) -> None:
        self._broker.brokers[0].kill()

    async def mend(self) -> None:
        await asyncio.to_thread(self._broker.brokers[0].start)
        await self._is_ready()
