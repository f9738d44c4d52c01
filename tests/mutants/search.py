"""The search: generated dialogs of many settings until a law breaks, then the shortest that does.

A part of the hunt, over `testkit`'s worlds and laws. It decides nothing of what happens in a world,
leaves no law out, and excuses one thing only: the error that a subject raises on purpose.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import FrameType

import msgspec

from engine import codec
from engine.crash_points import CrashPoint
from streams.chat.reduce import reduce
from streams.embedded import host
from testkit import generate, laws
from testkit.coverage_universe import Key
from testkit.dialogs import dialogs
from testkit.embedded import EmbeddedWorld
from testkit.pure import PureWorld
from testkit.simulator import Simulator
from testkit.stimuli import (
    Again,
    AnyStimulus,
    Crash,
    Disk,
    Frame,
    Late,
    Move,
    Outcome,
    Platform,
    Zombie,
    from_json,
    to_json,
)
from testkit.worlds import Evidence, World
from tests.mutants import recorded
from tests.mutants.report import Found, last_line
from tests.mutants.subjects import SUBJECTS

RUN_ENDS_WITHIN_S = 20
SHRINK_ENDS_WITHIN_S = 25
REDUCTIONS_MAX = 600
OTHER_SEEDS = 12
HASH_SEEDS_EVERY = 40
USERS_MAX = 3
LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64)
PLAIN = 0.4
"""How many lists are left as the generator made them: a long way into a form stands no more."""
STRAY = 0.1
"""How often a model that streams speaks unasked."""
STRETCH = 8
"""For so many stimuli a partition is contested, or the same breaks again and again."""
PLAGUES: Sequence[AnyStimulus] = (
    Disk(),
    Platform("away"),
    Platform("slow"),
    Platform("silent"),
    Platform("refuses"),
    Late(),
    Again(),
    Move(),
)
WORLDS = ("pure", "embedded", "simulator")
SHARES = (0.1, 0.2, 0.7)
"""How often each is chosen: the embedded host takes several times as long as the simulator."""
FRAMES = 8
"""More than a model has texts."""
RETRY_COMMIT_S = 0.005
"""How long the embedded host waits for a disk that failed: here it works again at once."""

Stimuli = Sequence[AnyStimulus]


_showed: dict[int, set[Key]] = {}
"""The rows that the last run of a subject took."""


class TooLong(Exception):
    """A run that does not end."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All of a run but its stimuli. `world`: one of `WORLDS`."""

    subject: int
    seed: int
    world: str = "simulator"
    users: int = 2
    partitions: int = 2
    workers: int = 2
    idempotent: bool = True
    limit: tuple[int, int] | None = None
    changes_flow: bool = False
    outbox: bool = False


def run(began: float, seconds: float, *, seed: int) -> tuple[Found | None, int]:
    """What was found within so many seconds of `began`, and in how many dialogs."""
    _begin()
    for number, (setting, stimuli) in enumerate(_runs(Random(seed)), start=1):
        broken = _broken(setting, stimuli)
        if broken is None and number % HASH_SEEDS_EVERY == 0:
            broken = recorded.other_hash_seed(setting.subject)
        passed = time.monotonic() - began
        if broken is not None:
            law, what = broken
            found = Found(law=law, what=what, seconds=passed)
            _shrink(found, setting, stimuli)
            return found, number
        if passed > seconds:
            return None, number
    raise AssertionError("there are always more runs")


def again(told: Found) -> Found | None:
    """Run once more what was told of, here; None where all is well."""
    _begin()
    began = time.monotonic()
    setting = msgspec.json.decode(told.setting, type=Setting)
    broken = _broken(setting, from_json(told.list))
    if broken is None:
        return None
    law, what = broken
    return Found(law=law, what=what, seconds=time.monotonic() - began)


# ---- what is run ---------------------------------------------------------------------------------


