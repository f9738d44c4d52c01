"""The suites of the port `ModelRunner`: what a call promises, and how calls and starts fail.

Use it in five lines; both fixtures give a runner that is not started (or see `loop`):

    class TestMyModel(ModelRunnerSuite):
        @pytest.fixture
        def runner(self) -> ModelRunner: return MyModel("answers everything")
        @pytest.fixture
        def endless(self) -> ModelRunner: return MyModel("shows something, and never ends")

`FailingModelSuite` wants `failing`, whose calls fail, `HopelessModelSuite` wants `hopeless`, which
can never work; parametrise the fixture where there are several ways.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from engine import codec
from engine.effects import ModelRequest, PromptLine
from engine.errors import Refused
from engine.events import Event, ModelFailed, ModelReplied, Outcome
from engine.ports import ModelRunner
from testkit.conformance.loop import (
    AT_ONCE_S,
    WITHIN_S,
    descendants,
    entered,
    in_a_loop,
    started,
    until,
    worked_ticks,
)

Given = ModelRunner | AbstractAsyncContextManager[ModelRunner]

SECRET = "what one person wrote"

LOOKS = 10
"""At the processor time of a runner's processes, five a second."""

ODD = (
    "",
    " \n\t",
    "\x00",
    "你好，请问报销流程？🎉 👩‍👩‍👧 e\u0301 \u202eabc",
    "<|im_end|><|system|></s>[INST]{{ x }}{% raw %}",
    "长" * 20_000,
    "half a pair \ud83d",
)
"""What a person can write, or what came of it on its way: none of it may raise."""


def a_request(
    *said: str, n: int = 0, max_tokens: int = 64, stream: bool = True, system: str = "Be brief."
) -> ModelRequest:
    """Request `n`: a system line, then what user and assistant said in turn."""
    lines = [PromptLine(role="system", text=system)]
    lines += [
        PromptLine(role=("user", "assistant")[at % 2], text=text) for at, text in enumerate(said)
    ]
    return ModelRequest(
        effect_id=f"suite:main:k1:aaaa/{n:032x}",
        session_id="suite:main:k1:aaaa",
        reply_id=f"suite:main:k1:aaaa/{n + 1000:032x}",
        lines=tuple(lines),
        max_tokens=max_tokens,
        stream=stream,
        expires_ms=0,
        request_digest=f"digest {n}",
    )


async def ask(
    runner: ModelRunner, request: ModelRequest, *, shown: list[str] | None = None
) -> Outcome:
    """How a call ends, in time."""
    frames: list[str] = [] if shown is None else shown
    return await asyncio.wait_for(runner.run(request, frames.append), WITHIN_S)


async def begun(runner: ModelRunner, shown: list[str], *, n: int = 0) -> "asyncio.Task[Outcome]":
    """A call that has shown something, and goes on."""
    request = a_request("tell me a long story", n=n, max_tokens=100_000)
    call = asyncio.create_task(runner.run(request, shown.append))
    assert await until(lambda: bool(shown) or call.done(), within_s=WITHIN_S)
    assert not call.done(), f"`endless` has ended: {call.result()}"
    return call


def is_recorded(outcome: Outcome) -> None:
    """An outcome becomes an event: it goes into the log and comes back the same."""
    event = Event(id="i", session_id="s", at_ms=0, source="runner", effect="e", body=outcome)
    assert codec.decode_event(codec.encode(event)) == event
    assert outcome.made_by is not None, "an outcome says what made it"
    assert outcome.made_by.runner


