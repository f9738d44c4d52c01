"""The SkillRunner port, with real processes: what skills do wrong is an outcome with a name."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from adapters.skills.runner import SkillSettings
from engine.errors import Refused
from engine.events import SkillDone, SkillFailed
from engine.ports import SkillRunner
from tests.skill_tests.pools import NOW_MS, pool, request


def children() -> list[psutil.Process]:
    """The worker processes of this test process."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return [child for child in found if "adapters.skills.worker" in command_line(child)]


def command_line(process: psutil.Process) -> list[str]:
    """Empty where it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def vanished(pid: int) -> bool:
    """Whether the process is gone, or goes within ten seconds."""
    for _ in range(500):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_good_skill_answers_and_says_what_made_the_answer() -> None:
    async with pool("Echo") as skills:
        runner: SkillRunner = skills
        done = await runner.run(request("Echo", "你好"), NOW_MS)
    assert isinstance(done, SkillDone)
    assert done.text == "you said 你好"
    assert done.made_by is not None
    assert done.made_by.runner == "skill Echo 1.0"
    assert 0 <= done.made_by.latency_ms < 5_000


async def test_the_context_holds_what_is_documented_and_a_pickled_copy_has_no_model() -> None:
    async def model(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        return "yes"

    async with pool("Facts", model=model) as skills:
        done = await skills.run(request("Facts"), NOW_MS)
    assert isinstance(done, SkillDone)
    unit, session, request_id, deadline_ms, *rest = done.text.split("|")
    assert (unit, session, request_id) == ("metres", "web/a/1/p", "web/a/1/p/effect")
    assert NOW_MS < int(deadline_ms) <= NOW_MS + 6_000
    assert rest == ["True", "zh-CN", "en,zh", "True", "no_model"]


@pytest.mark.parametrize(
    ("skill", "reason", "detail"),
    [
        ("Raises", "error", "skill Raises: execute raised ValueError"),
        ("Exits", "error", "skill Exits: execute raised SystemExit"),
        ("Declines", "refused", "skill Declines: execute raised Refused"),
        ("Dies", "died", "skill Dies: its process died"),
        ("Unbuildable", "error", "skill Unbuildable: construct raised KeyError"),
        ("Numbers", "error", "skill Numbers: return raised TypeError"),
        ("Surrogate", "error", "skill Surrogate: return raised UnicodeEncodeError"),
        ("Nowhere", "error", "skill Nowhere: import raised AttributeError"),
        ("AsksCarelessly", "error", "skill AsksCarelessly: execute raised ModelUnavailable"),
    ],
)
async def test_a_failure_names_the_skill_and_the_exception_but_no_content(
    skill: str, reason: str, detail: str
) -> None:
    async with pool(skill, "Echo") as skills:
        failed = await skills.run(request(skill, "my secret"), NOW_MS)
        after = await skills.run(request("Echo", "still there"), NOW_MS)
    assert isinstance(failed, SkillFailed)
    assert (failed.reason, failed.detail) == (reason, detail)
    assert isinstance(after, SkillDone)


async def test_an_unknown_skill_is_refused() -> None:
    async with pool("Echo") as skills:
        failed = await skills.run(request("Nobody"), NOW_MS)
    assert isinstance(failed, SkillFailed)
    assert (failed.reason, failed.detail) == ("refused", "skill Nobody: there is no such skill")


async def test_a_pool_without_skills_needs_no_process_and_refuses() -> None:
    async with pool() as skills:
        assert children() == []
        failed = await skills.run(request("Echo"), NOW_MS)
    assert isinstance(failed, SkillFailed)


@pytest.mark.parametrize("skill", ["Hangs", "HangsInC"])
async def test_a_hanging_skill_is_killed_at_its_deadline(skill: str) -> None:
    async with pool(skill, "Echo", limit_ms=300) as skills:
        failed = await skills.run(request(skill), NOW_MS)
        after = await skills.run(request("Echo"), NOW_MS)
    assert isinstance(failed, SkillFailed)
    assert (failed.reason, failed.detail) == ("timeout", f"skill {skill}: killed at its deadline")
    assert isinstance(after, SkillDone)


async def test_a_request_may_allow_less_than_the_limit() -> None:
    async with pool("Hangs", limit_ms=600_000) as skills:
        failed = await skills.run(request("Hangs", within_ms=200), NOW_MS)
    assert isinstance(failed, SkillFailed)
    assert failed.reason == "timeout"


async def test_what_no_worker_starts_in_time_is_expired() -> None:
    async with pool("Hangs", workers=1) as skills:
        hanging = asyncio.create_task(skills.run(request("Hangs"), NOW_MS))
        await asyncio.sleep(0.05)
        failed = await skills.run(request("Hangs", "be good", within_ms=100), NOW_MS)
        late = await skills.run(request("Hangs", "be good", within_ms=-1), NOW_MS)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    for outcome in (failed, late):
        assert isinstance(outcome, SkillFailed)
        assert outcome.reason == "expired"


async def test_a_skill_that_hangs_leaves_a_worker_to_the_others() -> None:
    async with pool("Hangs", "Echo") as skills:
        hanging = [asyncio.create_task(skills.run(request("Hangs"), NOW_MS)) for _ in range(5)]
        await asyncio.sleep(0.05)
        done = await skills.run(request("Echo", "me", within_ms=2_000), NOW_MS)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert isinstance(done, SkillDone)


@pytest.mark.parametrize("at_once", [2, 100])
async def test_after_100_calls_that_hang_the_next_good_one_answers_within_a_second(
    at_once: int,
) -> None:
    async with pool("Hangs", limit_ms=100) as skills:
        most = 0
        for _ in range(100 // at_once):
            calls = [
                asyncio.create_task(skills.run(request("Hangs", within_ms=60_000), NOW_MS))
                for _ in range(at_once)
            ]
            for outcome in await asyncio.gather(*calls):
                assert isinstance(outcome, SkillFailed)
                assert outcome.reason == "timeout"
            most = max(most, len(children()))
        good = await skills.run(request("Hangs", "be good", within_ms=1_000), NOW_MS)
        assert good == SkillDone(text="good", made_by=good.made_by)
        assert most <= 4
    assert children() == []


async def test_cancelling_kills_the_process_and_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    async with pool("Starts") as skills:
        task = asyncio.create_task(skills.run(request("Starts", str(note)), NOW_MS))
        while not (note.exists() and note.read_text().endswith("\n")):
            await asyncio.sleep(0.02)
        worker, child = map(int, note.read_text().split())
        assert psutil.pid_exists(child)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await vanished(worker)
        assert await vanished(child)


async def test_workers_die_with_their_parent_even_while_they_hang(tmp_path: Path) -> None:
    program = (
        "import asyncio, functools\n"
        "from tests.skill_tests.pools import NOW_MS, pool, request\n"
        "async def main():\n"
        "    async with pool('HangsInC', 'Echo') as skills:\n"
        "        calls = [skills.run(request('HangsInC'), NOW_MS) for _ in range(2)]\n"
        "        say = functools.partial(print, 'hanging', flush=True)\n"
        "        asyncio.get_running_loop().call_later(0.2, say)\n"
        "        await asyncio.gather(*calls)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ}
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"hanging\n"
        workers = psutil.Process(host.pid).children()
        assert len(workers) == 4
        host.send_signal(signal.SIGKILL)
    for worker in workers:
        assert await vanished(worker.pid)


async def test_a_worker_that_was_killed_while_idle_is_replaced_unnoticed() -> None:
    async with pool("Echo") as skills:
        for child in children():
            child.kill()
            child.wait()
        done = await skills.run(request("Echo", "again"), NOW_MS)
    assert isinstance(done, SkillDone)


async def test_what_a_skill_prints_does_not_disturb_the_protocol() -> None:
    async with pool("Prints") as skills:
        for _ in range(3):
            done = await skills.run(request("Prints"), NOW_MS)
            assert isinstance(done, SkillDone)
            assert done.text == "read ''"


async def test_a_process_left_over_from_one_call_never_answers_for_the_next() -> None:
    async with pool("Forks", "Hangs", workers=1, limit_ms=1_000) as skills:
        first = await skills.run(request("Forks"), NOW_MS)
        assert isinstance(first, SkillDone)
        assert first.text == "from the parent"
        for _ in range(3):  # whichever worker it is, the child's answer is taken for no other call
            outcome = await skills.run(request("Hangs", within_ms=400), NOW_MS)
            assert isinstance(outcome, SkillFailed)


async def test_an_endless_answer_is_bounded() -> None:
    async with pool("Endless") as skills:
        done = await skills.run(request("Endless"), NOW_MS)
    assert isinstance(done, SkillDone)
    assert 0 < len(done.text.encode()) <= 512 * 1024


async def test_a_text_that_no_frame_can_carry_is_refused() -> None:
    async with pool("Echo") as skills:
        failed = await skills.run(request("Echo", "a" * 5_000_000), NOW_MS)
        odd = await skills.run(request("Echo", "\ud800"), NOW_MS)
        done = await skills.run(request("Echo", "fine"), NOW_MS)
    for outcome in (failed, odd):
        assert isinstance(outcome, SkillFailed)
        assert outcome.reason == "refused"
    assert isinstance(done, SkillDone)


async def test_a_skill_does_not_see_the_secrets_of_the_hosts_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IM_APP_SECRET", "hush")
    async with pool("Environment") as skills:
        secret = await skills.run(request("Environment", "IM_APP_SECRET"), NOW_MS)
        path = await skills.run(request("Environment", "PATH"), NOW_MS)
    assert isinstance(secret, SkillDone)
    assert isinstance(path, SkillDone)
    assert secret.text == "not there"
    assert path.text == os.environ["PATH"]


async def test_a_skill_asks_the_hosts_model_in_the_calls_time() -> None:
    asked: list[tuple[str, int, int]] = []

    async def model(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        asked.append((prompt, max_tokens, deadline_ms))
        return prompt.upper()

    async with pool("Asks", "AsksTwice", model=model) as skills:
        done = await skills.run(request("Asks", "why?"), NOW_MS)
        twice = await skills.run(request("AsksTwice"), NOW_MS)
    assert isinstance(done, SkillDone)
    assert isinstance(twice, SkillDone)
    assert done.text == "the model says WHY?"
    assert twice.text == "ONETWO"
    prompt, max_tokens, deadline_ms = asked[0]
    assert (prompt, max_tokens) == ("why?", 7)
    assert NOW_MS < deadline_ms < NOW_MS + 5_000


async def test_a_skill_is_told_why_the_model_gives_no_answer() -> None:
    async def broken(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        raise RuntimeError("no memory for: " + prompt)

    async def silent(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        return "  "

    async def slow(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        await asyncio.sleep(3600)
        return ""

    for model, limit_ms, reason in (
        (None, 5_000, "no_model"),
        (broken, 5_000, "failed"),
        (silent, 5_000, "failed"),
        (slow, 1_000, "deadline"),
    ):
        async with pool("Asks", model=model, limit_ms=limit_ms) as skills:
            done = await skills.run(request("Asks", "why?"), NOW_MS)
        assert isinstance(done, SkillDone), reason
        assert done.text == f"no model: {reason}"


async def test_the_model_is_asked_from_the_skills_own_thread_only() -> None:
    async def model(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        return "yes"

    async with pool("AsksInAThread", model=model) as skills:
        done = await skills.run(request("AsksInAThread"), NOW_MS)
    assert isinstance(done, SkillDone)
    assert done.text == "refused"


async def test_cancelling_a_call_cancels_its_model_call() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(prompt: str, max_tokens: int, deadline_ms: int) -> str:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return ""

    async with pool("Asks", model=slow) as skills:
        task = asyncio.create_task(skills.run(request("Asks"), NOW_MS))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


async def test_closing_ends_calls_in_hand_and_every_process() -> None:
    async with pool("Hangs") as skills:
        task = asyncio.create_task(skills.run(request("Hangs"), NOW_MS))
        await asyncio.sleep(0.05)
        await skills.close()
        failed = await asyncio.wait_for(task, 5)
    assert isinstance(failed, SkillFailed)
    assert failed.reason == "died"
    assert children() == []


def test_settings_beyond_their_bounds_are_refused() -> None:
    for name, found in (("workers", 0), ("spare", 0), ("limit_ms", 50)):
        with pytest.raises(Refused, match=f"{name} is {found}; allowed are"):
            SkillSettings(cards=(), **{name: found})  # type: ignore[arg-type]


def test_the_clock_of_these_tests_is_not_the_machines() -> None:
    assert time.time() * 1000 > NOW_MS  # so a deadline in wall time would be noticed