def _runs(rng: Random) -> Iterator[tuple[Setting, Stimuli]]:
    """Settings and stimuli, for ever, each subject in its turn."""
    explorers = [
        generate.Explorer(subject.flow(), subject.script(USERS_MAX), rng=rng)
        for subject in SUBJECTS
    ]
    number = 0
    while True:
        number += 1
        subject = number % len(SUBJECTS)
        (world,) = rng.choices(WORLDS, SHARES)
        setting = Setting(
            subject=subject,
            seed=rng.randrange(2**16),
            world=world,
            users=rng.randint(1, USERS_MAX),
            partitions=rng.choice((1, 2)),
            workers=rng.choice((1, 2, 3)),
            idempotent=rng.random() < 0.6,
            limit=rng.choice((None, None, (2, 1_000), (1, 500))),
            # One process after another runs the same flow there.
            changes_flow=world == "simulator" and rng.random() < 0.2,
            outbox=rng.random() < 0.3,
        )
        if rng.random() < 0.5:  # something new, or going on from where something new was seen
            plain = explorers[subject].next()
        else:
            flow, script = SUBJECTS[subject].flow(), SUBJECTS[subject].script(USERS_MAX)
            plain = generate.stimuli(flow, script, rng=rng, length=rng.choice(LENGTHS))
        yield setting, plain if rng.random() < PLAIN else _disturbed(plain, rng)
        # What the run showed is known now; what was put into the list is not gone on from.
        explorers[subject].learn(plain, frozenset(_showed.pop(subject, ())))


