"""What happens to worker processes: rounds of the catalogue."""

import asyncio
import time
from contextlib import suppress

import httpx

from engine.crash_points import CrashPoint
from engine.limits import DEATHS_MAX
from tests.faults.crew import Post, Worker
from tests.faults.lab import Lab

POISON = "kills whoever steps it"
AIM_WITHIN_S = 5.0
INSIDE_S = 0.012
"""A transaction is open for some milliseconds after the mark before it."""
AWAY_TOO_LONG_S = 2.0
"""Beyond the session timeout."""
WRONG_S = (-7_200.0, -30.0, 30.0, 7_200.0)


async def kill(lab: Lab, number: int) -> None:
    """A sessions worker each time, and one of each other role in turn."""
    await lab.wait(0, 1)
    await lab.kill(lab.one_of("sessions"))
    others = [role for role in lab.shape.roles if role != "sessions"]
    await lab.wait(0, 1)
    await lab.kill(lab.one_of(others[number % len(others)]))


async def join_and_leave(lab: Lab, number: int) -> None:
    """One more sessions or model worker, without a static name, which leaves or dies again."""
    role = ("sessions", "model")[number % 2]
    post = Post(role=role, number=10 + number, env={"AI_ASSISTANT_KAFKA__INSTANCE": ""})
    worker = lab.crew.add(post)
    lab.blow(f"join {role}", worker)
    await worker.start()
    await worker.ready()
    await lab.wait(1, 4)
    dies = number % 4 >= 2
    lab.blow(f"{'die' if dies else 'leave'} {role}", worker)
    await worker.dismiss(kill=dies)
    lab.crew.workers.remove(worker)
    await lab.wait(1, 4)


async def rolling_restart(lab: Lab, number: int) -> None:
    """Each process in turn, as an upgrade does it: the next when the last is ready."""
    for worker in list(lab.crew.workers):
        await lab.restart(worker)


async def zombie(lab: Lab, number: int) -> None:
    """A sessions worker stands still until its partitions are others', and goes on.

    What it had in hand must come to nothing. With a worker that is fenced the process ends.
    """
    worker = lab.one_of("sessions")
    lab.may_end(worker)
    lives = len(worker.ends)
    lab.blow("pause sessions", worker)
    worker.pause()
    await asyncio.sleep(lab.shape.session_timeout_s + AWAY_TOO_LONG_S)
    lab.blow("resume sessions", worker)
    worker.resume()
    with suppress(TimeoutError):
        async with asyncio.timeout(lab.shape.session_timeout_s):
            while len(worker.ends) == lives:
                await asyncio.sleep(0.05)
    lab.notes["zombies that ended"] += len(worker.ends) > lives
    await worker.ready()


async def open_transaction(lab: Lab, number: int) -> None:
    """A sessions worker dies while its transaction is open: it holds back all who read."""
    worker = lab.one_of("sessions")
    await asyncio.to_thread(_until_it_commits, worker)
    await asyncio.sleep(lab.chance.uniform(0, INSIDE_S))
    blow = lab.blow("kill sessions that commits", worker)
    await worker.kill()
    lab.notes["transactions open at death"] += await lab.records.open_transactions() > 0
    await worker.ready()
    blow.ready_s = time.monotonic() - blow.at_s


def _until_it_commits(worker: Worker) -> None:
    """Return when it has stepped a batch that it now begins to commit; or after a while."""
    until_s = time.monotonic() + AIM_WITHIN_S
    while worker.marks.last is CrashPoint.STEP_COMMIT and time.monotonic() < until_s:
        time.sleep(0.0003)
    while worker.marks.last is not CrashPoint.STEP_COMMIT and time.monotonic() < until_s:
        time.sleep(0.0003)


async def poison(lab: Lab, number: int) -> None:
    """A message at which every sessions worker dies, until it is set aside.

    After three deaths that are known to be at it. A worker that has worked for a while steps whole
    batches: where the first death was one of those, it is one more.
    """
    lab.may_end(*lab.crew.of("sessions"))
    before = _deaths(lab)
    key = f"poison-{number:06}"
    lab.poison.add(key)
    lab.blow("poison")
    body = {"id": key, "text": f"this message {POISON}"}
    gateway = lab.one_of("ingress")
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        (await http.post("/api/person")).raise_for_status()
        place = f"/api/conversations/poison-talk-{number:04}"
        (await http.post(f"{place}/messages", json=body, timeout=30)).raise_for_status()
        async with asyncio.timeout(120):
            while not await _was_answered(http, place):
                await asyncio.sleep(0.25)
    deaths = _deaths(lab) - before
    lab.notes["deaths at a poison event"] += deaths
    # Once unnoticed, once in a batch of several: those are not known to be at it.
    if not DEATHS_MAX <= deaths <= DEATHS_MAX + 2:
        lab.broken.append(f"{deaths} deaths at a poison event, not {DEATHS_MAX} to two more")
    await lab.crew.ready()


def _deaths(lab: Lab) -> int:
    return sum(end.role == "sessions" and end.code == 9 for end in lab.crew.ends)


async def _was_answered(http: httpx.AsyncClient, place: str) -> bool:
    with suppress(httpx.HTTPError):
        lines = (await http.get(f"{place}/lines", timeout=5)).json().get("lines", ())
        return any(line["author"] == "bot" for line in lines)
    return False


async def clock(lab: Lab, number: int) -> None:
    """A machine's clock jumps while a worker runs; and one starts on a machine that is wrong.

    The first changes nothing. The second appends nothing until its clock is right.
    """
    role = ("ingress", "model", "sessions", "clock")[number % 4]
    wrong_s = WRONG_S[(number + number // 4) % 4]
    worker = lab.one_of(role)
    lab.blow(f"jump {role}", worker)
    worker.set_clock(ahead_s=wrong_s)
    await lab.wait(2, 6)
    if number % 2 == 0:  # its next life begins with it
        lab.blow(f"kill {role} that is wrong", worker)
        await worker.kill()
        await lab.wait(4, 8)
    lab.blow(f"set {role} right", worker)
    worker.set_clock(ahead_s=0)
    await worker.ready()
