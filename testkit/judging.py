"""One plan, run on one world and judged: by the laws, and by an author's predicates.

Between the strategies and the worlds: what `DialogTests` and the command line share. It decides
nothing of what happens, and looks at a flow only through its evidence.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from statemachines.flow import Flow
from testkit import coverage, laws
from testkit.dialogs import Dialog, dialogs
from testkit.happening import let_happen
from testkit.predicates import Finding, Predicate, Told, judge
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.strategies import Plan
from testkit.surroundings import simulator
from testkit.worlds import Evidence, World

Builder = Callable[[Flow, Script, Plan], World]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a plan. `broken`: empty where all is well, laws before predicates.

    `things`: names of the rows, conditions, cells and pairs of rows that the dialogs went through.
    """

    plan: Plan
    world: str
    flow: Flow
    evidence: Evidence
    broken: tuple[Finding, ...]
    things: frozenset[str]


Again = Callable[[Plan, Script], Verdict]
"""How a test runs a plan with these words, and judges it by all that it knows."""


class Broken(Told):
    """A law or a predicate that does not hold; as text, the dialog as a chat.

    Each name has a subclass of its own, so that Hypothesis does not shrink one into another.
    """

    def __init__(self, finding: Finding, script: Script, *, plan: Plan, again: Again) -> None:
        super().__init__(finding.what)
        self.finding = finding
        self.script = script
        self._plan = plan
        self._again = again

    @cached_property
    def verdict(self) -> Verdict:
        """What came of the plan, all of it judged: run again, since most are never looked at."""
        return self._again(self._plan, self.script)

    def breaks(self, plan: Plan, script: Script) -> bool:
        """Whether the same law or predicate does not hold in another plan either."""
        broken = self._again(plan, script).broken
        return any(self.finding.is_alike(finding) for finding in broken)

    def __str__(self) -> str:
        from testkit.shrunk import as_text  # it reads what is defined here

        return as_text(self.verdict, self.finding)


def _pure(flow: Flow, script: Script, plan: Plan) -> World:
    return PureWorld(flow, script=script, seed=plan.seed)


def _simulated(flow: Flow, script: Script, plan: Plan) -> World:
    return simulator(flow, script, seed=plan.seed, around=plan.around)


WORLDS: Mapping[str, Builder] = {"simulator": _simulated, "pure": _pure}
"""The worlds on which plans are run. Nothing breaks on the pure step."""


def run(
    flow: Flow,
    script: Script,
    *,
    plan: Plan,
    world: str = "simulator",
    predicates: Sequence[Predicate] = (),
    by_laws: bool = True,
) -> Verdict:
    """Let the plan happen, bring the world to rest, judge what it shows.

    `predicates`: bound. `by_laws`: whether the laws judge, too; they take about as long as the
    run. Where a hop raises, or the world never rests, that is the one finding. Raises KeyError
    where there is no such world.
    """
    evidence, ended = let_happen(WORLDS[world](flow, script, plan), plan.stimuli)
    coverage.note(flow, evidence)
    seen = dialogs(evidence)
    violations = ended or (laws.check(evidence) if by_laws else ())
    broken = [
        Finding(
            kind="law",
            name=found.law,
            session_id=found.session_id,
            what=found.what,
            at_ms=found.at_ms,
        )
        for found in violations
    ]
    if not ended:
        broken += judge(predicates, evidence, dialogs=seen)
    return Verdict(
        plan=plan,
        world=world,
        flow=flow,
        evidence=evidence,
        broken=tuple(broken),
        things=frozenset(_things(flow, seen)),
    )


def kind_of_broken(finding: Finding) -> type[Broken]:
    """The exception of one law or predicate."""
    return _kind_of_broken(finding.kind, finding.name)


@cache
def _kind_of_broken(kind: str, name: str) -> type[Broken]:
    return type(name, (Broken,), {"__doc__": f"The {kind} {name} does not hold."})


def _things(flow: Flow, dialogs: Sequence[Dialog]) -> Iterator[str]:
    """As coverage counts them; of this run alone, so it is the same in any order of tests."""
    tally = coverage.Tally(flow)
    for dialog in dialogs:
        for moment in dialog.moments:
            tally.add(moment.record, lambda event=moment.event: event)  # type: ignore[misc]
    for kind, key in tally.counts:
        yield sys.intern(f"{kind} {key}")  # thousands of verdicts are kept, of the same few things
