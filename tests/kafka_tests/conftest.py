"""Brokers for the tests that ask for one, started when the first asks, one for each worker.

A test shares its broker with others: it names its topics, groups and transactional ids with
`prefix`, and leaves the broker running as it found it. One that kills, stops or pauses a broker
starts its own with `started`.

Nothing is skipped: without Java or Maven such a test fails, and says what to install.
"""

import asyncio
import re
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.kafka.cluster import Cluster, Plan
from deploy.kafka.jars import CannotStart

CLOSED_WITHIN_S = 60
THE_LOOPS_OWN = 1


@contextmanager
def started(
    *, brokers: int = 1, secured: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Start brokers for one purpose; at the end they are killed, and their data is removed."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        plan = Plan(folder=Path(folder), brokers=brokers, secured=secured, settings=settings or {})
        try:
            cluster = Cluster(plan)
        except CannotStart as reason:
            pytest.fail(str(reason), pytrace=False)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


@pytest.fixture(scope="session")
def broker() -> Iterator[Cluster]:
    """One plain broker, at `broker.bootstrap`."""
    with started() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three brokers with three copies of everything; a write needs two of them."""
    with started(brokers=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secured_broker() -> Iterator[Cluster]:
    """The broker of `tls_broker`."""
    with started(secured=True) as cluster:
        yield cluster


@pytest.fixture
async def tls_broker(secured_broker: Cluster) -> AsyncIterator[Cluster]:
    """One broker with a secured listener too: `secure_bootstrap`, `secrets`."""
    yield secured_broker
    # A link over TLS is closed once both sides have said so, and aiokafka does not wait for it: a
    # loop that ended before would leave a socket for the collector to complain of in another test.
    sockets = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    async with asyncio.timeout(CLOSED_WITHIN_S):
        while len(sockets) > THE_LOOPS_OWN:
            await asyncio.sleep(0.01)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """What this test's topics, groups and transactional ids begin with; no other has it."""
    name = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"{name}-{uuid.uuid4().hex[:8]}"
