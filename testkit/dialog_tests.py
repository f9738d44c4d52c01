"""`DialogTests`: ten lines of a flow's author, and pytest tests that flow with generated dialogs.

    class TestAssistant(DialogTests):
        flow, users = Assistant, 2
        says = texts(chat=["hi", "why?"], human=["转人工"])

        @always
        def bot_is_silent_for_a_person(self, d):
            return not d.bot_replied_while("person", except_on_entry=True)

A subclass gets its tests when it is made: that the flow loads, that no state holds a dialog whose
user has gone, that folding gives equal bytes under another hash seed, and, on the simulator with
faults and on the pure step without, the laws and each predicate of the author. Those are plain
Hypothesis tests.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, target
from hypothesis import strategies as st

from engine.errors import Refused
from statemachines.flow import Flow, FlowError
from streams.chat.flows import told_of
from testkit import attributes, hash_seeds, owner, saved
from testkit.attributes import by_class, texts
from testkit.derived import left_by_people_only
from testkit.generate import known_words
from testkit.happening import ENDS
from testkit.judging import WORLDS, Verdict, kind_of_broken, run
from testkit.plugin import FOLDER, SAVED
from testkit.predicates import Finding, Told, always, predicates_of, within
from testkit.script import Script
from testkit.strategies import Plan, plans, words

__all__ = ["DialogTests", "always", "by_class", "texts", "within"]

LAWS = "laws"
_MADE = "__testkit_made__"
_KEPT = 2_000
"""Verdicts kept for the other tests of a class: findings only, their evidence is made again."""


Findings = tuple[tuple[Finding, ...], frozenset[str]]
"""What of a verdict is kept: what is broken, and the things that were seen."""


class DialogTests:
    """Base of a flow's dialog tests.

    `flow`: a Flow class, an instance, or a list of configured instances, each tested. `users`: how
    many people take part, from 1. `says`: their texts by class; commands and skills' words are
    added. `intent`: by class. `model`, `skill`, `operator`: what they answer. `rests`: states that
    only a person leads out of, on purpose. `settings`: this class's Hypothesis settings; the
    profile's where it is None. Deadlines on wall time do not apply.
    """

    flow: ClassVar[Any]
    users: ClassVar[int] = 2
    says: ClassVar[Mapping[str, Sequence[str]]] = {}
    intent: ClassVar[Mapping[str, str]] = {}
    model: ClassVar[Sequence[str]] = Script().model
    skill: ClassVar[Sequence[str]] = Script().skill
    operator: ClassVar[Sequence[str]] = Script().operator
    rests: ClassVar[Sequence[str]] = ()
    settings: ClassVar[hypothesis.settings | None] = None

    @cached_property
    def _seen(self) -> set[str]:
        """What the dialogs of this one test went through so far: pytest makes an instance for each
        test, so what it tries depends on no other."""
        return set()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in [name for name in dir(cls) if hasattr(getattr(cls, name), _MADE)]:
            setattr(cls, name, None)  # an inherited one is made anew, or is none of this class
        if hasattr(cls, "flow"):
            for name, test in _tests(cls):
                setattr(test, _MADE, True)
                setattr(cls, name, test)


class Case:
    """One flow of a class, its words and its verdicts. Built when a test first asks for it."""

    def __init__(self, tests: type[DialogTests], number: int | None) -> None:
        self.tests = tests
        self.number = number
        self.predicates = predicates_of(tests)
        self.findings = lru_cache(maxsize=_KEPT)(self._findings)

    @cached_property
    def flow(self) -> Flow:
        """The flow. Raises FlowError where it does not load, Told where it raises itself."""
        given_flow = self.tests.flow if self.number is None else self.tests.flow[self.number]
        try:
            flow: Flow = given_flow() if isinstance(given_flow, type) else given_flow
        except FlowError:
            raise
        except Exception as error:
            raise Told(f"the flow does not load: {told_of(error)}") from None
        return flow

    @cached_property
    def script(self) -> Script:
        tests = self.tests
        says = words(self.flow, tests.says)
        if unknown := [name for name in tests.intent if name not in says]:
            raise Told(
                f"{tests.__qualname__}.intent: {unknown[0]!r} is no class of `says`; there are: "
                f"{', '.join(says)}"
            )
        if unsaid := self._unsaid_command():
            raise Told(f"{tests.__qualname__}.says: {unsaid}")
        return Script(
            users=tests.users,
            says=says,
            intents=tests.intent,
            model=tests.model,
            skill=tests.skill,
            operator=tests.operator,
        )

    def _unsaid_command(self) -> str:
        """A class that has a command's name takes the place of its words: one of them is there."""
        flow = self.flow
        for name, spoken in self.tests.says.items():
            if name in flow.table.commands and name not in map(flow.command, spoken):
                words_of = ", ".join(known_words(flow)[name])
                return (
                    f"{name} is a command of the flow, and none of its words is there: {words_of}"
                )
        return ""

    def plans(self, world: str) -> st.SearchStrategy[Plan]:
        """Plans for a world; with faults where it can break."""
        return plans(self.flow, self.script, faults=world == "simulator")

    def verdict(
        self, plan: Plan, script: Script | None = None, *, world: str, asked: str = ""
    ) -> Verdict:
        """Run and judge: by all, or as one test asks; with other words than the test's."""
        tests = self.tests()
        return run(
            self.flow,
            script or self.script,
            plan=plan,
            world=world,
            predicates=[one.of(tests) for one in self.predicates if asked in ("", one.name)],
            by_laws=asked in ("", LAWS),
        )

    def _findings(self, world: str, plan: Plan, asked: str) -> Findings:
        found = self.verdict(plan, world=world, asked=asked)
        return found.broken, found.things


