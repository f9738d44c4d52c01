"""The gateway that channels' suites run against keeps what hosts promise."""

import pytest

from testkit.conformance import (
    FailingGatewaySuite,
    GatewaySuite,
    LinesGatewaySuite,
    RestartedGatewaySuite,
)
from tests.conformance.suite_gateway_host import SuiteGatewayHost


@pytest.fixture
def host() -> SuiteGatewayHost:
    return SuiteGatewayHost()


class TestGateway(GatewaySuite):
    pass


class TestLines(LinesGatewaySuite):
    pass


class TestRestarted(RestartedGatewaySuite):
    pass


class TestFailing(FailingGatewaySuite):
    pass