def _disturbed(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with more of what hosts live through, of several kinds or of none."""
    for share, how in DISTURBANCES:
        if rng.random() < share:
            stimuli = how(stimuli, rng)
    return stimuli


def _streamed(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with frames before answers, and some anywhere."""
    found: list[AnyStimulus] = []
    for one in stimuli:
        if rng.random() < STRAY:
            found.append(_frame(rng))
        if isinstance(one, Outcome) and rng.random() < 0.7:
            found.append(Frame(i=one.i, variant=one.variant))
        found.append(one)
    return found


def _hurried(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with one of them many times in a row."""
    place = rng.randrange(len(stimuli))
    return [*stimuli[:place], *[stimuli[place]] * rng.randint(2, 12), *stimuli[place:]]


def _looping(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with a process that dies at one point each time that it is started again.

    Half of these loops are of the one kind that the design knows: a step that kills.
    """
    place = rng.randrange(len(stimuli))
    point = rng.choice([*CrashPoint, *[CrashPoint.STEP_COMMIT] * (len(CrashPoint) - 2)])
    deaths = [Crash(point)] * rng.randint(3, 8)
    return [*stimuli[:place], *deaths, *stimuli[place:]]


def _contested(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with an owner that loses its partition, and whose runners go on for a while."""
    place = rng.randrange(len(stimuli))
    found: list[AnyStimulus] = [*stimuli[:place], Zombie(rng.randrange(4))]
    for one in stimuli[place : place + STRETCH]:
        found += [one, _frame(rng)]
    return [*found, *stimuli[place + STRETCH :]]


def _plagued(stimuli: Stimuli, rng: Random) -> Stimuli:
    """The same with a stretch in which the same one or two things break all the time."""
    place, plagues = rng.randrange(len(stimuli)), rng.choices(PLAGUES, k=2)
    found: list[AnyStimulus] = [*stimuli[:place]]
    for one in stimuli[place : place + STRETCH]:
        found += [plague for plague in plagues if rng.random() < 0.6]
        found.append(one)
    return [*found, *stimuli[place + STRETCH :]]


def _frame(rng: Random) -> Frame:
    return Frame(i=rng.randrange(4), variant=rng.randrange(FRAMES))


DISTURBANCES: tuple[tuple[float, Callable[[Stimuli, Random], Stimuli]], ...] = (
    (0.4, _streamed),
    (0.2, _looping),
    (0.15, _contested),
    (0.25, _plagued),
    (0.25, _hurried),
)


def _world(setting: Setting, ends: ExitStack) -> World:
    """The world of a run; `ends` closes what has to be closed."""
    subject = SUBJECTS[setting.subject]
    flow, script = subject.flow(), subject.script(setting.users)
    if setting.world == "pure":
        return PureWorld(flow, script=script, seed=setting.seed)
    if setting.world == "embedded":
        folder = ends.enter_context(TemporaryDirectory(prefix="run-"))
        world = EmbeddedWorld(
            flow,
            script=script,
            seed=setting.seed,
            directory=Path(folder),
            idempotent=setting.idempotent,
            limit=setting.limit,
        )
        return ends.enter_context(world)
    return Simulator(
        flow,
        script=script,
        seed=setting.seed,
        partitions=setting.partitions,
        workers=setting.workers,
        idempotent=setting.idempotent,
        limit=setting.limit,
        versions=subject.versions() if setting.changes_flow else (),
        outbox=setting.outbox,
    )


# ---- what is found -------------------------------------------------------------------------------


def _broken(setting: Setting, stimuli: Stimuli) -> tuple[str, str] | None:
    """The law that this run breaks, and what is wrong; None where all is well."""
    with ExitStack() as ends:
        # Again and again: an event loop may keep an exception to itself.
        signal.setitimer(signal.ITIMER_REAL, RUN_ENDS_WITHIN_S, 1)
        try:
            return _first_broken(setting, stimuli, _world(setting, ends))
        except TooLong:
            return "it ends", "a run did not end"
        except Exception as error:
            return f"it raised {type(error).__name__}", last_line(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _first_broken(setting: Setting, stimuli: Stimuli, world: World) -> tuple[str, str] | None:
    for stimulus in stimuli:
        world.act(stimulus)
    # Authors are asked in the middle of things, too: but not always, since looking flushes.
    early = next(_of_the_author(setting, world.evidence()), None) if setting.seed % 2 else None
    world.rest()
    evidence = world.evidence()
    subject = SUBJECTS[setting.subject]
    for one in laws.check(evidence):
        if not (subject.breaks and one.what.endswith(subject.breaks)):
            return one.law, f"{one.session_id}: {one.what}"
    said = early or next(_of_the_author(setting, evidence), None)
    if said is not None:
        return "the author's", said
    if not setting.changes_flow:
        recorded.keep(setting.subject, evidence)
    _showed[setting.subject] = {
        ("row", (move.source, move.trigger, move.row))
        for dialog in dialogs(evidence)
        for moment in dialog.moments
        for move in moment.record.path
    }
    return None


def _of_the_author(setting: Setting, evidence: Evidence) -> Iterator[str]:
    """What the flow's author finds wrong with the sessions as they are stored.

    No law of the kit: it is about the states and the data of one flow, which no other has. Authors
    say such things with `@always`.
    """
    if setting.changes_flow:  # what is stored may be another configuration's
        return
    subject = SUBJECTS[setting.subject]
    flow = subject.flow()
    for dialog in dialogs(evidence):
        stored = (log.get(dialog.session_id) for log in evidence.logs)
        for value in filter(None, stored):
            session = codec.decode_session(value)
            yield from subject.author(session, flow.decode_data(bytes(session.data)), dialog)


def _shrink(found: Found, setting: Setting, stimuli: Stimuli) -> None:
    """Make the stimuli few, and note how many are left and what runs them again."""
    deadline = time.monotonic() + SHRINK_ENDS_WITHIN_S

    def fails(fewer: Stimuli, *, other_seeds: int) -> bool:
        nonlocal setting
        # What is left out takes its chance with it: what the rest needs may come of another seed.
        seeds = (setting.seed, *range(other_seeds))
        for one in (replace(setting, seed=seed) for seed in seeds):
            if time.monotonic() > deadline:
                return False
            broken = _broken(one, fewer)
            if broken is not None and broken[0] == found.law:
                setting = one
                return True
        return False

    kept = stimuli
    if found.law != recorded.TWO_HASH_SEEDS:  # that one is of many dialogs
        try:
            for seeds in (0, OTHER_SEEDS):
                fewer = partial(fails, other_seeds=seeds)
                kept = reduce(list(kept), fewer, calls_max=REDUCTIONS_MAX)
        except ValueError:
            if kept is stimuli:
                found.what += " (not again when run a second time)"
    found.subject = SUBJECTS[setting.subject].name
    found.stimuli, found.list = len(kept), to_json(kept)
    found.setting = msgspec.json.encode(setting).decode()


def _begin() -> None:
    signal.signal(signal.SIGALRM, _too_long)
    logging.disable()  # of the embedded host: what it says of each death and failed commit
    host.RETRY_COMMIT_S = RETRY_COMMIT_S


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TooLong