def _tests(cls: type[DialogTests]) -> Iterator[tuple[str, Callable[..., None]]]:
    """The tests of a class: (name, function)."""
    attributes.check(cls)
    predicates = [predicate.name for predicate in predicates_of(cls)]
    clash = [name for name in predicates if name.startswith("test") or name in (LAWS, "saved")]
    if clash:
        raise TypeError(f"{cls.__qualname__}.{clash[0]}: a predicate's name must not begin so")
    cases = list(_cases(cls))
    for path in _saved_of(cls):
        name = path.stem.rpartition(".")[2]
        yield f"test_saved[{name}]", _saved(cls, path)
    for case, label in cases:
        yield f"test_flow_loads{_bracket(label)}", _loading(case)
        yield f"test_states_are_left_without_a_user{_bracket(label)}", _left(case, cases)
        yield f"test_hash_seeds_do_not_matter{_bracket(label)}", _hash_seeds(case)
        for world in WORLDS:
            for name in (LAWS, *predicates):
                yield f"test_{name}{_bracket(world, label)}", _searching(case, world, name)


def _cases(cls: type[DialogTests]) -> Iterator[tuple[Case, str]]:
    if not isinstance(cls.flow, list | tuple):
        yield Case(cls, None), ""
        return
    for number, flow in enumerate(cls.flow):
        yield Case(cls, number), f"{getattr(flow, 'name', 'flow')}{number}"


def _bracket(*labels: str) -> str:
    shown = [label for label in labels if label]
    return f"[{'-'.join(shown)}]" if shown else ""


def _loading(case: Case) -> Callable[..., None]:
    def test(self: DialogTests) -> None:
        """What the load check derives from the machine: cells, traps, shadowed rows, waits."""
        __tracebackhide__ = True
        try:
            report = case.flow.report
        except FlowError as error:
            raise Told(str(error)) from None
        for finding in report.warnings:
            warnings.warn(f"flow {case.flow.name!r}: {finding}", stacklevel=1)

    return test


def _left(case: Case, cases: Sequence[tuple[Case, str]]) -> Callable[..., None]:
    def test(self: DialogTests) -> None:
        """A dialog whose user goes away does not stay where it is for ever."""
        states = dict.fromkeys(state for one, _ in cases for state in _flow(one).table.states)
        if unknown := [state for state in case.tests.rests if state not in states]:
            raise Told(
                f"{case.tests.__qualname__}.rests: there is no state {unknown[0]!r}; there are: "
                f"{', '.join(states)}"
            )
        if leaves := left_by_people_only(_flow(case), rests=case.tests.rests):
            raise Told(
                f"flow {case.flow.name!r}: only a person leads out of {', '.join(leaves)}; "
                "a dialog whose user has gone stays there for ever\n"
                "    fix: add a timeout, or name the states in `rests` where it is meant"
            )

    return test


def _hash_seeds(case: Case) -> Callable[..., None]:
    def test(self: DialogTests) -> None:
        """Histories fold to equal bytes in a process with another hash seed."""
        if told := hash_seeds.difference(_flow(case), case.script):
            raise Told(told)

    return test


