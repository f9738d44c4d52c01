"""The gateway of the embedded host keeps what its port promises."""

from pathlib import Path

import pytest

from testkit.conformance import (
    FailingGatewaySuite,
    GatewaySuite,
    LinesGatewaySuite,
    RestartedGatewaySuite,
)
from tests.host_tests.gateway_host import EmbeddedGatewayHost


@pytest.fixture
def host(data: Path) -> EmbeddedGatewayHost:
    return EmbeddedGatewayHost(data)


class TestGateway(GatewaySuite):
    pass


class TestLines(LinesGatewaySuite):
    pass


class TestRestarted(RestartedGatewaySuite):
    pass


class TestFailing(FailingGatewaySuite):
    pass
