"""What excuses an unknown reply, a second call, another try: no more than the design says."""

from dataclasses import replace as but
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.crash_points import CrashPoint
from engine.events import ModelReplied
from engine.ids import derive
from engine.ports import Line
from testkit.embedded import EmbeddedWorld
from testkit.simulator import Simulator
from testkit.stimuli import (
    AnyStimulus,
    Crash,
    Disk,
    Frame,
    Move,
    Operator,
    Outcome,
    Platform,
    Redrive,
    Say,
    Wait,
)
from testkit.worlds import Began, Called, Evidence, Fault, Rejected
from tests.testkit_tests import lists
from tests.testkit_tests.test_laws_of_logs import (
    SCRIPT,
    edit_delivery,
    edit_event,
    set_aside,
    talk,
)
from tests.testkit_tests.test_laws_of_words import ASKED, laws, log_of

LATER_MS = 1 << 60
TAKEN_OVER = Fault(at_ms=LATER_MS, what="moved", new_owner=True)


def with_fault(evidence: Evidence, fault: Fault) -> Evidence:
    return but(evidence, seen=(*evidence.seen, fault))


def test_unknown_needs_a_takeover_of_its_partition_after_its_mark_or_a_silent_platform() -> None:
    evidence, law = but(talk(), idempotent=False), "unknown for a reason"
    edit_delivery(log_of(evidence), state="unknown")
    assert law in laws(evidence)
    assert law in laws(with_fault(evidence, but(TAKEN_OVER, new_owner=False))), "a failed commit"
    assert law in laws(with_fault(evidence, but(TAKEN_OVER, partition=1)))
    assert law in laws(with_fault(evidence, but(TAKEN_OVER, at_ms=0)))
    assert law not in laws(with_fault(evidence, TAKEN_OVER))
    silent = [but(one, unsaid=True) if isinstance(one, Called) else one for one in evidence.seen]
    assert law not in laws(but(evidence, seen=silent))


def test_who_knows_that_a_reply_was_taken_does_not_call_for_it_again() -> None:
    evidence, law = talk(), "called again for a reason"
    first = next(one for one in evidence.seen if isinstance(one, Called))
    for before, fault, found in (
        (first, but(TAKEN_OVER, new_owner=False), True),
        (first, but(TAKEN_OVER, partition=1), True),
        (first, TAKEN_OVER, False),
        (but(first, took=False), None, False),
        (but(first, unsaid=True), None, False),
        (but(first, fenced=True), None, False),
    ):
        said = [before, *([fault] if fault else []), first]
        rest = [one for one in evidence.seen if one is not first]
        assert (law in laws(but(evidence, seen=[*rest, *said]))) == found, (before, fault)


def test_a_request_is_begun_again_by_another_owner_only() -> None:
    evidence, law = talk(), "given once"
    first = next(one for one in evidence.seen if isinstance(one, Began))
    assert law in laws(but(evidence, seen=[*evidence.seen, TAKEN_OVER, first, first]))
    assert law in laws(but(evidence, seen=[TAKEN_OVER, TAKEN_OVER, *evidence.seen, first]))
    assert law not in laws(but(evidence, seen=[*evidence.seen, TAKEN_OVER, first]))
    assert law not in laws(but(evidence, seen=[*evidence.seen, but(first, fenced=True)]))


def test_a_try_more_than_eight_needs_an_owner_that_went_where_repetitions_are_known() -> None:
    evidence, law = talk(), "receipts"
    edit_delivery(log_of(evidence), attempt=9)
    assert law in laws(evidence)
    assert law in laws(with_fault(evidence, but(TAKEN_OVER, new_owner=False)))
    assert law in laws(with_fault(evidence, but(TAKEN_OVER, at_ms=0))), "before it was queued"
    assert law not in laws(with_fault(evidence, TAKEN_OVER))
    assert law in laws(with_fault(but(evidence, idempotent=False), TAKEN_OVER))


@pytest.mark.parametrize(("words", "cut"), [("and more", False), ("", True)])
def test_an_answer_is_marked_as_cut_where_it_is_cut_and_only_there(words: str, cut: bool) -> None:
    evidence, whole = talk(), SCRIPT.model[0]
    assert "outcomes as said" not in laws(evidence)
    edit_event(
        log_of(evidence),
        lambda event: isinstance(event.body, ModelReplied),
        body=ModelReplied(text=whole + words, cut=cut),
    )
    assert "outcomes as said" in laws(evidence)


