"""The search of `ai-assistant flow test`: dialogs by chance on the simulator, judged by the laws.

Between `testkit.generate`, which makes lists of stimuli, and the command, which prints. One seed
gives one sequence of runs; how many there are is for whoever asks. What it never does: print, or
look at a clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from statemachines.flow import Flow
from streams.chat.reduce import reduce
from testkit import generate, laws
from testkit.coverage import Coverage, Tally, rounded, tally_of
from testkit.happening import COMES_TO_REST, NOTHING_IS_RAISED, let_happen, raised
from testkit.laws import Violation
from testkit.script import Script
from testkit.stimuli import FAULTS, AnyStimulus
from testkit.surroundings import of_seed, simulator
from testkit.worlds import Evidence, Wrote

__all__ = ["NOTHING_IS_RAISED", "Run", "Search", "reduced", "run"]

RUNS_OF_REDUCTION_MAX = 600
ENDLESS_RUNS_MAX = 24
"""Where a world never rests: each such run takes as long as the patience of the world."""
LOOKED_AT_EVERY = 16
"""Runs after which the search looks anew at what it has not seen yet; at first after each."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One list of stimuli on the simulator, and the laws that did not hold in it."""

    seed: int
    stimuli: tuple[AnyStimulus, ...]
    evidence: Evidence
    violations: tuple[Violation, ...]

    @property
    def messages(self) -> int:
        """How many messages users wrote in it."""
        return sum(isinstance(seen, Wrote) for seen in self.evidence.seen)


def run(flow: Flow, script: Script, *, seed: int, stimuli: Sequence[AnyStimulus]) -> Run:
    """Let it happen, come to rest, judge. What is around it comes of the seed."""
    world = simulator(flow, script, seed=seed, around=of_seed(seed))
    evidence, found = let_happen(world, stimuli)
    if not found:
        try:
            found = laws.check(evidence)
        except Exception as error:
            found = [raised(error)]
    return Run(seed=seed, stimuli=tuple(stimuli), evidence=evidence, violations=tuple(found))


class Search:
    """Runs one after the other; `coverage` is what all of them showed."""

    def __init__(self, flow: Flow, script: Script, *, seed: int) -> None:
        self.flow, self.script = flow, script
        self.runs = 0
        self.messages = 0
        self._seed = seed
        self._explorer = generate.Explorer(flow, script, rng=Random(seed))
        self._tally = Tally(flow)
        self._coverage = self._tally.coverage()

    @property
    def steps(self) -> int:
        """How many events were stepped in all runs."""
        return self._tally.steps

    @property
    def seen_percent(self) -> float:
        """How much of the flow was seen, as of the last look; rounded down."""
        return rounded(self._coverage.percent())

    def coverage(self) -> Coverage:
        """What was seen so far."""
        return self._tally.coverage()

    def next(self) -> Run:
        """One more run, with the next seed."""
        tried = self._explorer.next(self._coverage)
        done = run(self.flow, self.script, seed=self._seed + self.runs, stimuli=tried)
        self.count(done)
        return done

    def count(self, done: Run) -> None:
        """Add what a run showed."""
        tally = tally_of(self.flow, done.evidence)
        self._explorer.learn(done.stimuli, frozenset(tally.counts))
        self._tally.join(tally)
        self.runs += 1
        self.messages += done.messages
        if self.runs < LOOKED_AT_EVERY or self.runs % LOOKED_AT_EVERY == 0:
            self._coverage = self.coverage()


def reduced(flow: Flow, script: Script, *, found: Run) -> Run:
    """The shortest run that still breaks the first law that `found` broke, each stimulus of it as
    plain as it can be; without faults where none is needed."""
    law = found.violations[0].law
    runs_left = ENDLESS_RUNS_MAX if law == COMES_TO_REST else RUNS_OF_REDUCTION_MAX

    def fails(stimuli: Sequence[AnyStimulus]) -> bool:
        nonlocal runs_left
        runs_left -= 1
        tried = run(flow, script, seed=found.seed, stimuli=stimuli)
        return any(violation.law == law for violation in tried.violations)

    without = [one for one in found.stimuli if not isinstance(one, FAULTS)]
    start = without if fails(without) else found.stimuli
    kept = reduce(start, fails, calls_max=runs_left // 2)
    for place, stimulus in enumerate(kept):
        for plainer in _plainer(stimulus):
            tried = [*kept[:place], plainer, *kept[place + 1 :]]
            if runs_left > 0 and fails(tried):
                kept = tried
                break
    return run(flow, script, seed=found.seed, stimuli=kept)


def _plainer(stimulus: AnyStimulus) -> Iterator[AnyStimulus]:
    """The stimulus with all of its fields as they are where nobody sets them; then with one."""
    kind = type(stimulus)
    plain = kind()
    if plain == stimulus:
        return
    yield plain
    for name in kind.__struct_fields__:
        if getattr(stimulus, name) != getattr(plain, name):
            yield msgspec.structs.replace(stimulus, **{name: getattr(plain, name)})
