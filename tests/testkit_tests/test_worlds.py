"""One list of stimuli on the pure step, the simulator and the embedded host on SQLite."""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import codec
from engine.crash_points import CrashPoint
from testkit import stimuli, strategies
from testkit.embedded import EmbeddedWorld
from testkit.laws import check
from testkit.pure import PureWorld
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.strategies import Plan
from testkit.surroundings import Surroundings, of_seed, simulator
from testkit.worlds import Evidence, Fault, Received, World
from tests.testkit_tests import lists

ALL = 1_000_000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Hosts say a lot of the deaths that are wanted here."""
    caplog.set_level(logging.CRITICAL + 1)


def bounded(examples: int) -> settings:
    """So many lists; a fixture that is there once for all of them is meant to be."""
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=health)


def plans(name: str, *, faults: bool) -> st.SearchStrategy[Plan]:
    return strategies.plans(lists.FLOWS[name], lists.script(name), faults=faults)


def run(world: World, happens: Sequence[AnyStimulus]) -> Evidence:
    for stimulus in happens:
        world.act(stimulus)
    world.rest()
    return world.evidence()


# ---- what is to be equal -------------------------------------------------------------------------


def sessions(evidence: Evidence) -> dict[str, bytes]:
    return dict(pair for log in evidence.logs for pair in log.sessions(limit=ALL))


def dispositions(evidence: Evidence) -> list[tuple[str, str]]:
    return [
        (disposition.message, disposition.how)
        for log in evidence.logs
        for session_id, _ in log.sessions(limit=ALL)
        for row in log.steps(session_id, after_seq=0, limit=ALL)
        for disposition in codec.decode_step(row.value).dispositions
    ]


def states(evidence: Evidence) -> dict[str, str]:
    return {key: codec.decode_session(value).state for key, value in sessions(evidence).items()}


def texts(evidence: Evidence) -> dict[str, list[str]]:
    """What each person was told, in order."""
    return {
        key: [
            one.text for one in evidence.seen if isinstance(one, Received) and one.session_id == key
        ]
        for key in sessions(evidence)
    }


def history(evidence: Evidence, session_id: str) -> list[tuple[str, int]]:
    """The events of a session with their times."""
    (log,) = evidence.logs
    events = [codec.decode_event(record.value) for record in log.history(session_id)]
    return [(event.id, event.at_ms) for event in events]


def assert_equal(one: Evidence, other: Evidence) -> None:
    """The same came of both; the same bytes, wherever the same events were recorded."""
    assert dispositions(one) == dispositions(other)
    assert states(one) == states(other)
    assert texts(one) == texts(other)
    for session_id, value in sessions(one).items():
        mine, theirs = history(one, session_id), history(other, session_id)
        # A host drops at its door what it has just taken: there a repetition is not even recorded.
        assert dict(reversed(mine)) == dict(reversed(theirs))
        if mine == theirs:
            assert value == sessions(other)[session_id]


def assert_all_equal(name: str, happens: Sequence[AnyStimulus]) -> Evidence:
    flow, script = lists.FLOWS[name], lists.script(name)
    pure = run(PureWorld(flow, script=script), happens)
    simulator = Simulator(
        flow, script=script, partitions=1, workers=1, calls_max=1_000, punctual=True
    )
    simulated = run(simulator, happens)
    assert_equal(pure, simulated)
    with (
        TemporaryDirectory() as folder,
        EmbeddedWorld(flow, script=script, directory=Path(folder)) as world,
    ):
        embedded = run(world, happens)
        assert_equal(pure, embedded)
        for evidence in (pure, simulated, embedded):
            assert check(evidence) == []
    return pure


@pytest.mark.parametrize("name", lists.FLOWS)
def test_without_faults_all_worlds_give_equal_sessions(name: str) -> None:
    assert dispositions(assert_all_equal(name, lists.calm(3, 60))), "the list is empty"


@pytest.mark.parametrize("name", lists.FLOWS)
def test_without_faults_any_list_gives_the_same_in_all_worlds(name: str) -> None:
    @bounded(5)
    @given(plan=plans(name, faults=False))
    def same(plan: Plan) -> None:
        assert_all_equal(name, plan.stimuli)

    same()


# ---- through faults ------------------------------------------------------------------------------


def embedded(name: str, plan: Plan, directory: Path) -> EmbeddedWorld:
    return EmbeddedWorld(
        lists.FLOWS[name],
        script=lists.script(name),
        seed=plan.seed,
        directory=directory,
        idempotent=plan.around.idempotent,
        limit=plan.around.limit,
    )


@pytest.mark.parametrize(("name", "idempotent"), [("queue", True), ("merge", False)])
def test_the_embedded_host_keeps_the_laws_through_faults(
    name: str, idempotent: bool, tmp_path: Path
) -> None:
    around = Surroundings(idempotent=idempotent)
    plan = Plan(stimuli=tuple(lists.broken(7, 40)), seed=7, around=around)
    with embedded(name, plan, tmp_path) as world:
        assert check(run(world, plan.stimuli)) == []


@pytest.mark.parametrize("name", lists.FLOWS)
def test_the_embedded_host_keeps_the_laws_over_any_list(name: str) -> None:
    @bounded(4)
    @given(plan=plans(name, faults=True))
    def keeps(plan: Plan) -> None:
        with TemporaryDirectory() as folder, embedded(name, plan, Path(folder)) as world:
            assert check(run(world, plan.stimuli)) == []

    keeps()


@pytest.mark.parametrize("point", CrashPoint)
def test_the_embedded_process_dies_at_each_crash_point(point: CrashPoint, tmp_path: Path) -> None:
    asked = (stimuli.Say(0, "chat"), stimuli.Wait(2_000), stimuli.Outcome(), stimuli.Outcome())
    plan = Plan(stimuli=(stimuli.Crash(point), *asked, stimuli.Say(0, "human")), seed=1)
    with embedded("merge", plan, tmp_path) as world:
        evidence = run(world, plan.stimuli)
        died = [one.point for one in evidence.seen if isinstance(one, Fault) and one.point]
        assert died == [point.value]
        assert check(evidence) == []
        assert [how for _, how in dispositions(evidence)] == ["answered", "forwarded"]


def test_the_embedded_host_goes_on_when_its_disk_does(tmp_path: Path) -> None:
    happens = (stimuli.Disk(), stimuli.Say(0, "chat"), stimuli.Move(), stimuli.Outcome())
    plan = Plan(stimuli=happens, seed=1)
    with embedded("steer", plan, tmp_path) as world:
        evidence = run(world, plan.stimuli)
        assert check(evidence) == []
        assert [how for _, how in dispositions(evidence)] == ["answered"]


@pytest.mark.parametrize("name", lists.FLOWS)
def test_the_pure_world_keeps_the_laws(name: str) -> None:
    for seed in range(5):
        world = PureWorld(lists.FLOWS[name], script=lists.script(name))
        assert check(run(world, lists.broken(seed, 80))) == []

    @bounded(12)
    @given(plan=plans(name, faults=True))
    def keeps(plan: Plan) -> None:
        world = PureWorld(lists.FLOWS[name], script=lists.script(name))
        assert check(run(world, plan.stimuli)) == []

    keeps()


def simulated(name: str, plan: Plan) -> Simulator:
    return simulator(lists.FLOWS[name], lists.script(name), seed=plan.seed, around=plan.around)


@pytest.mark.parametrize("name", lists.FLOWS)
def test_the_simulator_keeps_the_laws_through_faults(name: str) -> None:
    for seed in range(4):
        plan = Plan(stimuli=tuple(lists.broken(seed, 100)), seed=seed, around=of_seed(seed))
        assert check(run(simulated(name, plan), plan.stimuli)) == []

    @bounded(12)
    @given(plan=plans(name, faults=True))
    def keeps(plan: Plan) -> None:
        assert check(run(simulated(name, plan), plan.stimuli)) == []

    keeps()