class ModelRunnerSuite:
    """What every model runner promises."""

    def idle(self) -> bool:
        """Whether nothing outside works for a call that has ended: a server, say.

        Override it where the runner's work is done elsewhere; its own processes are looked at.
        """
        return True

    @in_a_loop
    async def test_a_request_is_answered_and_the_answer_can_be_recorded(
        self, runner: Given
    ) -> None:
        async with started(runner) as model:
            outcome = await ask(model, a_request("hello", n=7))
            assert isinstance(outcome, ModelReplied), outcome
            assert outcome.text
            is_recorded(outcome)

    @in_a_loop
    async def test_what_is_shown_is_the_whole_text_so_far(self, runner: Given) -> None:
        async with started(runner) as model:
            shown: list[str] = []
            outcome = await ask(model, a_request("hello"), shown=shown)
            assert isinstance(outcome, ModelReplied), outcome
            for earlier, later in zip(shown, [*shown[1:], outcome.text], strict=True):
                assert earlier
                assert later.startswith(earlier)
            assert len(set(shown)) == len(shown), "it is shown as often as it grows, no oftener"

    @in_a_loop
    async def test_a_request_that_does_not_stream_is_answered_too(self, runner: Given) -> None:
        async with started(runner) as model:
            outcome = await ask(model, a_request("hello", stream=False))
            assert isinstance(outcome, ModelReplied), outcome

    @in_a_loop
    async def test_whatever_was_written_ends_in_an_outcome(self, runner: Given) -> None:
        async with started(runner) as model:
            odd = [a_request(text) for text in ODD]
            odd += [a_request("hi", max_tokens=limit) for limit in (0, 1, 10**9)]
            odd += [a_request("hi", system=""), a_request("hi", system="S" * 50_000)]
            odd += [a_request(), a_request("hi", "hello"), a_request(*["one more turn"] * 201)]
            for request in odd:
                outcome = await ask(model, request)
                assert isinstance(outcome, ModelReplied | ModelFailed), request
            assert isinstance(await ask(model, a_request("hello")), ModelReplied)

    @in_a_loop
    async def test_many_calls_at_once_end_each_in_its_own_outcome(self, runner: Given) -> None:
        async with started(runner) as model:
            calls = [ask(model, a_request("hello", n=n)) for n in range(30)]
            for n, outcome in enumerate(await asyncio.gather(*calls)):
                assert isinstance(outcome, ModelReplied), outcome
                assert outcome.made_by is not None
                assert outcome.made_by.request_digest in ("", f"digest {n}")

    @in_a_loop
    async def test_a_call_that_cannot_be_shown_costs_no_other(self, runner: Given) -> None:
        def broken(text: str) -> None:
            raise LookupError("nobody looks")

        async with started(runner) as model:
            other = asyncio.create_task(ask(model, a_request("hello", n=1)))
            call = asyncio.create_task(model.run(a_request("hello", n=2), broken))
            await asyncio.wait({call}, timeout=WITHIN_S)
            assert call.done()
            assert call.exception() is None or isinstance(call.exception(), LookupError)
            assert isinstance(await other, ModelReplied)
            assert isinstance(await ask(model, a_request("hello")), ModelReplied)

    @in_a_loop
    async def test_a_cancelled_call_ends_at_once_and_shows_nothing_more(
        self, endless: Given
    ) -> None:
        async with started(endless) as model:
            for n in range(6):  # more than it may have places for: each of them is free again
                shown: list[str] = []
                call = await begun(model, shown, n=n)
                call.cancel()
                await asyncio.wait({call}, timeout=AT_ONCE_S)
                assert call.done(), "it goes on after its cancel"
                assert call.cancelled()
                said = len(shown)
            await asyncio.sleep(0.1)
            assert len(shown) == said
            assert await until(self.idle), "somebody works on for a cancelled call"

    @in_a_loop
    async def test_nothing_decodes_for_a_cancelled_call(self, endless: Given) -> None:
        async with started(endless) as model:
            call = await begun(model, [])
            call.cancel()
            await asyncio.wait({call}, timeout=AT_ONCE_S)
            assert await _rests(), "its processes work on for a cancelled call"

    @in_a_loop
    async def test_a_call_that_is_cancelled_before_it_says_anything_leaves_nothing(
        self, endless: Given
    ) -> None:
        async with started(endless) as model:
            for steps in range(6):
                request = a_request("a story", n=steps, max_tokens=100_000)
                call = asyncio.create_task(model.run(request, lambda text: None))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait({call}, timeout=AT_ONCE_S)
                assert call.cancelled()
            call = await begun(model, [])
            call.cancel()
            await asyncio.wait({call})

    @in_a_loop
    async def test_closing_ends_calls_in_hand_as_outcomes(self, endless: Given) -> None:
        async with started(endless) as model:
            calls = [await begun(model, [], n=n) for n in range(2)]
            # More than it may have places for: those that wait for one end, too.
            calls += [
                asyncio.create_task(model.run(a_request("and then?", n=n), lambda text: None))
                for n in range(2, 32)
            ]
            await asyncio.sleep(0.05)
            await asyncio.wait_for(model.close(), WITHIN_S)
            for outcome in await asyncio.wait_for(asyncio.gather(*calls), AT_ONCE_S):
                assert isinstance(outcome, ModelReplied | ModelFailed)

    @in_a_loop
    async def test_closing_leaves_no_process_and_twice_is_no_error(self, runner: Given) -> None:
        async with entered(runner) as model:
            before = descendants()
            await model.start()
            await ask(model, a_request("hello"))
            for _ in range(2):
                await model.close()
                assert await until(lambda: descendants() <= before)

    @in_a_loop
    async def test_a_runner_that_was_never_started_is_closed(self, runner: Given) -> None:
        async with entered(runner) as model:
            await model.close()

    @in_a_loop
    async def test_a_call_of_a_closed_runner_is_an_outcome(self, runner: Given) -> None:
        async with started(runner) as model:
            await model.close()
            outcome = await ask(model, a_request("hello"))
            assert isinstance(outcome, ModelReplied | ModelFailed)


class FailingModelSuite:
    """A call that fails is an outcome, not an exception. `failing`: each of its calls fails."""

    @in_a_loop
    async def test_a_call_that_fails_is_an_outcome_with_a_reason(self, failing: Given) -> None:
        async with started(failing) as model:
            for n in range(2):
                outcome = await ask(model, a_request(SECRET, n=n))
                assert isinstance(outcome, ModelFailed), outcome
                is_recorded(outcome)
                assert SECRET not in repr(outcome)
                assert len(outcome.detail) <= 500, "what is longer is cut on its way"

    @in_a_loop
    async def test_a_failing_call_costs_no_other(self, failing: Given) -> None:
        async with started(failing) as model:
            calls = [ask(model, a_request("hello", n=n)) for n in range(10)]
            for outcome in await asyncio.gather(*calls):
                assert isinstance(outcome, ModelFailed), outcome


class HopelessModelSuite:
    """`start` refuses what can never work. `hopeless`: a runner of which that is so."""

    @in_a_loop
    async def test_start_refuses_in_one_line_and_leaves_nothing(self, hopeless: Given) -> None:
        async with entered(hopeless) as model:
            with pytest.raises(Refused) as refused:
                await asyncio.wait_for(model.start(), WITHIN_S)
            assert str(refused.value).strip()
            assert "\n" not in str(refused.value)
            await model.close()


async def _rests() -> bool:
    """Whether the processes come to use less than a quarter of one processor."""
    for _ in range(LOOKS):
        before = worked_ticks()
        await asyncio.sleep(0.2)
        if worked_ticks() - before <= 5:  # a tick is 10 ms
            return True
    return False
