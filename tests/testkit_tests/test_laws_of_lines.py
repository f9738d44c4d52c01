"""The outbox in the simulator: lines and pages as web chat has them, and the laws of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace as but
from random import Random

import pytest
from msgspec.structs import replace

from adapters.logs.memory import MemoryLog
from engine.crash_points import CrashPoint
from engine.limits import SEEN_KEPT_MS
from engine.ports import Line
from statemachines.assistant import Assistant
from streams.embedded.pipeline import Pipeline
from testkit import laws, stimuli
from testkit.laws.lines import DIALOG_LAWS
from testkit.script import Script
from testkit.simulator import Simulator, pages
from testkit.stimuli import AnyStimulus
from testkit.worlds import Acknowledged, Evidence, Read, Seen
from tests.testkit_tests import simulated

SAY, OUTCOME = stimuli.Say(), stimuli.Outcome()
Lines = list[Line]


def talk(*acts: AnyStimulus, seed: int = 1) -> Evidence:
    """At rest after these acts; one partition."""
    made = Simulator(Assistant(), script=Script(users=1), seed=seed, partitions=1, outbox=True)
    for act in acts:
        made.act(act)
    made.rest()
    return made.evidence()


def read(evidence: Evidence) -> Lines:
    return [one.line for one in evidence.seen if isinstance(one, Read)]


def there(evidence: Evidence) -> Lines:
    (log,) = evidence.logs
    ((session_id, _),) = log.sessions(limit=9)
    return list(log.lines(session_id, after=0, limit=99))


def broken(evidence: Evidence) -> set[str]:
    return {violation.law for violation in laws.check(evidence)}


def test_a_page_reads_what_its_person_and_the_bot_said_in_order() -> None:
    evidence = talk(SAY, OUTCOME, SAY, OUTCOME)
    assert [line.author for line in read(evidence)] == ["user", "bot", "user", "bot"]
    assert read(evidence) == there(evidence)
    assert broken(evidence) == set()


@pytest.mark.parametrize("point", [*CrashPoint])
def test_a_line_is_lost_or_doubled_at_no_crash_point(point: CrashPoint) -> None:
    for seed in range(4):
        crash = stimuli.Crash(point)
        evidence = talk(SAY, crash, OUTCOME, crash, SAY, OUTCOME, seed=seed)
        assert read(evidence) == there(evidence)
        assert [line.author for line in there(evidence)].count("bot") == 2
        assert broken(evidence) == set()


def test_a_connection_that_is_cut_costs_no_line_and_doubles_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "CUT", 0.7)
    evidence = talk(*[SAY, OUTCOME] * 6)
    assert read(evidence) == there(evidence)
    assert len(there(evidence)) == 12
    assert broken(evidence) == set()


def test_what_is_a_line_is_acknowledged_and_not_taken_again_when_the_session_forgot_it() -> None:
    evidence = talk(SAY, OUTCOME, stimuli.Wait(SEEN_KEPT_MS + 1), stimuli.Again())
    assert sum(isinstance(one, Acknowledged) for one in evidence.seen) == 2
    assert [line.author for line in there(evidence)] == ["user", "bot"]
    assert broken(evidence) == set()


@pytest.mark.parametrize("seed", range(4))
def test_lines_through_faults(seed: int) -> None:
    flow = simulated.assistant("steer") if seed % 2 else simulated.leave_request()
    made = Simulator(
        flow,
        script=simulated.SCRIPT,
        seed=seed,
        idempotent=seed != 3,
        limit=(5, 1_000) if seed == 2 else None,
        outbox=True,
    )
    for act in simulated.some(Random(seed), 200):
        made.act(act)
    made.rest()
    evidence = made.evidence()
    assert len(read(evidence)) > 40
    assert laws.check(evidence) == []


# ---- what breaks them ----------------------------------------------------------------------------


def edited(edit: Callable[[Lines], Lines]) -> Callable[[Evidence], Evidence]:
    """The same with the lines of the log edited."""

    def breaks(evidence: Evidence) -> Evidence:
        (log,) = evidence.logs
        assert isinstance(log, MemoryLog)
        log.outbox.update({key: edit(lines) for key, lines in log.outbox.items()})
        return evidence

    return breaks


def seen(edit: Callable[[Read], list[Read]]) -> Callable[[Evidence], Evidence]:
    """The same with what the page got edited."""

    def edits(evidence: Evidence) -> Iterator[Seen]:
        for one in evidence.seen:
            yield from edit(one) if isinstance(one, Read) else [one]

    return lambda evidence: but(evidence, seen=tuple(edits(evidence)))


def renumbered(lines: Lines) -> Lines:
    return [replace(line, n=n) for n, line in enumerate(lines, start=1)]


def swapped(lines: Lines) -> Lines:
    return renumbered([lines[0], lines[3], lines[2], lines[1]])


BREAKS: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a line is gone": ("a line for each that was said", edited(lambda lines: lines[:-1])),
    "a line is there twice": (
        "lines are numbered once",
        edited(lambda lines: renumbered([*lines, lines[-1]])),
    ),
    "a number is left out": (
        "lines are numbered once",
        edited(lambda lines: [*lines[:-1], replace(lines[-1], n=9)]),
    ),
    "a line says another thing": (
        "a line for each that was said",
        edited(lambda lines: [replace(line, text="?") for line in lines]),
    ),
    "a line of nobody": (
        "a line for each that was said",
        edited(lambda lines: [*lines, replace(lines[0], n=5, id="nobody's")]),
    ),
    "another order": ("lines in order", edited(swapped)),
    "a line is read twice": ("each line is read once", seen(lambda one: [one, one])),
    "a line is not read": (
        "each line is read once",
        seen(lambda one: [] if one.line.n == 4 else [one]),
    ),
    "another line is read": (
        "each line is read once",
        seen(lambda one: [but(one, line=replace(one.line, text="?"))]),
    ),
}


def test_each_law_of_lines_has_evidence_that_breaks_it() -> None:
    assert {law for law, _ in BREAKS.values()} == set(DIALOG_LAWS)


@pytest.mark.parametrize("what", BREAKS)
def test_a_law_of_lines_reports_what_breaks_it(what: str) -> None:
    law, breaks = BREAKS[what]
    assert law in broken(breaks(talk(SAY, OUTCOME, SAY, OUTCOME)))


def test_a_line_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pipeline.decide

    def forgetful(self: Pipeline, *args: object, **more: object) -> object:
        decided = real(self, *args, **more)  # type: ignore[arg-type]
        decided.lines = [line for line in decided.lines if line.author == "user"]
        return decided

    monkeypatch.setattr(Pipeline, "decide", forgetful)
    assert broken(talk(SAY, OUTCOME)) == {"a line for each that was said"}
