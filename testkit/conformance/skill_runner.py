"""The suite of the port `SkillRunner`: what a call promises, and what is killed when.

Use it in five lines; `runner` gives a runner, not started, that knows the three skills named:

    class TestMySkills(SkillRunnerSuite):
        good, fails, hangs = "Echo", ("Raises", "Dies"), "Hangs"
        @pytest.fixture
        def runner(self) -> SkillRunner: return MySkills()

`hangs` is a skill that writes the ids of its processes into the file that its text names, separated
by blanks and ended by a line end, and then never returns.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from engine.effects import SkillRequest
from engine.events import Outcome, SkillDone, SkillFailed
from engine.ports import SkillRunner
from testkit.conformance.loop import (
    WITHIN_S,
    descendants,
    entered,
    in_a_loop,
    started,
    until,
)
from testkit.conformance.model_runner import SECRET, is_recorded

Given = SkillRunner | AbstractAsyncContextManager[SkillRunner]

NOW_MS = 1_700_000_000_000
"""Log time, years before the machine's: a deadline that is read from a clock is noticed."""

EXPIRES_MS = 1_500
"""Of a call that hangs: long enough for its process to begin and to say so."""

KILLED_WITHIN_S = 5.0
"""From a request's expiry to its outcome: a kill, on a machine that does other things."""


def a_request(skill: str, text: str, *, within_ms: int = 60_000) -> SkillRequest:
    """A request that was made now, in log time."""
    return SkillRequest(
        effect_id="suite:main:k1:aaaa/effect",
        session_id="suite:main:k1:aaaa",
        skill=skill,
        text=text,
        locale="zh-CN",
        expires_ms=NOW_MS + within_ms,
    )


async def ask(runner: SkillRunner, request: SkillRequest, *, within_s: float = WITHIN_S) -> Outcome:
    """How a call ends, in time."""
    return await asyncio.wait_for(runner.run(request, NOW_MS), within_s)


def _ids(note: Path) -> list[int]:
    """The processes that the hanging skill wrote down, once it has."""
    text = note.read_text() if note.exists() else ""
    return [int(word) for word in text.split()] if text.endswith("\n") else []


