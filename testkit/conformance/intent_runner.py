"""The suite of the port `IntentRunner`: whatever was written ends in an outcome.

Use it in five lines; `runner` gives a recogniser that is ready:

    class TestMyIntents(IntentRunnerSuite):
        @pytest.fixture
        def runner(self) -> IntentRunner:
            return MyIntents()
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from engine.effects import IntentRequest
from engine.events import IntentFailed, IntentFound, Outcome
from engine.ports import IntentRunner
from testkit.conformance.loop import AT_ONCE_S, WITHIN_S, entered, in_a_loop
from testkit.conformance.model_runner import ODD, SECRET, is_recorded

Given = IntentRunner | AbstractAsyncContextManager[IntentRunner]


def a_request(text: str, n: int = 0) -> IntentRequest:
    """Request `n`: which intent is this?"""
    return IntentRequest(
        effect_id=f"suite:main:k1:aaaa/{n:032x}",
        session_id="suite:main:k1:aaaa",
        text=text,
        expires_ms=0,
    )


async def ask(runner: IntentRunner, request: IntentRequest) -> Outcome:
    """How a look-up ends, in time."""
    return await asyncio.wait_for(runner.run(request), WITHIN_S)


class IntentRunnerSuite:
    """What every intent runner promises."""

    @in_a_loop
    async def test_an_intent_is_found_or_the_failure_named(self, runner: Given) -> None:
        async with entered(runner) as intents:
            outcome = await ask(intents, a_request(SECRET))
            assert isinstance(outcome, IntentFound | IntentFailed)
            is_recorded(outcome)
            assert SECRET not in repr(outcome)
            assert not isinstance(outcome, IntentFound) or outcome.intent

    @in_a_loop
    async def test_whatever_was_written_ends_in_an_outcome(self, runner: Given) -> None:
        async with entered(runner) as intents:
            for text in ODD:
                outcome = await ask(intents, a_request(text))
                assert isinstance(outcome, IntentFound | IntentFailed)
                is_recorded(outcome)

    @in_a_loop
    async def test_the_same_text_means_the_same_however_many_ask(self, runner: Given) -> None:
        async with entered(runner) as intents:
            first = await ask(intents, a_request("我要请假"))
            calls = [ask(intents, a_request("我要请假", n)) for n in range(20)]
            found = [getattr(outcome, "intent", None) for outcome in await asyncio.gather(*calls)]
            assert found == [getattr(first, "intent", None)] * 20

    @in_a_loop
    async def test_a_cancelled_look_up_ends_at_once(self, runner: Given) -> None:
        async with entered(runner) as intents:
            for steps in range(6):  # before it begins, and while it looks
                call = asyncio.create_task(intents.run(a_request("我要请假")))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait({call}, timeout=AT_ONCE_S)
                assert call.done()
            await ask(intents, a_request("我要请假"))
