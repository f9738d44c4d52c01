"""One suite for each port of `engine.ports`: what an author of an adapter runs against it.

Each is a base class for pytest. A subclass says in one or two fixtures how the adapter is made, and
gets a test for each promise of the port; `docs/adapters.md` shows one for every port. The suites
need pytest and no plugin of it: those of ports with coroutines run an event loop of their own.
What they never do: import an adapter, or anything of the hops and hosts that use it.
"""

import pytest

_SUITES = (
    *("channel", "channel_abilities", "channel_gateway", "channel_platform", "deliveries"),
    *("gateway", "gateway_abilities", "gateway_host"),
    *("intent_runner", "log", "loop", "model_runner", "session_store", "skill_runner"),
)
# Before they are imported: so a failing assert of theirs shows its values, as in a test's own file.
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))

from testkit.conformance.channel import ChannelSuite  # noqa: E402
from testkit.conformance.channel_abilities import (  # noqa: E402
    ButtonsChannelSuite,
    CallingChannelSuite,
    StreamingChannelSuite,
)
from testkit.conformance.channel_platform import (  # noqa: E402
    BUSY_MS,
    CalledPlatform,
    Handed,
    Mood,
    Platform,
    PlatformWithButtons,
    Sight,
    Wrote,
)
from testkit.conformance.deliveries import DeliveriesSuite  # noqa: E402
from testkit.conformance.gateway import GatewaySuite  # noqa: E402
from testkit.conformance.gateway_abilities import (  # noqa: E402
    FailingGatewaySuite,
    LinesGatewaySuite,
    RestartedGatewaySuite,
)
from testkit.conformance.gateway_host import (  # noqa: E402
    FailingGatewayHost,
    GatewayHost,
    RestartedGatewayHost,
    Took,
)
from testkit.conformance.intent_runner import IntentRunnerSuite  # noqa: E402
from testkit.conformance.log import DurableLogSuite, LogSuite, OwnedLogSuite  # noqa: E402
from testkit.conformance.model_runner import (  # noqa: E402
    FailingModelSuite,
    HopelessModelSuite,
    ModelRunnerSuite,
)
from testkit.conformance.session_store import SessionStoreSuite  # noqa: E402
from testkit.conformance.skill_runner import SkillRunnerSuite  # noqa: E402
from testkit.conformance.storage import OwnedStorage, Storage  # noqa: E402

__all__ = [
    "BUSY_MS",
    "ButtonsChannelSuite",
    "CalledPlatform",
    "CallingChannelSuite",
    "ChannelSuite",
    "DeliveriesSuite",
    "DurableLogSuite",
    "FailingGatewayHost",
    "FailingGatewaySuite",
    "FailingModelSuite",
    "GatewayHost",
    "GatewaySuite",
    "Handed",
    "HopelessModelSuite",
    "IntentRunnerSuite",
    "LinesGatewaySuite",
    "LogSuite",
    "ModelRunnerSuite",
    "Mood",
    "OwnedLogSuite",
    "OwnedStorage",
    "Platform",
    "PlatformWithButtons",
    "RestartedGatewayHost",
    "RestartedGatewaySuite",
    "SessionStoreSuite",
    "Sight",
    "SkillRunnerSuite",
    "Storage",
    "StreamingChannelSuite",
    "Took",
    "Wrote",
]
