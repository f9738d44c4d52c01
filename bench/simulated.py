"""Volume in the simulator: millions of messages through all hops, with faults, each one judged.

`python -m bench.simulated --messages 10_000_000 --seed 1`. The messages are split into shards, each
a world of its own with a seed of its own, which comes to rest and is judged by every law before it
is forgotten: memory stays bounded. A shard that breaks a law is named by the seed that repeats it.

A long run may be cut into pieces: `--from-message M` begins at the M-th message of the same whole,
`--json` prints a piece as one line, and `--add FILE` adds such lines up and judges their sum.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from engine.crash_points import CrashPoint
from engine.effects import FallbackStrategy
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.flow import Flow
from testkit import laws, stimuli
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.worlds import Acknowledged, Called, Evidence, Fault, Received, Wrote

SHARD = 1_000
USERS = 120
ROUND = 50
"""Messages that come in at once; a fault comes with each of them."""
SEEDS = 10_000_000
"""Shards of one seed, at most."""
EVERY = 50
"""The costly folding laws look at every so many-th step, all other laws at each."""
BROKEN_MAX = 10
NONE_OF = {
    "messages lost": ("lost", "heard", "one disposition", "orders are delivered"),
    "replies doubled": ("received once", "ordered once"),
    "laws broken": laws.LAWS,
}
"""What the table counts in any case, by the laws that find it."""
TOLD_EVERY_S = 30.0
SKILLS = (SkillTrigger(name="sum", trigger_words=("/sum",)),)
FALLBACKS = (FallbackStrategy(pattern="system error", action="escalate_to_human"),)
FLOWS: tuple[Flow, ...] = (
    Assistant(AssistantConfig(skills=SKILLS, fallback_strategies=FALLBACKS)),
    Assistant(AssistantConfig(skills=SKILLS, busy="merge", settle_s=1)),
    Assistant(AssistantConfig(skills=SKILLS, busy="interrupt", recogniser=True)),
    Assistant(AssistantConfig(skills=SKILLS, busy="steer", on_failure="person")),
)
SCRIPT = Script(
    users=USERS,
    says={
        "chat": ("hi", "why?", "and then?"),
        "skill": ("/sum of this", "/sum"),
        "human": ("human",),
    },
    intents={"chat": "chat", "skill": "sum"},
    model=("ok", "an answer of some words", "another", "", "system error: OOM"),
    skill=("done", "a summary"),
)
KINDS = ("chat",) * 84 + ("skill",) * 15 + ("human",)
DEADLY = 8
"""Deaths in or after a step, one after the other: often three of them at the same event."""
LONG_MS = 1_000_000
"""Longer than anybody waits for a person: those who were handed over are the bot's again."""


class Judged(NamedTuple):
    """What came of one shard. `counted`: by what it was; `broken`: laws, in words."""

    seed: int
    counted: Counter[str]
    broken: tuple[str, ...]
    peak_kib: int = 0
    """The most memory that its process has had so far."""
    cpu_s: float = 0.0


