"""Flows, scripts and lists of stimuli for the tests of the worlds and of the laws."""

from random import Random

from engine.crash_points import CrashPoint
from engine.effects import FallbackStrategy
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest
from testkit import stimuli
from testkit.script import Script
from testkit.stimuli import AnyStimulus

USERS = 3
_SKILLS = (SkillTrigger(name="summary", trigger_words=("summarise",)),)
_FALLBACKS = (FallbackStrategy(pattern="error: OOM", action="escalate_to_human"),)


def _assistant(busy: str, *, settle_s: int = 0, recogniser: bool = False) -> Flow:
    config = AssistantConfig(
        busy=busy,  # type: ignore[arg-type]
        settle_s=settle_s,
        recogniser=recogniser,
        skills=_SKILLS,
        fallback_strategies=_FALLBACKS,
    )
    return Assistant(config)


FLOWS: dict[str, Flow] = {
    "queue": _assistant("queue", recogniser=True),
    "merge": _assistant("merge", settle_s=2),
    "interrupt": _assistant("interrupt", settle_s=2),
    "steer": _assistant("steer"),
    "leave request": LeaveRequest(),
}
_ASSISTANT_SCRIPT = Script(
    users=USERS,
    says={
        "chat": ("hi", "why?"),
        "skill": ("summarise this text please", "summarise"),
        "human": ("human", "转人工"),
        "big": ("y" * 16_000, "z" * 20_000),
    },
    intents={"skill": "summary"},
    model=("ok", "", "error: OOM", "长" * 30_000),
)
_LEAVE_SCRIPT = Script(
    users=USERS,
    says={
        "chat": ("hi", "annual", "tomorrow", "2027-03-01", "because", "yes", "no"),
        "human": ("cancel",),
        "big": ("x" * 20_000,),
    },
)


def script(name: str) -> Script:
    """The words for a flow of `FLOWS`."""
    return _LEAVE_SCRIPT if name == "leave request" else _ASSISTANT_SCRIPT


def calm(seed: int, n: int) -> list[AnyStimulus]:
    """`n` stimuli without faults, each followed by a moment in which nothing happens.

    Time passes to the next thing that is due only, so that no two worlds race.
    """
    rng = Random(seed)
    made: list[AnyStimulus] = []
    for _ in range(n):
        made += [_calm(rng), stimuli.Wait(0)]
    return made


def _calm(rng: Random) -> AnyStimulus:
    roll = rng.random()
    if roll < 0.45:
        kind = rng.choice(["chat", "chat", "chat", "skill", "human", "big"])
        age_ms = rng.choice([0] * 20 + [25 * 3_600_000])
        return stimuli.Say(rng.randrange(USERS), kind, rng.randrange(7), age_ms)
    if roll < 0.75:
        how = rng.choice(["ok", "ok", "ok", "fail", "die"])
        return stimuli.Outcome(rng.randrange(5), how, rng.randrange(5))  # type: ignore[arg-type]
    if roll < 0.82:
        return stimuli.Frame(rng.randrange(3), rng.randrange(4))
    if roll < 0.9:
        return stimuli.Wait()
    if roll < 0.95:
        return stimuli.Operator(rng.randrange(USERS), rng.choice(["say", "hand back"]))  # type: ignore[arg-type]
    return stimuli.Stop(rng.randrange(USERS))


def broken(seed: int, n: int) -> list[AnyStimulus]:
    """`n` stimuli, about one in six a fault."""
    rng = Random(seed)
    return [_fault(rng) if rng.random() < 0.16 else _busy(rng) for _ in range(n)]


def _busy(rng: Random) -> AnyStimulus:
    roll = rng.random()
    if roll < 0.1:
        return stimuli.Wait(rng.choice([10, 200, 5_000, 100_000]))
    if roll < 0.13:
        return stimuli.Feedback(rng.randrange(USERS))
    return _calm(rng)


def _fault(rng: Random) -> AnyStimulus:
    made: list[AnyStimulus] = [
        stimuli.Late(rng.randrange(9)),
        stimuli.Again(rng.randrange(20)),
        stimuli.Platform(rng.choice(["away", "refuses", "slow", "silent"])),  # type: ignore[arg-type]
        stimuli.Disk(),
        stimuli.Crash(rng.choice(list(CrashPoint))),
        stimuli.Move(rng.randrange(2)),
        stimuli.Zombie(rng.randrange(2)),
        stimuli.Skew(rng.randrange(2), rng.choice([-5_000, 5_000, 100_000])),
        stimuli.Redrive(rng.randrange(3)),
    ]
    return rng.choice(made)
