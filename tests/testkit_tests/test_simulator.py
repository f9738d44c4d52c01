"""The simulator drives the real hops, under any stimuli, from one seed, and comes to rest."""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine import codec
from engine.crash_points import CrashPoint
from engine.events import ClockReached
from statemachines.assistant import Assistant
from statemachines.flow import Flow
from testkit import laws, stimuli
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.worlds import (
    Acknowledged,
    Began,
    Called,
    Evidence,
    Fault,
    Received,
    Rejected,
    Said,
    Shown,
    Wrote,
)
from tests.testkit_tests import simulated

ROOT = Path(__file__).parents[2]
TESTKIT = ROOT / "testkit"
SAY, OUTCOME = stimuli.Say(), stimuli.Outcome()


def simulator(
    *acts: AnyStimulus, script: Script | None = None, seed: int = 1, idempotent: bool = True
) -> Simulator:
    """One worker's partition of two users, after these acts."""
    made = Simulator(
        Assistant(), script=script or Script(), seed=seed, partitions=1, idempotent=idempotent
    )
    for act in acts:
        made.act(act)
    return made


def seen(made: Simulator, kind: type) -> list[object]:
    return [entry for entry in made.evidence().seen if isinstance(entry, kind)]


def states(made: Simulator) -> Counter[str]:
    (log,) = made.evidence().logs
    return Counter(d.state for key, _ in log.sessions(limit=9) for d in log.deliveries_of(key))


def notes(made: Simulator) -> Counter[str]:
    """How often a step of what kind was noted."""
    (log,) = made.evidence().logs
    rows = [
        row for key, _ in log.sessions(limit=9) for row in log.steps(key, after_seq=0, limit=99)
    ]
    return Counter(codec.decode_step(row.value).note for row in rows)


def rested(made: Simulator) -> Evidence:
    """At rest, and no law broken."""
    made.rest()
    evidence = made.evidence()
    assert evidence.rested_ms is not None
    assert laws.check(evidence) == []
    return evidence


# ---- one seed, one world -----------------------------------------------------------------------


