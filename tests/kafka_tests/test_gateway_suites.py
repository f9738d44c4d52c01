"""The cluster's gateway on a real broker keeps what its port promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.cluster import Cluster
from testkit.conformance import (
    FailingGatewaySuite,
    GatewaySuite,
    LinesGatewaySuite,
    RestartedGatewaySuite,
)
from tests.kafka_tests.gateway_host import (
    ClusterGatewayHost,
    Installation,
    LonelyBrokerHost,
    installation,
)


@pytest.fixture(scope="module")
def place(broker: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("gateway")
    with installation(broker.bootstrap, folder.name, folder) as made:
        yield made


@pytest.fixture
def host(place: Installation) -> ClusterGatewayHost:
    return ClusterGatewayHost(place)


class TestGateway(GatewaySuite):
    pass


class TestLines(LinesGatewaySuite):
    pass


class TestRestarted(RestartedGatewaySuite):
    pass


@pytest.mark.slow
class TestFailing(FailingGatewaySuite):
    @pytest.fixture
    def host(self, tmp_path: Path) -> LonelyBrokerHost:
        return LonelyBrokerHost(tmp_path)
