"""Hypothesis strategies: plans of what happens to a dialog, from a flow and its words.

A plan is one flat list of stimuli, and each of them is always possible, so nothing is ever filtered
and whatever Hypothesis leaves out is a plan again. What stands first shrinks best: what a person
says before what a platform does, one user before two, a class before its other texts, and faults
last. The letters come from the machine: its commands, its time-outs and deadlines to the
millisecond, the words that start its skills.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from engine.crash_points import CrashPoint
from engine.limits import MESSAGE_AGE_MAX_MS, SEEN_KEPT_MS
from statemachines import arrivals
from statemachines.flow import Flow
from testkit.generate import known_words, waits_ms
from testkit.script import FAILURES, Script
from testkit.stimuli import (
    Again,
    AnyStimulus,
    Crash,
    Disk,
    Feedback,
    Frame,
    Late,
    Move,
    Operator,
    Outcome,
    Platform,
    Redrive,
    Say,
    Skew,
    Stop,
    Wait,
    Zombie,
)
from testkit.surroundings import PLAIN, SOME, Surroundings

Letters = st.SearchStrategy[AnyStimulus]
_SEEDS = st.integers(0, 2**16 - 1)
_FEW = st.integers(0, 3)
_FAULTS_WEIGHT = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run: what happens, the world's own chance, and what is around it."""

    stimuli: tuple[AnyStimulus, ...]
    seed: int = 0
    around: Surroundings = PLAIN


def plans(flow: Flow, script: Script, *, faults: bool = True) -> st.SearchStrategy[Plan]:
    """Plans of up to 64 stimuli, about 25 on average; without `faults` nothing breaks in them."""
    letter = letters(flow, script, faults=faults)
    # Lists of lists: a list alone would be short, one with a least length could not shrink.
    stretches = st.lists(st.lists(letter, min_size=1, max_size=8), min_size=1, max_size=8)
    long = stretches.map(lambda lists: tuple(one for some in lists for one in some))
    # What a long list goes on to say often mends what went wrong before: half of them are short.
    flat = st.one_of(st.lists(letter, min_size=1, max_size=8).map(tuple), long)
    if not faults:
        return st.builds(Plan, stimuli=flat)
    return st.builds(Plan, stimuli=flat, seed=_SEEDS, around=st.sampled_from(SOME))


def letters(flow: Flow, script: Script, *, faults: bool = True) -> Letters:
    """One stimulus of the flow's alphabet."""
    asks = _asks(flow)
    weighed = [*_dialog(flow, script, asks=asks), *(_faults(asks=asks) if faults else ())]
    simple_first = [letter for letter, _ in weighed]
    more = [letter for letter, weight in weighed for _ in range(weight - 1)]
    return st.sampled_from(simple_first + more).flatmap(lambda letter: letter)


def words(flow: Flow, says: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """The author's texts by class, and those that the machine knows: commands, skills' triggers.

    Where the author gave none, two texts of class `chat` come first.
    """
    found: dict[str, Sequence[str]] = dict(says) or dict(Script().says)
    for name, texts in known_words(flow).items():
        found.setdefault(name, texts)
    return found


def _asks(flow: Flow) -> bool:
    """Whether the flow ever asks a runner: where it does not, nothing can end, begin or be late."""
    found = arrivals.derive(type(flow), flow.table, initial=flow.initial, config=flow.config)
    return any(found.awaited.values())


def _dialog(flow: Flow, script: Script, *, asks: bool) -> Iterator[tuple[Letters, int]]:
    """What people, runners and time do, with weights."""
    user = st.integers(0, script.users - 1)
    kinds = list(script.says)
    most = max(len(texts) for texts in script.says.values())
    kind, variant = st.sampled_from(kinds), st.integers(0, most - 1)
    yield st.builds(Say, user=user, kind=kind, variant=variant), 10 if asks else 24
    texts = st.integers(0, max(len(script.model), len(script.skill)) - 1)
    reasons = st.integers(0, len(FAILURES) - 1)
    if asks:
        yield st.builds(Outcome, i=_FEW, how=st.just("ok"), variant=texts), 8
    yield st.just(Wait()), 6 if asks else 3
    if asks:
        yield st.builds(Outcome, i=_FEW, how=st.just("fail"), variant=reasons), 2
    yield st.builds(Wait, ms=st.sampled_from([1, 500, 2_000, *waits_ms(flow)])), 4 if asks else 2
    if asks:
        yield st.builds(Frame, i=_FEW, variant=texts), 1
    yield st.builds(Stop, user=user), 1
    yield st.builds(Operator, user=user, what=st.sampled_from(["say", "hand back"])), 2
    yield st.builds(Feedback, user=user, verdict=st.sampled_from(["up", "down"])), 1
    ages = st.sampled_from([60_000, MESSAGE_AGE_MAX_MS - 1, MESSAGE_AGE_MAX_MS + 1])
    yield st.builds(Say, user=user, kind=kind, variant=variant, age_ms=ages), 1
    yield st.just(Wait(SEEN_KEPT_MS + 1)), 1


def _faults(*, asks: bool) -> Iterator[tuple[Letters, int]]:
    """What breaks, about one stimulus in three."""
    weight = _FAULTS_WEIGHT
    if asks:
        yield st.builds(Late, i=_FEW), weight
    yield st.builds(Again, j=_FEW), weight
    if asks:
        yield st.builds(Outcome, i=_FEW, how=st.just("die")), 1
    hows = st.sampled_from(["away", "refuses", "slow", "silent"])
    yield st.builds(Platform, how=hows), weight
    yield st.builds(Crash, point=st.sampled_from(list(CrashPoint))), weight
    yield st.just(Disk()), 1
    yield st.builds(Move, i=_FEW), 1
    yield st.builds(Zombie, i=_FEW), 1
    yield st.builds(Skew, i=_FEW, ms=st.sampled_from([-1_000, 1_000, -5_000, 5_000])), 1
    yield st.builds(Redrive, i=_FEW), 1
