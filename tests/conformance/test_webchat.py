"""Web chat passes the suites of its port, through the real server, over sockets and over HTTP.

It calls no platform (a reply is sent when its line is durable), so `CallingChannelSuite` is not
among them. The terminal is no channel of its own: `ai-assistant chat` is a client of this one.
"""

from contextlib import AbstractAsyncContextManager

import pytest

from testkit.conformance import ButtonsChannelSuite, ChannelSuite, StreamingChannelSuite
from tests.conformance.web_pages import WebPages, pages


class TestOverSockets(ChannelSuite):
    TO = b'"conversation": "conversation-of-ann"'
    unusable = {
        "type": b'{"type": "hullo", %s}' % TO,
        "conversation": b'{"type": "message", "id": "message-1", "text": "hello"}',
        "id": b'{"type": "message", "id": "m/1", "text": "hello", %s}' % TO,
        "text": b'{"type": "message", "id": "message-1", "text": 7, %s}' % TO,
        "quoted": b'{"type": "message", "id": "message-1", "text": "?", "quoted": [], %s}' % TO,
        "sent_ms": b'{"type": "message", "id": "message-1", "text": "?", "sent_ms": -1, %s}' % TO,
    }

    @pytest.fixture
    def platform(self) -> AbstractAsyncContextManager[WebPages]:
        return pages("socket")


class TestOverHttp(ChannelSuite):
    unusable = {
        "id": b'{"text": "hello"}',
        "text": b'{"id": "message-1"}',
        "quoted": b'{"id": "message-1", "text": "?", "quoted": 7}',
        "sent_ms": b'{"id": "message-1", "text": "?", "sent_ms": "now"}',
    }

    @pytest.fixture
    def platform(self) -> AbstractAsyncContextManager[WebPages]:
        return pages("http")


class TestStreaming(StreamingChannelSuite):
    @pytest.fixture
    def platform(self) -> AbstractAsyncContextManager[WebPages]:
        return pages("socket")


class TestButtons(ButtonsChannelSuite):
    @pytest.fixture
    def platform(self) -> AbstractAsyncContextManager[WebPages]:
        return pages("socket")
