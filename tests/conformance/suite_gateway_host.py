"""The gateway that channels' suites run against, as a host: so that the fake is judged, too."""

from collections.abc import Sequence

from engine.errors import Unavailable
from engine.ports import Gateway
from testkit.conformance import Took
from testkit.conformance.channel_gateway import SuiteGateway

FAILURES = 100


class SuiteGatewayHost:
    """The gateway in memory, without a channel."""

    account = "main"

    def __init__(self, make: type[SuiteGateway] = SuiteGateway) -> None:
        self._gateway = make(self.account)

    @property
    def gateway(self) -> Gateway:
        return self._gateway

    async def took(self, session_id: str) -> Sequence[Took]:
        return await self._gateway.took(session_id)

    async def restart(self) -> None:
        """Nothing to do: its log lasts as long as the test."""

    async def fail(self) -> None:
        away = [Unavailable("the disk is full", retry_after_ms=50) for _ in range(FAILURES)]
        self._gateway.faults.extend(away)

    async def mend(self) -> None:
        self._gateway.faults.clear()
