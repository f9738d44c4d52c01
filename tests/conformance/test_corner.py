"""A channel to a platform in memory passes every suite of its port, with and without keys."""

import pytest

from testkit.conformance import (
    ButtonsChannelSuite,
    CallingChannelSuite,
    ChannelSuite,
    StreamingChannelSuite,
)
from tests.conformance.corner import Corner, CornerChat


@pytest.fixture(params=[True, False], ids=["keys", "no keys"])
def platform(request: pytest.FixtureRequest) -> Corner:
    return Corner(CornerChat, keys=request.param)


class TestCorner(ChannelSuite):
    unusable = {
        "text": b'{"id": "m1", "person": "ann", "text": 7}',
        "id": b'{"person": "ann", "text": "what one person wrote"}',
        "person": b'{"id": "m1", "person": null, "text": "what one person wrote"}',
        "button": b'{"id": "m1", "person": "ann", "button": "what one person wrote"}',
    }


class TestCalling(CallingChannelSuite):
    pass


class TestButtons(ButtonsChannelSuite):
    pass


class TestStreaming(StreamingChannelSuite):
    @pytest.fixture
    def platform(self) -> Corner:
        return Corner(CornerChat)
