"""The soak: long load with a random fault now and then, judged like any other; and the memory.

`python -m tests.faults.soak`. A process that dies begins anew and small, so what may grow is looked
at over all of them: their resident memory together, by the minute, over the last two thirds of the
run. People keep to few conversations: what is stored of a conversation is bounded, and new ones
would be growth that nobody should mend.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.people import Habits
from tests.faults import on_brokers, on_workers
from tests.faults.catalogue import WAITED, Fault
from tests.faults.crew import Worker
from tests.faults.lab import ROLES, Lab, Shape
from tests.faults.report import summary, table
from tests.faults.trial import AFTER, Report, look

EVERY_S = 20.0
SAMPLE_S = 2.0
HELD_S = 3.0
PEOPLE = 250
HABITS = Habits(think_s=0.6, conversation_messages=2_000)
GROWTH_SHARE = 2 / 3
"""Of the run, at its end: before that everything is still being filled."""


@dataclass
class Memory:
    """Resident memory of all workers, in MB, by the second of the run."""

    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def take(self, at_s: float, workers: list[Worker]) -> None:
        by_role: dict[str, float] = defaultdict(float)
        for worker in workers:
            by_role[worker.post.role] += _resident_mb(worker)
        self.samples.append((at_s, dict(by_role)))

    def growth(self) -> dict[str, float]:
        """Percent in ten minutes, by role and of `all`: the slope of the medians of each minute."""
        since_s = self.samples[-1][0] * (1 - GROWTH_SHARE)
        minutes: dict[int, list[dict[str, float]]] = defaultdict(list)
        for at_s, by_role in self.samples:
            if at_s >= since_s:
                minutes[int(at_s // 60)].append({**by_role, "all": sum(by_role.values())})
        roles = sorted({role for some in minutes.values() for one in some for role in one})
        return {role: round(_slope(minutes, role), 2) for role in roles}


async def soak(folder: Path, *, minutes: float, people: int, seed: int) -> tuple[Report, Memory]:
    """Run it. The broker dies, too, so some messages end with an apology."""
    shape = Shape(people=people, habits=HABITS)
    fault = Fault(name="soak", round=_any, rounds=0, shape=shape, never=WAITED)
    report, memory = Report(fault.name), Memory()
    async with Lab(folder, shape=shape, seed=seed) as lab:
        began_s = time.monotonic()
        watching = asyncio.create_task(_watch(lab, memory, began_s))
        number = 0
        while (passed_s := time.monotonic() - began_s) < minutes * 60:
            next_s = began_s + EVERY_S * (passed_s // EVERY_S + 1)
            await _any(lab, number)
            number += 1
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            told = f"{passed_s:5.0f} s, {lab.said} messages, last: {lab.blows[-1].what}"
            print(told, file=sys.stderr, flush=True)
        report.seconds = time.monotonic() - began_s
        lab.notes["messages a second"] = round(lab.said / report.seconds)
        watching.cancel()
        await lab.talk(lab.said + AFTER * len(lab.people))
        await lab.rest()
        await asyncio.to_thread(look, lab, report, fault)
    return report, memory


async def _any(lab: Lab, number: int) -> None:
    """One fault of those that one broker and its workers may have."""
    fault = lab.chance.choice(_FAULTS)
    await fault(lab, number)


async def _kill(lab: Lab, number: int) -> None:
    await lab.kill(lab.one_of(lab.chance.choice(list(ROLES))))


async def _restart(lab: Lab, number: int) -> None:
    await lab.restart(lab.one_of(lab.chance.choice(list(ROLES))))


async def _hold(lab: Lab, number: int) -> None:
    """A worker stands still, for less than anybody else would notice."""
    worker = lab.one_of(lab.chance.choice(list(ROLES)))
    lab.blow(f"hold {worker.post.role}", worker)
    worker.pause()
    await asyncio.sleep(HELD_S)
    worker.resume()


_FAULTS: tuple[Callable[[Lab, int], Awaitable[None]], ...] = (
    *(_kill,) * 4,
    *(_restart,) * 2,
    *(_hold,) * 2,
    on_workers.open_transaction,
    on_workers.join_and_leave,
    on_brokers.broker_dies,
)


async def _watch(lab: Lab, memory: Memory, began_s: float) -> None:
    while True:
        memory.take(time.monotonic() - began_s, lab.crew.workers)
        await asyncio.sleep(SAMPLE_S)


def _resident_mb(worker: Worker) -> float:
    """0 for one that is just dead."""
    try:
        text = Path(f"/proc/{worker.pid}/status").read_text()
    except (OSError, AssertionError):
        return 0.0
    kilobytes = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(kilobytes[0]) / 1024 if kilobytes else 0.0


def _slope(minutes: dict[int, list[dict[str, float]]], role: str) -> float:
    medians = {
        minute: statistics.median(one.get(role, 0.0) for one in some)
        for minute, some in minutes.items()
    }
    if len(medians) < 2 or not any(medians.values()):
        return 0.0
    slope = statistics.linear_regression(list(medians), list(medians.values())).slope
    return slope * 10 / statistics.mean(medians.values()) * 100


def main() -> None:
    """Run, print, exit: 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many talk at once")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices")
    at = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        running = soak(Path(scratch) / "lab", minutes=at.minutes, people=at.people, seed=at.seed)
        report, memory = asyncio.run(running)
    print(table([report]), file=sys.stderr)
    last = {role: round(mb) for role, mb in memory.samples[-1][1].items()}
    found = {**summary(report), "memory_mb": last, "growth_percent": memory.growth()}
    print(json.dumps({**found, "seed": at.seed}, indent=2))
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