def _saved_of(cls: type[DialogTests]) -> list[Path]:
    """The dialogs that once failed in this class and lie beside its file."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None:
        return []
    begins = saved.begins(cls, Path(file))
    found = (Path(file).parent / FOLDER).glob(f"{begins}*.chat")
    return sorted(path for path in found if "." not in path.stem.removeprefix(begins))


def _saved(cls: type[DialogTests], path: Path) -> Callable[..., None]:
    def test(self: DialogTests) -> None:
        """A dialog that was found once, run again: all laws and predicates hold now."""
        __tracebackhide__ = True
        _judge_saved(cls, path)

    setattr(test, SAVED, path)
    return test


def judge_saved(cls: type[DialogTests], path: Path) -> str:
    """What a class of tests says of a saved dialog; empty where all of it holds."""
    try:
        _judge_saved(cls, path)
    except Told as told:
        return str(told)
    return ""


def _judge_saved(cls: type[DialogTests], path: Path) -> None:
    __tracebackhide__ = True
    try:
        plan, script, world, found_by = saved.read(path)
    except Refused as error:
        raise Told(str(error)) from None
    names = [name for name in dir(cls) if getattr(cls, name) is not None]
    if found_by and not owner.is_there(found_by, names):
        raise Told(owner.GONE.format(path.name, found_by))
    for case, _ in _cases(cls):
        _flow(case)
        again = partial(case.verdict, world=world)
        for finding in again(plan, script).broken:
            kind = kind_of_broken(finding)
            raise finding.error or kind(finding, script, plan=plan, again=again)


def _searching(case: Case, world: str, name: str) -> Callable[..., None]:
    settings = _settings(case.tests)
    # With a profile that repeats itself, all tests of a class run the same plans, each once.
    asked = "" if settings.derandomize else name

    def holds(self: DialogTests, plan: Plan) -> None:
        __tracebackhide__ = True
        broken, things = case.findings(world, plan, asked)
        _steer(things, seen=self._seen)
        for finding in broken:
            # A run that never ends well is judged by nothing, so no test of it has passed.
            asked_for = LAWS if finding.kind == "law" else finding.name
            if asked_for == name or finding.name in ENDS:
                again = partial(case.verdict, world=world)
                kind = kind_of_broken(finding)
                raise finding.error or kind(finding, case.script, plan=plan, again=again)

    # Hypothesis knows a test by its source and signature, and keeps its failing examples by that.
    known_as = f"{case.tests}{f'{world} {case.number} {name}' if asked else ''}"
    holds.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter("self", Parameter.POSITIONAL_OR_KEYWORD),
            Parameter("plan", Parameter.POSITIONAL_OR_KEYWORD, annotation=known_as),
        ]
    )
    strategy = st.deferred(lambda: _plans(case, world))
    test: Callable[..., None] = settings(given(plan=strategy)(holds))
    return test


def _steer(things: frozenset[str], *, seen: set[str]) -> None:
    """Let Hypothesis go on from plans that came to something new.

    A plan that came to something new has one label of its own: variations of it are tried, once. A
    label for each thing would try them as often as the plan came to new things; one for all would
    keep to variations of the one longest plan, and sees less than no target at all.
    """
    for thing in sorted(things - seen)[:1]:
        target(1.0, label=thing)
    seen |= things


def _plans(case: Case, world: str) -> st.SearchStrategy[Plan]:
    _flow(case)
    return case.plans(world)


def _flow(case: Case) -> Flow:
    try:
        return case.flow
    except FlowError:
        raise Told("the flow does not load: see test_flow_loads") from None


def _settings(cls: type[DialogTests]) -> hypothesis.settings:
    """The author's, less what has no meaning here: a dialog's time is the log's, and what is shown
    of a failure is its chat."""
    base = cls.settings if cls.settings is not None else hypothesis.settings()
    quiet = base.verbosity if base.verbosity != Verbosity.normal else Verbosity.quiet
    checks = {*base.suppress_health_check, HealthCheck.too_slow, HealthCheck.data_too_large}
    return hypothesis.settings(
        base,
        deadline=None,
        verbosity=quiet,
        print_blob=False,
        report_multiple_bugs=False,
        # What Hypothesis would tell of the lines that ran takes as long as the shrinking itself.
        phases=[phase for phase in base.phases if phase != Phase.explain],
        suppress_health_check=sorted(checks, key=lambda check: check.name),
    )