def test_one_seed_gives_the_same_bytes_under_any_hash_seed() -> None:
    def printed(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.testkit_tests.simulated", "5", "400"]
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            command, env=env, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    first = printed("0")
    assert len(set(first.split())) == 2
    assert printed("1") == first
    assert printed("4242") == first


def test_another_seed_gives_another_world() -> None:
    flow = simulated.leave_request()
    digests = {simulated.digest(simulated.ran(flow, seed=seed, n=100)) for seed in (1, 2)}
    assert len(digests) == 2


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("flow", [simulated.assistant("merge"), simulated.leave_request()])
def test_two_thousand_stimuli_come_to_rest_and_break_no_law(flow: Flow, idempotent: bool) -> None:
    evidence = simulated.ran(flow, seed=11, n=2_000, idempotent=idempotent)
    assert evidence.rested_ms is not None
    kinds = Counter(type(entry) for entry in evidence.seen)
    assert {Wrote, Acknowledged, Called, Received, Fault} <= kinds.keys()
    assert laws.check(evidence) == []
    faults = [entry for entry in evidence.seen if isinstance(entry, Fault)]
    died = Counter(fault.point for fault in faults if fault.point)
    never = set() if isinstance(flow, Assistant) else {CrashPoint.OUTCOME_APPEND}  # asks nobody
    assert died.keys() == set(CrashPoint) - never  # each of them, in one run
    broken = " ".join({fault.what for fault in faults})
    if isinstance(flow, Assistant):
        assert "late or twice" in broken
    for what in ("moved", "not noticed", "mark and call", "commit failed"):
        assert what in broken
    for what in ("away", "refuses", "slow", "silent", "begins late", "clock jumps"):
        assert what in broken


# ---- it has no logic of its own ------------------------------------------------------------------


def test_the_kit_makes_no_decision_of_a_hop() -> None:
    """It makes no step, no effect and no mark of its own; the pure world and the folds do step."""
    decided = {"StepRecord", "Step", "Delivery", "Pending", "Session", "Disposition", "Order"}
    decided |= {"Effect", "Cancel", "Withdraw", "CloseReply", "SendMessage", "Forward"}
    decided |= {"CallModel", "RunSkill", "FindIntent", "Turn"}
    may_step = {"pure.py", "folding.py", "reading.py", "hash_seeds.py"}
    found: list[str] = []
    for path, tree in _sources():
        names = {_called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if names & decided or ("step" in names and path.name not in may_step):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_the_kit_names_no_function_like_a_hops_unless_the_hop_is_asked_there() -> None:
    """`step`, `mark`, `cancel` and the like are words of the engine's and the hops' own."""
    words = {"step", "apply", "admit", "expand", "mark", "unmark", "cancel", "withdraw", "resolve"}
    words |= {"commit", "recover", "roll_back", "receipt", "sent", "unknown", "dispose", "claim"}
    found: list[str] = []
    for path, tree in _sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or node.name.strip("_") not in words:
                continue
            asked = {_called(call) for call in ast.walk(node) if isinstance(call, ast.Call)}
            tells = {"append", "pop"}  # the word of a call that has ended, for the next batch
            if not asked & {node.name.strip("_")} and not (
                node.name == "receipt" and asked <= tells
            ):
                found.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert found == []


def test_the_kit_writes_no_record_but_through_the_hops() -> None:
    """The worlds give a log nothing; only the pure world, which has no hops, keeps its own."""
    writes = {"put_sessions", "put_steps", "put_deliveries", "put_watermark", "put_dead_letters"}
    writes |= {"put_deaths", "put_lines", "force_setattr", "outcome_append"}
    found = [
        str(path.relative_to(ROOT))
        for path, tree in _sources()
        if writes & {_called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        and path.name not in ("pure.py", "reading.py")
    ]
    assert found == []


def test_the_simulator_dies_where_the_host_can_die() -> None:
    """Each crash point stands at its place in the host and in the simulated worker."""

    def named(*paths: Path) -> Counter[str]:
        return Counter(
            argument.attr
            for path in paths
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and _called(node) == "at"
            for argument in node.args
            if isinstance(argument, ast.Attribute)
        )

    points = Counter(point.name for point in CrashPoint)
    streams = ROOT / "streams"
    assert named(*(TESTKIT / "simulator").glob("*.py")) == points
    assert named(streams / "calls.py", *(streams / "embedded").glob("*.py")) == points


def _sources() -> list[tuple[Path, ast.Module]]:
    """All of the kit but its conformance suites: an adapter is given records to keep."""
    paths = [path for path in sorted(TESTKIT.rglob("*.py")) if "conformance" not in path.parts]
    return [(path, ast.parse(path.read_text())) for path in paths]


def _called(call: ast.Call) -> str:
    name: str = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name


def test_the_simulator_runs_the_very_hops() -> None:
    imported = {
        (node.module, alias.name)
        for path in (TESTKIT / "simulator").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {
        ("streams.embedded.pipeline", "Pipeline"),
        ("streams.embedded.clock", "HostClock"),
        ("streams.egress", "Egress"),
        ("streams.limiter", "Limiter"),
        ("streams.runners", "AllRunners"),
        ("streams.ingress", "Ingress"),
    } <= imported
    modules = {module for module, _ in imported}
    assert not modules & {
        "asyncio",
        "time",
        "random.random",
        "engine.step",
        "streams.sessions.step",
    }


# ---- each stimulus -------------------------------------------------------------------------------


def test_a_message_is_acknowledged_answered_and_received() -> None:
    made = simulator(SAY, OUTCOME)
    rested(made)
    assert [len(seen(made, kind)) for kind in (Wrote, Acknowledged, Called, Received)] == [1] * 4


@pytest.mark.parametrize("how", ["fail", "die"])
def test_a_failed_request_ends_with_an_apology(how: str) -> None:
    made = simulator(SAY, stimuli.Outcome(how=how))  # type: ignore[arg-type]
    rested(made)
    (received,) = seen(made, Received)
    assert "Sorry" in received.text  # type: ignore[attr-defined]


def test_stimuli_for_which_there_is_nothing_do_nothing() -> None:
    everything: list[AnyStimulus] = [
        *(OUTCOME, stimuli.Frame(), stimuli.Late(), stimuli.Again(), stimuli.Wait()),
        *(stimuli.Operator(), stimuli.Stop(), stimuli.Feedback(), stimuli.Redrive(i=7)),
    ]
    assert rested(simulator(*everything)).seen == []


def test_a_frame_is_shown_before_its_reply_ends() -> None:
    made = simulator(SAY, stimuli.Frame(variant=1), OUTCOME, stimuli.Frame())
    rested(made)
    (shown,) = seen(made, Shown)
    assert shown.text == "another"  # type: ignore[attr-defined]


def test_a_late_outcome_and_a_repeated_message_are_noted_and_change_nothing() -> None:
    made = simulator(SAY, OUTCOME, stimuli.Late(), stimuli.Again())
    rested(made)
    assert notes(made)["late"] == 1
    assert notes(made)["duplicate"] == 1
    assert len(seen(made, Received)) == 1


def test_a_message_that_ingress_refuses_is_rejected_and_not_in_the_log() -> None:
    made = simulator(SAY, script=Script(says={"chat": ("",)}))
    evidence = rested(made)
    assert len(seen(made, Rejected)) == 1
    assert list(evidence.logs[0].sessions(limit=9)) == []


def test_time_passes_until_the_next_thing_is_due() -> None:
    made = simulator(SAY, stimuli.Wait(), stimuli.Wait(ms=0))
    assert len(seen(made, Received)) == 1  # the deadline's apology
    rested(made)


def test_an_operator_a_stop_and_feedback_reach_the_session() -> None:
    made = simulator(SAY, stimuli.Stop(), SAY, OUTCOME, stimuli.Feedback(), stimuli.Operator())
    made.act(stimuli.Operator(what="hand back"))
    rested(made)
    (log,) = made.evidence().logs
    values = b"".join(record.value for record in log.read(0, after=0, limit=99))
    for tag in (b"StopRequested", b"FeedbackGiven", b"OperatorSaid", b"HandedBack"):
        assert tag in values


@pytest.mark.parametrize(
    ("how", "calls", "took"), [("away", 2, 1), ("silent", 2, 2), ("slow", 1, 1), ("refuses", 1, 0)]
)
def test_the_platform_treats_a_call_as_it_was_told(how: str, calls: int, took: int) -> None:
    made = simulator(SAY, stimuli.Platform(how), OUTCOME)  # type: ignore[arg-type]
    rested(made)
    assert len(seen(made, Called)) == calls
    assert sum(call.took for call in seen(made, Called)) == took  # type: ignore[attr-defined]
    assert len(seen(made, Received)) == min(took, 1)
    assert states(made) == {"failed" if how == "refuses" else "sent": 1}


def test_a_silent_platform_that_knows_no_repetition_leaves_a_reply_unknown() -> None:
    made = simulator(SAY, stimuli.Platform("silent"), OUTCOME, idempotent=False)
    evidence = rested(made)
    assert len(seen(made, Called)) == len(seen(made, Received)) == 1
    assert states(made) == {"unknown": 1}
    values = [record.value for record in evidence.logs[0].read(0, after=0, limit=99)]
    assert any(b"ReplyUndelivered" in value for value in values)


def test_an_outcome_that_is_lost_ends_at_its_deadline_and_may_still_come_late() -> None:
    made = simulator(SAY, stimuli.Wait(), stimuli.Late())
    rested(made)
    assert notes(made)["late"] == 1
    assert len(seen(made, Received)) == 1  # the deadline's apology


def test_what_was_lost_with_a_worker_is_done_again() -> None:
    made = simulator(SAY, stimuli.Crash(CrashPoint.OUTCOME_APPEND), OUTCOME)
    assert len(seen(made, Received)) == 0
    assert len(made.cluster.pending) == 1
    made.act(OUTCOME)
    assert len(seen(made, Received)) == 1
    rested(made)


def test_a_timer_and_what_comes_at_the_same_time_race_either_way() -> None:
    orders = set()
    for seed in range(30):
        made = Simulator(simulated.assistant("merge"), script=Script(), seed=seed, partitions=1)
        for act in (SAY, stimuli.Wait(ms=1_000), SAY, OUTCOME):
            made.act(act)
        (log,) = rested(made).logs
        values = [record.value for record in log.read(0, after=0, limit=99)]
        woken = [at for at, value in enumerate(values) if b"ClockReached" in value]
        wrote = [at for at, value in enumerate(values) if b"MessageReceived" in value]
        orders.add(woken[0] < wrote[1])
    assert orders == {True, False}


def test_a_commit_that_fails_is_repeated_and_not_acknowledged_before() -> None:
    made = simulator(stimuli.Disk(), SAY, stimuli.Disk(), OUTCOME)
    rested(made)
    assert len(seen(made, Acknowledged)) == 1
    assert len(seen(made, Received)) == 1
    assert [f.what for f in seen(made, Fault)] == ["a commit failed"] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("point", [*CrashPoint])
def test_a_worker_dies_at_each_point_and_nothing_is_lost(
    point: CrashPoint, idempotent: bool
) -> None:
    made = simulator(stimuli.Crash(point), SAY, OUTCOME, idempotent=idempotent)
    rested(made)
    (fault,) = seen(made, Fault)
    assert fault.point == point  # type: ignore[attr-defined]
    assert len(seen(made, Acknowledged)) >= 1 or point is CrashPoint.APPEND_ACK
    is_unknown = not idempotent and point in (CrashPoint.MARK_CALL, CrashPoint.CALL_RECEIPT)
    assert states(made) == {"unknown" if is_unknown else "sent": 1}
    assert len(seen(made, Received)) == (0 if is_unknown and point is CrashPoint.MARK_CALL else 1)


def test_a_moved_partition_goes_on_with_its_request() -> None:
    made = simulator(SAY, stimuli.Move(), OUTCOME)
    rested(made)
    assert len(seen(made, Received)) == 1


def test_a_zombie_goes_on_until_a_commit_fences_it() -> None:
    fenced = called_twice = 0
    for seed in range(12):
        made = simulator(SAY, stimuli.Zombie(), OUTCOME, seed=seed)
        zombies = len(made.cluster.zombies)
        rested(made)
        fenced += zombies == 0
        called_twice += len(seen(made, Called)) == 2
        assert len(seen(made, Received)) == 1
    assert fenced >= 3
    assert called_twice >= 3  # by the mark of a worker that had lost its partition


def test_clocks_that_differ_never_turn_log_time_back() -> None:
    made = simulator(SAY, OUTCOME, stimuli.Skew(i=1, ms=-60_000), stimuli.Move(), SAY, OUTCOME)
    made.act(stimuli.Skew(i=0, ms=60_000))
    made.act(stimuli.Move())
    made.act(SAY)
    (log,) = rested(made).logs
    times = [record.appended_ms for record in log.read(0, after=0, limit=99)]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 60_000


def test_a_rolling_change_of_flow_goes_on_with_its_sessions() -> None:
    flow, before = simulated.assistant("merge"), simulated.assistant("queue")
    made = Simulator(flow, script=simulated.SCRIPT, seed=1, partitions=1, versions=(before,))
    for act in (SAY, stimuli.Move(), stimuli.Say(user=0, kind="human"), OUTCOME):
        made.act(act)
    evidence = rested(made)
    assert len(evidence.flows) == 2
    assert any(b"FlowActivated" in r.value for r in evidence.logs[0].read(0, after=1, limit=99))


def test_an_account_never_calls_more_often_than_its_limit() -> None:
    made = Simulator(
        Assistant(), script=Script(users=6), seed=1, partitions=1, limit=(2, 1_000), calls_max=9
    )
    made.act_at_once([stimuli.Say(user=user) for user in range(6)])
    made.act_at_once([OUTCOME] * 6)
    made.rest()
    times = [call.at_ms for call in seen(made, Called)]  # type: ignore[attr-defined]
    assert len(times) == 6
    assert all(later - first >= 1_000 for first, later in zip(times, times[2:], strict=False))


def test_a_message_at_which_workers_die_three_times_is_set_aside_and_may_be_taken_again() -> None:
    dies = [stimuli.Crash(CrashPoint.STEP_COMMIT) for _ in range(8)]
    made = simulator(*dies, SAY, stimuli.Wait(1), stimuli.Redrive(), stimuli.Wait(1))
    evidence = rested(made)
    (letter,) = evidence.logs[0].dead_letters()
    assert letter.redriven_ms is not None
    assert len(seen(made, Received)) == 2  # a word that it was set aside, and its answer


def test_a_deadly_message_is_set_aside_and_those_that_came_with_it_are_not() -> None:
    made = Simulator(Assistant(), script=Script(users=6), seed=1, partitions=1)
    for _ in range(8):
        made.act(stimuli.Crash(CrashPoint.STEP_COMMIT))
    made.act_at_once([stimuli.Say(user=user) for user in range(6)])
    evidence = rested(made)
    (letter,) = evidence.logs[0].dead_letters()
    assert "died" in letter.error
    assert len(seen(made, Received)) == 6  # five answers, and a word that one was set aside


@pytest.mark.parametrize("asks", [True, False])
def test_a_wake_up_at_which_workers_die_is_set_aside_and_its_session_is_woken_later(
    asks: bool,
) -> None:
    dies = [stimuli.Crash(CrashPoint.STEP_COMMIT) for _ in range(8)]
    set_aside = 0
    for seed in range(6):
        made = Simulator(simulated.assistant("merge"), script=Script(), seed=seed, partitions=1)
        for act in (SAY, *dies, stimuli.Wait()):  # to the end of its second of settling
            made.act(act)
        (log,) = made.evidence().logs
        letters = log.dead_letters()
        set_aside += len(letters)
        for letter in letters:
            assert isinstance(codec.decode_event(letter.value).body, ClockReached)
        if asks:  # an operator has it taken again, and need not wait
            made.act(stimuli.Redrive())
        evidence = rested(made)
        assert len(log.dead_letters()) == len(letters)
        waited_ms = (evidence.rested_ms or 0) - (evidence.resting_ms or 0)
        assert bool(letters) <= (waited_ms < 1_000 if asks else waited_ms >= 59_000)
    assert set_aside >= 3


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_who_outlives_owners_of_its_partition_shows_nothing_of_a_reply_that_has_ended(
    moves: int,
) -> None:
    made = simulator(SAY)
    assert len(seen(made, Began)) == 1
    made.cluster.move(0, why="moved", leaves_zombie=True)
    made.act(stimuli.Stop())
    assert states(made) == {"closed": 1}  # the receipt of a reply of which nothing was shown
    for _ in range(moves):
        made.act(stimuli.Move())
    (zombie,) = made.cluster.zombies
    (effect_id,) = zombie.working
    made.act(stimuli.Frame())
    said = [one for one in made.cluster.seen if isinstance(one, Said)]
    assert [one.effect_id for one in said] == [effect_id]  # it goes on, and nobody sees it
    assert seen(made, Shown) == []
    rested(made)


def test_faults_end_with_the_last_of_them_however_long_nothing_happens_after() -> None:
    made = simulator(SAY, stimuli.Crash(CrashPoint.STEP_COMMIT), OUTCOME)
    began_ms = made.cluster.time.now_ms
    made.act(stimuli.Wait(1_000_000))
    evidence = rested(made)
    assert evidence.faults_end_ms == began_ms
    assert (evidence.resting_ms or 0) >= began_ms + 1_000_000


def test_a_slow_call_is_a_fault_until_it_ends() -> None:
    for seed in range(6):
        made = simulator(SAY, stimuli.Platform("slow"), seed=seed)
        began_ms = made.cluster.time.now_ms
        made.act(OUTCOME)
        evidence = rested(made)
        assert began_ms < (evidence.faults_end_ms or 0) <= began_ms + 3_001