class SkillRunnerSuite:
    """What every skill runner promises. `good`, `fails` and `hangs` name skills that it knows."""

    good: str
    fails: tuple[str, ...]
    hangs: str

    @in_a_loop
    async def test_a_skill_answers_and_the_answer_can_be_recorded(self, runner: Given) -> None:
        async with started(runner) as skills:
            outcome = await ask(skills, a_request(self.good, "你好 🎉"))
            assert isinstance(outcome, SkillDone), outcome
            assert outcome.text
            is_recorded(outcome)

    @in_a_loop
    async def test_a_skill_that_fails_is_an_outcome_without_what_was_said(
        self, runner: Given
    ) -> None:
        async with started(runner) as skills:
            for name in self.fails:
                outcome = await ask(skills, a_request(name, SECRET))
                assert isinstance(outcome, SkillFailed), outcome
                is_recorded(outcome)
                assert SECRET not in repr(outcome)
                assert isinstance(await ask(skills, a_request(self.good, "and now?")), SkillDone)

    @in_a_loop
    async def test_a_skill_that_nobody_knows_is_an_outcome(self, runner: Given) -> None:
        async with started(runner) as skills:
            outcome = await ask(skills, a_request("no such skill", "hello"))
            assert isinstance(outcome, SkillFailed)

    @in_a_loop
    async def test_whatever_was_written_ends_in_an_outcome(self, runner: Given) -> None:
        async with started(runner) as skills:
            for text in ("", "\x00", "\u202e👩‍👩‍👧", "长" * 100_000, "half a pair \ud83d"):
                outcome = await ask(skills, a_request(self.good, text))
                assert isinstance(outcome, SkillDone | SkillFailed)
            assert isinstance(await ask(skills, a_request(self.good, "and now?")), SkillDone)

    @in_a_loop
    async def test_what_has_expired_is_not_started(self, runner: Given, tmp_path: Path) -> None:
        note = tmp_path / "processes"
        async with started(runner) as skills:
            for late_ms in (0, 1, 10_000):
                request = a_request(self.hangs, str(note), within_ms=-late_ms)
                outcome = await ask(skills, request, within_s=KILLED_WITHIN_S)
                assert isinstance(outcome, SkillFailed)
                assert outcome.reason == "expired"
            assert not note.exists()

    @in_a_loop
    async def test_no_call_outlives_its_request_and_its_processes_are_killed(
        self, runner: Given, tmp_path: Path
    ) -> None:
        async with started(runner) as skills:
            note = tmp_path / "processes"
            request = a_request(self.hangs, str(note), within_ms=EXPIRES_MS)
            within_s = EXPIRES_MS / 1_000 + KILLED_WITHIN_S
            outcome = await ask(skills, request, within_s=within_s)
            assert isinstance(outcome, SkillFailed)
            assert outcome.reason in ("timeout", "expired")
            assert await _gone(_ids(note))
            assert isinstance(await ask(skills, a_request(self.good, "and now?")), SkillDone)

    @in_a_loop
    async def test_cancelling_kills_what_the_call_runs_in(
        self, runner: Given, tmp_path: Path
    ) -> None:
        async with started(runner) as skills:
            call, ids = await _hanging(skills, self.hangs, tmp_path / "processes")
            call.cancel()
            await asyncio.wait({call}, timeout=KILLED_WITHIN_S)
            assert call.cancelled()
            assert await _gone(ids)
            assert isinstance(await ask(skills, a_request(self.good, "and now?")), SkillDone)

    @in_a_loop
    async def test_many_calls_at_once_are_all_answered(self, runner: Given) -> None:
        async with started(runner) as skills:
            calls = [ask(skills, a_request(self.good, f"call {n}")) for n in range(20)]
            outcomes = await asyncio.gather(*calls)
            assert [type(outcome) for outcome in outcomes] == [SkillDone] * 20

    @in_a_loop
    async def test_closing_ends_calls_in_hand_and_every_process(
        self, runner: Given, tmp_path: Path
    ) -> None:
        async with entered(runner) as skills:
            before = descendants()
            await skills.start()
            call, ids = await _hanging(skills, self.hangs, tmp_path / "processes")
            await asyncio.wait_for(skills.close(), WITHIN_S)
            assert isinstance(await asyncio.wait_for(call, KILLED_WITHIN_S), SkillFailed)
            assert await _gone(ids)
            assert await until(lambda: descendants() <= before)
            await skills.close()

    @in_a_loop
    async def test_a_runner_that_was_never_started_is_closed(self, runner: Given) -> None:
        async with entered(runner) as skills:
            await skills.close()

    @in_a_loop
    async def test_a_call_of_a_closed_runner_is_an_outcome(self, runner: Given) -> None:
        async with started(runner) as skills:
            await skills.close()
            request = a_request(self.good, "hello", within_ms=1_000)
            outcome = await ask(skills, request, within_s=1 + KILLED_WITHIN_S)
            assert isinstance(outcome, SkillFailed)


async def _hanging(
    skills: SkillRunner, name: str, note: Path
) -> tuple["asyncio.Task[Outcome]", list[int]]:
    """A call that hangs, and the processes that it runs in."""
    call = asyncio.create_task(skills.run(a_request(name, str(note)), NOW_MS))
    assert await until(lambda: bool(_ids(note)) or call.done(), within_s=WITHIN_S)
    assert not call.done(), f"`hangs` has ended: {call.result()}"
    return call, _ids(note)


async def _gone(ids: list[int]) -> bool:
    """Whether these processes have ended, or end in time."""
    return await until(lambda: not descendants() & set(ids), within_s=KILLED_WITHIN_S)
