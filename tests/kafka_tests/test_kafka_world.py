"""One list of stimuli on a cluster's own roles over a real broker, beside the other worlds."""

import logging
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adapters.kafka.clients import KafkaSettings
from deploy.kafka.cluster import Cluster
from engine.crash_points import CrashPoint
from testkit import stimuli
from testkit.embedded import EmbeddedWorld
from testkit.kafka_world import KafkaWorld
from testkit.laws import check
from testkit.pure import PureWorld
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.surroundings import SOME, Surroundings
from testkit.worlds import Evidence, Fault
from tests.testkit_tests import lists
from tests.testkit_tests.test_worlds import assert_equal, dispositions, run

PLAIN = Surroundings()
AROUND = [around for around in SOME if not around.outbox and not around.changes_flow]
"""What this world has: its channel is a platform, and its flow the one that it began with."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Roles say a lot of the deaths that are wanted here."""
    caplog.set_level(logging.CRITICAL + 1)


@contextmanager
def kafka_world(
    broker: Cluster, name: str, *, seed: int = 0, around: Surroundings = PLAIN
) -> Iterator[KafkaWorld]:
    """A world on topics of its own."""
    kafka = KafkaSettings(brokers=broker.bootstrap, prefix=f"world-{uuid.uuid4().hex[:12]}.")
    with KafkaWorld(
        lists.FLOWS[name],
        script=lists.script(name),
        kafka=kafka,
        seed=seed,
        idempotent=around.idempotent,
        limit=around.limit,
    ) as world:
        yield world


def others(name: str, happens: Sequence[AnyStimulus]) -> Iterator[Evidence]:
    """What comes of it in the other worlds."""
    flow, script = lists.FLOWS[name], lists.script(name)
    yield run(PureWorld(flow, script=script), happens)
    yield run(
        Simulator(flow, script=script, partitions=1, workers=1, calls_max=1_000, punctual=True),
        happens,
    )
    with (
        TemporaryDirectory() as folder,
        EmbeddedWorld(flow, script=script, directory=Path(folder)) as world,
    ):
        yield run(world, happens)


@pytest.mark.parametrize("name", lists.FLOWS)
def test_without_faults_a_cluster_gives_what_all_worlds_give(broker: Cluster, name: str) -> None:
    happens = lists.calm(3, 40)
    with kafka_world(broker, name) as world:
        mine = run(world, happens)
        assert check(mine) == []
        for theirs in others(name, happens):
            assert_equal(theirs, mine)
        assert dispositions(mine), "the list is empty"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["queue", "merge", "steer"])
def test_a_cluster_keeps_the_laws_through_faults(broker: Cluster, name: str) -> None:
    for seed in range(7):
        around = AROUND[seed % len(AROUND)]
        with kafka_world(broker, name, seed=seed, around=around) as world:
            assert check(run(world, lists.broken(seed, 22))) == [], seed


@pytest.mark.parametrize("point", CrashPoint)
def test_a_process_dies_at_each_crash_point(broker: Cluster, point: CrashPoint) -> None:
    asked = (stimuli.Say(0, "chat"), stimuli.Wait(2_000), stimuli.Outcome(), stimuli.Outcome())
    happens = (stimuli.Crash(point), *asked, stimuli.Say(0, "human"))
    with kafka_world(broker, "merge", seed=1) as world:
        evidence = run(world, happens)
        died = [one.point for one in evidence.seen if isinstance(one, Fault) and one.point]
        assert died == [point.value]
        assert check(evidence) == []
        assert [how for _, how in dispositions(evidence)] == ["answered", "forwarded"]


def test_nobody_loses_what_a_zombie_of_each_role_had_in_hand(broker: Cluster) -> None:
    happens: list[AnyStimulus] = []
    for i in range(4):
        happens += [stimuli.Say(0, "chat"), stimuli.Wait(2_000), stimuli.Zombie(i)]
        happens += [stimuli.Outcome(), stimuli.Wait(100)]
    with kafka_world(broker, "merge", seed=2, around=Surroundings(idempotent=False)) as world:
        evidence = run(world, happens)
        assert check(evidence) == []
        # A new runner may begin with what has ended, and a message then waits for the next.
        assert {how for _, how in dispositions(evidence)} <= {"answered", "merged"}
        assert len(dispositions(evidence)) == 4


def test_an_event_that_kills_its_process_three_times_is_set_aside(broker: Cluster) -> None:
    # The first owner announces only its first batch, which was another; each after it this one.
    happens = [*[stimuli.Crash(CrashPoint.STEP_COMMIT)] * 4, stimuli.Say(0, "chat")]
    happens += [stimuli.Say(1, "chat"), stimuli.Outcome(), stimuli.Redrive(), stimuli.Outcome()]
    with kafka_world(broker, "steer", seed=3) as world:
        evidence = run(world, happens)
        died = [one.standing for one in evidence.seen if isinstance(one, Fault) and one.standing]
        (letter,) = evidence.logs[0].dead_letters()
        assert len(died) == 3
        assert letter.redriven_ms is not None
        assert check(evidence) == []
        assert sorted(how for _, how in dispositions(evidence)) == ["answered", "answered"]


def test_a_process_whose_clock_is_off_appends_nothing(broker: Cluster) -> None:
    happens = (stimuli.Skew(1, 5_000), stimuli.Say(0, "chat"), stimuli.Move(2), stimuli.Outcome())
    with kafka_world(broker, "steer") as world:
        evidence = run(world, happens)
        told = [one.what for one in evidence.seen if isinstance(one, Fault)]
        assert any("its clock is off" in what for what in told)
        assert check(evidence) == []
        assert [how for _, how in dispositions(evidence)] == ["answered"]


def test_the_kit_needs_no_client_of_kafka_for_anything_else() -> None:
    names = ("embedded", "pure", "simulator", "fuzz", "plugin", "dialog_tests", "conformance")
    imports = "; ".join(f"import testkit.{name}" for name in names)
    without = f"import sys; sys.modules['aiokafka'] = None; {imports}"
    subprocess.run([sys.executable, "-c", without], check=True)


def test_a_session_whose_wake_up_was_set_aside_is_woken_again(broker: Cluster) -> None:
    dies = [stimuli.Crash(CrashPoint.STEP_COMMIT)] * 4
    happens = [stimuli.Say(0, "chat"), *dies, stimuli.Wait(2_000), stimuli.Wait(70_000)]
    with kafka_world(broker, "merge", seed=1) as world:
        evidence = run(world, happens)
        assert len(evidence.logs[0].dead_letters()) == 1
        assert check(evidence) == []
        assert [how for _, how in dispositions(evidence)] == ["answered"]


@pytest.mark.parametrize("idempotent", [True, False])
def test_who_has_lost_an_account_tells_nobody_what_became_of_its_call(
    broker: Cluster, idempotent: bool
) -> None:
    happens = [stimuli.Say(0, "chat"), stimuli.Wait(2_000), stimuli.Platform("refuses")]
    happens += [stimuli.Zombie(1), stimuli.Outcome(), stimuli.Wait(100_000)]
    with kafka_world(broker, "merge", seed=1, around=Surroundings(idempotent=idempotent)) as world:
        assert check(run(world, happens)) == []
