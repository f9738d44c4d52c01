"""The runner for OpenAI-compatible servers passes the suites of its port, against a real server."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from engine.ports import ModelRunner
from models.openai_compatible import OpenAICompatible, OpenAISettings
from testkit.conformance import FailingModelSuite, HopelessModelSuite, ModelRunnerSuite
from tests.model_tests.openai_server import (
    Answer,
    Server,
    event,
    says,
    serving,
    status,
    stream,
    then_hangs,
    then_resets,
)

Given = AbstractAsyncContextManager[ModelRunner]


def settings(url: str) -> OpenAISettings:
    return OpenAISettings(base_url=url, model="m", pause_s=0.01, read_timeout_s=20)


@asynccontextmanager
async def against(
    answer: Answer, servers: list[Server] | None = None
) -> AsyncIterator[ModelRunner]:
    """A runner, not started, and the server it will talk to."""
    async with serving(answer) as server:
        if servers is not None:
            servers.append(server)
        yield OpenAICompatible(settings(server.url))


class TestOpenAI(ModelRunnerSuite):
    @pytest.fixture
    def runner(self) -> Given:
        return against(says("你好", ", ", "world 🎉"))

    @pytest.fixture
    def endless(self) -> Given:
        self.servers: list[Server] = []
        return against(then_hangs(event("once"), event(" upon a time")), self.servers)

    def idle(self) -> bool:
        return all(asked.left.is_set() for asked in self.servers[0].asked)


class TestFailing(FailingModelSuite):
    ANSWERS = {
        "busy": status(503),
        "refusing": status(401),
        "silent": stream(head=b""),
        "breaking off": then_resets(event("half")),
        "empty": says(),
        "rubbish": stream(b"data: {oops\n\n"),
    }

    @pytest.fixture(params=ANSWERS)
    def failing(self, request: pytest.FixtureRequest) -> Given:
        return against(self.ANSWERS[request.param])


class TestHopeless(HopelessModelSuite):
    @pytest.fixture(params=["ftp://host/v1", "http://user:password@host/v1"])
    def hopeless(self, request: pytest.FixtureRequest) -> ModelRunner:
        return OpenAICompatible(settings(request.param))
