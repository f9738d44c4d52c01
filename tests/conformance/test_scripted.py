"""The scripted runners pass the suites of their ports."""

import pytest

from engine.ports import IntentRunner, ModelRunner
from models.scripted import WAITS, IntentRule, Rule, ScriptedIntents, ScriptedModel
from testkit.conformance import FailingModelSuite, IntentRunnerSuite, ModelRunnerSuite


class TestModel(ModelRunnerSuite):
    @pytest.fixture
    def runner(self) -> ModelRunner:
        hello = Rule(pattern="hello", text="你好 🎉", frames=("你", "你好"), latency_ms=5)
        return ScriptedModel([hello, *WAITS, Rule(text="what was that?")])

    @pytest.fixture
    def endless(self) -> ModelRunner:
        return ScriptedModel([Rule(frames=("once", "once upon a time"), latency_ms=None)])


class TestFailing(FailingModelSuite):
    @pytest.fixture(params=[0, 5])
    def failing(self, request: pytest.FixtureRequest) -> ModelRunner:
        return ScriptedModel([Rule(failure="unavailable", latency_ms=request.param)])


class TestIntents(IntentRunnerSuite):
    @pytest.fixture(params=[0, 5])
    def runner(self, request: pytest.FixtureRequest) -> IntentRunner:
        leave = IntentRule(pattern="假", intent="leave", latency_ms=request.param)
        return ScriptedIntents([leave, IntentRule(pattern="🎉", failure="timeout")])