def test_a_letter_that_was_taken_again_says_so() -> None:
    evidence, law = talk(), "redriven once asked"
    log = log_of(evidence)
    set_aside(log)
    (letter,) = log.dead_letters()
    assert law not in laws(evidence)
    again = derive(letter.session_id, "redriven", 0, letter.offset)
    edit_event(log, lambda event: isinstance(event.body, ModelReplied), id=again)
    assert law in laws(evidence)


def test_a_line_of_the_outbox_is_numbered_and_was_sent() -> None:
    law, one = (
        "sent means in the outbox",
        Line(session_id="s", id="r", author="bot", text="?", at_ms=1, n=1),
    )
    evidence = talk()
    log = log_of(evidence)

    def outbox(session_id: str) -> list[Line]:
        sent = [d for d in log.deliveries_of(session_id) if d.state == "sent"]
        return [
            replace(one, session_id=session_id, id=d.reply_id, text=d.text or "", n=n)
            for n, d in enumerate(sent, start=1)
        ]

    assert law not in laws(but(evidence, lines=outbox))
    assert law in laws(but(evidence, lines=lambda s: [*outbox(s), *outbox(s)]))
    assert law in laws(but(evidence, lines=lambda s: outbox(s)[1:]))
    assert law in laws(but(evidence, lines=lambda s: [*outbox(s), one]))


def test_what_an_operator_asks_is_not_refused() -> None:
    world = Simulator(lists.FLOWS["steer"], script=SCRIPT, seed=1)
    for stimulus in ASKED:
        world.act(stimulus)
    world.rest()
    evidence = world.evidence()
    asked = next(one for one in evidence.seen if getattr(one, "what", "") == "OperatorSaid")
    assert laws(evidence) == set()
    refused = Rejected(at_ms=1, message_id="", event_id=asked.event_id, session_id="s")
    assert "as asked" in laws(but(evidence, seen=[*evidence.seen, refused]))


# ---- the embedded world ----------------------------------------------------------------------


def embedded(
    *happens: AnyStimulus, seed: int, path: Path, flow: str = "queue", model: str = "ok"
) -> Evidence:
    path.mkdir()
    script = but(lists.script(flow), model=(model,))
    with EmbeddedWorld(lists.FLOWS[flow], script=script, seed=seed, directory=path) as world:
        for stimulus in happens:
            world.act(stimulus)
        world.rest()
        evidence = world.evidence()
        assert laws(evidence) == set()
        return but(evidence, lines=None)


def test_an_event_that_kills_the_embedded_process_is_set_aside_and_taken_again(
    tmp_path: Path,
) -> None:
    deaths = [Crash(CrashPoint.STEP_COMMIT)] * 3
    happens = (*deaths, Say(kind="chat"), Outcome(), Redrive(), Outcome())
    standing = set()
    for seed in range(6):
        evidence = embedded(*happens, seed=seed, path=tmp_path / str(seed))
        faults = [one for one in evidence.seen if isinstance(one, Fault) and one.standing]
        standing.add(len({one.standing for one in faults}) == 1 and len(faults) == 3)
    assert True in standing, "a message that a process died of three times"


def test_the_embedded_host_keeps_an_outbox_through_faults(tmp_path: Path) -> None:
    happens = (Say(kind="chat"), Disk(), Outcome(), Move(), Platform("away"), Say(kind="chat"))
    embedded(*happens, Outcome(), Operator(), seed=1, path=tmp_path / "run")


def test_the_embedded_process_may_die_while_it_begins(tmp_path: Path) -> None:
    # The first dies when the request's deadline has come: the second finds it expired, and reports.
    deaths = (Crash(CrashPoint.STEP_COMMIT), Crash(CrashPoint.OUTCOME_APPEND))
    evidence = embedded(Say(kind="chat"), *deaths, Wait(), seed=1, path=tmp_path / "run")
    assert [one.point for one in evidence.seen if isinstance(one, Fault)] == [
        "step-commit",
        "outcome-append",
    ]


def test_the_embedded_process_may_die_of_a_match_in_a_frame(tmp_path: Path) -> None:
    happens = (Say(kind="chat"), Wait(2_000), Crash(CrashPoint.OUTCOME_APPEND), Frame())
    model = "error: OOM, and there is much more of it"
    evidence = embedded(*happens, seed=1, path=tmp_path / "run", flow="merge", model=model)
    (death,) = (one for one in evidence.seen if isinstance(one, Fault))
    assert death.point == "outcome-append"