class Piece(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Some shards, one after the other, of one seed: the messages from `first` on, `until` another.

    `took_s`: of the wall clock, with `processes` at work; `cpu_s`: of all of them.
    """

    seed: int
    first: int
    until: int
    processes: int
    took_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: int = 0
    counted: dict[str, int] = {}
    broken: list[str] = []

    def add(self, one: Judged) -> None:
        """A shard is done."""
        self.counted = dict(Counter(self.counted) + one.counted)
        self.peak_mib = max(self.peak_mib, one.peak_kib // 1024)
        self.cpu_s += one.cpu_s
        self.broken += [f"shard {one.seed}: {what}" for what in one.broken][:BROKEN_MAX]


def main() -> None:
    """Run the shards of a piece, say how fast that was; ends with 1 where a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many, in whole shards")
    parser.add_argument("--from-message", type=int, default=0, help="where this piece begins")
    parser.add_argument("--seed", type=int, default=1, help="of the whole, all its pieces")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print the piece as one line of JSON")
    parser.add_argument(
        "--shard", type=int, help="run only the shard of this seed, in this process"
    )
    parser.add_argument("--add", type=Path, help="run nothing: add the lines of this file up")
    given = parser.parse_args()
    if given.add is not None:
        done = added(given.add.read_text())
    elif given.shard is not None:
        done = Piece(seed=given.shard, first=0, until=SHARD, processes=1)
        _timed(done, lambda: done.add(judged(given.shard)))
    else:
        first = given.from_message // SHARD
        until = -(-(given.from_message + given.messages) // SHARD)
        done = Piece(
            seed=given.seed, first=first * SHARD, until=until * SHARD, processes=given.processes
        )
        _timed(done, lambda: _run(done))
    print(msgspec.json.encode(done).decode() if given.json else told(done), flush=True)
    sys.exit(bool(done.broken))


def _timed(done: Piece, run: Callable[[], None]) -> None:
    began = time.perf_counter()
    run()
    done.took_s = round(time.perf_counter() - began, 1)


def _run(done: Piece) -> None:
    """All shards of a piece, each in one of its processes; what is under way goes to stderr."""
    began, told_s = time.perf_counter(), 0.0
    seeds = [done.seed * SEEDS + n for n in range(done.first // SHARD, done.until // SHARD)]
    context = multiprocessing.get_context("forkserver")
    with context.Pool(done.processes, initializer=_begin) as pool:
        for one in pool.imap_unordered(judged, seeds, chunksize=4):
            done.add(one)
            for what in one.broken[:3]:
                print(f"shard {one.seed}: {what}", file=sys.stderr, flush=True)
            took_s = time.perf_counter() - began
            if took_s - told_s > TOLD_EVERY_S:
                told_s, messages = took_s, done.counted["messages"]
                rate = f"{messages:,} messages, {messages / took_s:,.0f}/s"
                print(f"  {rate}, {len(done.broken)} broken", file=sys.stderr, flush=True)


def _begin() -> None:
    """What every shard shares is looked through for garbage by none of them."""
    gc.collect()
    gc.freeze()


def added(lines: str) -> Piece:
    """The sum of pieces of one seed. Raises ValueError where they overlap or are of other seeds."""
    pieces = [msgspec.json.decode(line, type=Piece) for line in lines.splitlines() if line]
    pieces.sort(key=lambda piece: piece.first)
    whole = Piece(seed=pieces[0].seed, first=pieces[0].first, until=pieces[0].first, processes=0)
    for piece in pieces:
        if piece.seed != whole.seed or piece.first != whole.until:
            what = f"messages {piece.first} of seed {piece.seed}"
            raise ValueError(f"{what} do not follow {whole.until} of seed {whole.seed}")
        whole.until = piece.until
        whole.processes = max(whole.processes, piece.processes)
        whole.took_s += piece.took_s
        whole.cpu_s += piece.cpu_s
        whole.peak_mib = max(whole.peak_mib, piece.peak_mib)
        whole.counted = dict(Counter(whole.counted) + Counter(piece.counted))
        whole.broken += piece.broken
    return whole


def _broken(counted: dict[str, int], by: tuple[str, ...]) -> int:
    return sum(counted.get(f"broken: {law}", 0) for law in by)


def told(done: Piece) -> str:
    """A piece as a table."""
    counted = done.counted
    messages = counted.get("messages", 0)
    rows = [f"{name:32} {counted[name]:>14,}" for name in sorted(counted)]
    rows += [f"{name:32} {_broken(counted, by):>14,}" for name, by in NONE_OF.items()]
    rows.append(f"{'messages per fault':32} {messages / max(1, counted.get('faults', 0)):>14.1f}")
    rows.append(f"{'messages/s':32} {messages / max(done.took_s, 0.1):>14,.0f}")
    rows.append(f"{'messages/s of CPU':32} {messages / max(done.cpu_s, 0.1):>14,.0f}")
    rows.append(f"{'processes':32} {done.processes:>14}")
    rows.append(f"{'seconds':32} {done.took_s:>14,.1f}")
    rows.append(f"{'most MiB of a process':32} {done.peak_mib:>14,}")
    rows += done.broken[:10] or ["no law was broken"]
    return "\n".join(rows)


# ---- one shard -----------------------------------------------------------------------------------


def judged(seed: int) -> Judged:
    """Run one shard and judge it; the same seed gives the same. What a hop raises is a finding."""
    collects, began_s = gc.isenabled(), time.process_time()
    gc.disable()  # a shard is forgotten as a whole: nothing of it is garbage before
    try:
        evidence = _played(seed)
        violations = laws.check(evidence, every=EVERY)
        broken = [f"{one.law}: {one.what} ({one.session_id})" for one in violations]
        counted = _counted(evidence) + Counter(f"broken: {one.law}" for one in violations)
        del evidence
    except Exception as error:  # of whatever kind: the seed must come to light
        counted, broken = Counter(), [f"{type(error).__name__}: {error}"]
    finally:
        gc.collect()
        if collects:
            gc.enable()
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Judged(seed, counted, tuple(broken), peak_kib, time.process_time() - began_s)


def _played(seed: int) -> Evidence:
    """The shard's world at rest."""
    rng = Random(seed)
    simulator = Simulator(
        FLOWS[seed % len(FLOWS)],
        script=SCRIPT,
        seed=seed,
        idempotent=seed % 2 == 0,
        limit=(200, 1_000) if seed % 3 == 0 else None,
        calls_max=USERS,
    )
    for n in range(SHARD // ROUND):
        for fault in _faults(rng):
            simulator.act(fault)
        simulator.act_at_once([_said(rng) for _ in range(ROUND)])
        simulator.act_at_once(list(_outcomes(rng, len(simulator.cluster.pending))))
        simulator.act(stimuli.Wait(LONG_MS if n % 5 == 4 else rng.randrange(2_000)))
    simulator.rest()
    return simulator.evidence()


def _said(rng: Random) -> stimuli.Say:
    return stimuli.Say(rng.randrange(USERS), rng.choice(KINDS), rng.randrange(3))


def _outcomes(rng: Random, pending: int) -> Iterator[AnyStimulus]:
    """Nearly all that is pending ends, in any order; some of it streams before."""
    for _ in range(pending):
        chance = rng.random()
        if chance < 0.1:
            yield stimuli.Frame(rng.randrange(pending), 1)
        elif chance < 0.13:
            yield stimuli.Outcome(rng.randrange(pending), "fail", rng.randrange(5))
        elif chance < 0.15:
            yield stimuli.Outcome(rng.randrange(pending), "ok", 4)
        else:
            yield stimuli.Outcome(rng.randrange(pending), "ok", rng.randrange(4))


def _faults(rng: Random) -> list[AnyStimulus]:
    match rng.randrange(8):
        case 0:
            return [stimuli.Late(rng.randrange(256))]
        case 1:
            return [stimuli.Again(rng.randrange(SHARD))]
        case 2:
            return [stimuli.Disk()]
        case 3:
            return [stimuli.Move(rng.randrange(2))]
        case 4:
            return [stimuli.Zombie(rng.randrange(2))]
        case 5:
            return [stimuli.Platform(rng.choice(("away", "refuses", "slow", "silent")))]
        case 6:
            return [stimuli.Skew(rng.randrange(2), rng.randrange(-1_000, 1_000))]
        case _:
            point = rng.choice([*CrashPoint])
            return [stimuli.Crash(point)] * (DEADLY if point is CrashPoint.STEP_COMMIT else 1)


def _counted(evidence: Evidence) -> Counter[str]:
    counted: Counter[str] = Counter()
    for entry in evidence.seen:
        match entry:
            case Wrote():
                counted["messages"] += 1
            case Acknowledged():
                counted["acknowledged"] += 1
            case Called(fenced=fenced):
                counted["calls by zombies" if fenced else "calls by owners"] += 1
            case Received():
                counted["replies received"] += 1
            case Fault(point=point):
                counted["faults"] += 1
                counted[f"died at {point}" if point else "other faults"] += 1
    for log in evidence.logs:
        counted["events"] += log.head(0)
        counted["messages set aside"] += len(log.dead_letters())
        for session_id, _ in log.sessions(limit=USERS):
            for delivery in log.deliveries_of(session_id):
                counted[f"deliveries {delivery.state}"] += 1
    return counted


if __name__ == "__main__":
    main()
