"""Random dialogs in the simulator, and all that came of one as bytes; also run as a program.

`python -m tests.testkit_tests.simulated SEED N` prints a digest of the logs and of what was seen:
two processes with different hash seeds must print the same.
"""

import sys
from collections.abc import Iterator
from hashlib import blake2b
from random import Random

import msgspec

from engine.crash_points import CrashPoint
from engine.effects import FallbackStrategy
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, Busy, SkillTrigger
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest
from testkit import stimuli
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.worlds import Evidence, Logged

USERS = 4
SCRIPT = Script(
    users=USERS,
    says={
        "chat": ("hi", "why?"),
        "human": ("human",),
        "skill": ("/sum of this", "/sum"),
        "day": ("tomorrow", "2027-02-01", "annual"),
        "yes": ("yes", "no", "because", "cancel"),
    },
    intents={"chat": "chat", "skill": "sum"},
    model=("ok", "", "system error: OOM", "long " * 8_000),
    skill=("done", ""),
)
ALL = 1_000_000


def assistant(busy: Busy = "queue") -> Assistant:
    """The assistant with all that it may have."""
    return Assistant(
        AssistantConfig(
            busy=busy,
            settle_s=0 if busy == "queue" else 1,
            skills=(SkillTrigger(name="sum", trigger_words=("/sum",)),),
            recogniser=True,
            greeting="hello",
            fallback_strategies=(
                FallbackStrategy(pattern="system error", action="escalate_to_human"),
            ),
        )
    )


def leave_request() -> LeaveRequest:
    return LeaveRequest()


def some(rng: Random, n: int) -> Iterator[AnyStimulus]:
    """Any stimuli, those of people and runners more often."""
    for _ in range(n):
        chance = rng.random()
        if chance < 0.35:
            yield said(rng)
        elif chance < 0.6:
            how = rng.choice(("ok", "ok", "ok", "fail", "die"))
            yield stimuli.Outcome(rng.randrange(5), how, rng.randrange(6))
        else:
            yield rng.choice(OTHERS)(rng)


def said(rng: Random) -> stimuli.Say:
    age_ms = rng.choice((0, 0, 0, 0, 90_000_000))
    return stimuli.Say(rng.randrange(USERS), rng.choice([*SCRIPT.says]), rng.randrange(5), age_ms)


OTHERS = (
    lambda rng: stimuli.Frame(rng.randrange(5), rng.randrange(5)),
    lambda rng: stimuli.Wait(rng.choice((None, 10, 150, 2_000, 5_000, 60_000, 1_000_000))),
    lambda rng: stimuli.Operator(rng.randrange(USERS), rng.choice(("say", "hand back"))),
    lambda rng: stimuli.Stop(rng.randrange(USERS)),
    lambda rng: stimuli.Feedback(rng.randrange(USERS), rng.choice(("up", "down"))),
    lambda rng: stimuli.Late(rng.randrange(50)),
    lambda rng: stimuli.Again(rng.randrange(1_000)),
    lambda rng: stimuli.Platform(rng.choice(("away", "refuses", "slow", "silent"))),
    lambda rng: stimuli.Disk(),
    lambda rng: stimuli.Crash(rng.choice([*CrashPoint])),
    lambda rng: stimuli.Move(rng.randrange(4)),
    lambda rng: stimuli.Zombie(rng.randrange(4)),
    lambda rng: stimuli.Skew(rng.randrange(4), rng.randrange(-5_000, 5_000)),
    lambda rng: stimuli.Redrive(rng.randrange(4)),
)


def ran(flow: Flow, *, seed: int, n: int, idempotent: bool = True) -> Evidence:
    """A random run of n stimuli that has come to rest."""
    simulator = Simulator(
        flow, script=SCRIPT, seed=seed, idempotent=idempotent, partitions=3, limit=(5, 1_000)
    )
    for stimulus in some(Random(seed), n):
        simulator.act(stimulus)
    simulator.rest()
    return simulator.evidence()


def digest(evidence: Evidence) -> str:
    """Of every byte that the logs hold, and of every entry of what was seen, in order."""
    sums = blake2b(digest_size=16)
    for log in evidence.logs:
        for part in _parts(log):
            sums.update(msgspec.json.encode(part))
    for entry in evidence.seen:
        sums.update(repr(entry).encode())
    return sums.hexdigest()


def _parts(log: Logged) -> Iterator[object]:
    yield log.read(0, after=0, limit=ALL)
    yield log.dead_letters()
    for session_id, value in log.sessions(limit=ALL):
        yield session_id, value
        yield log.steps(session_id, after_seq=0, limit=ALL)
        yield log.step_times(session_id, after_seq=0, limit=ALL)
        yield log.deliveries_of(session_id)


def main() -> None:
    seed, n = int(sys.argv[1]), int(sys.argv[2])
    for flow in (assistant("steer"), leave_request()):
        print(digest(ran(flow, seed=seed, n=n)))


if __name__ == "__main__":
    main()
