"""The oracle: what must hold in any run, whatever happened, judged from its evidence alone.

Beside the data path, after a world's run. Each law is a small function whose docstring names its
source; the laws are written from the design, not from the code, and know of no particular defect.
It never steps a session to learn what should have come of it, except where folding is the law
itself: sessions between two records are those that the recorded digests vouch for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from testkit.laws import (
    calls,
    folding,
    history,
    lines,
    messages,
    people,
    replies,
    requests,
    runners,
    sessions,
    transcripts,
)
from testkit.laws.reading import Dialog, Found, Reading, Stepped, read
from testkit.worlds import Evidence

__all__ = ["LAWS", "Violation", "check"]

STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    **messages.STEP_LAWS,
    **requests.STEP_LAWS,
    **replies.STEP_LAWS,
    **sessions.STEP_LAWS,
    **transcripts.STEP_LAWS,
}
DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    **history.DIALOG_LAWS,
    **messages.DIALOG_LAWS,
    **requests.DIALOG_LAWS,
    **replies.DIALOG_LAWS,
    **lines.DIALOG_LAWS,
    **runners.DIALOG_LAWS,
    **folding.DIALOG_LAWS,
}
WHOLE_LAWS: Mapping[str, Callable[[Reading], Iterator[Found]]] = {
    **history.WHOLE_LAWS,
    **people.WHOLE_LAWS,
    **calls.WHOLE_LAWS,
    **runners.WHOLE_LAWS,
}
LAWS = tuple(dict.fromkeys([*WHOLE_LAWS, *DIALOG_LAWS, *STEP_LAWS]))
"""The names of all laws."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A law that did not hold. `what` names ids and times, never what a person wrote.

    `at_ms`: log time, 0 where it has none. `session_id`: empty where it concerns no single one.
    """

    law: str
    session_id: str
    what: str
    at_ms: int


def check(evidence: Evidence, *, every: int = 1) -> list[Violation]:
    """All violations, none where all is well.

    `every`: the costly folding laws look at every so many-th step, from 1. Never raises for what
    is in the evidence: what cannot be judged is a violation, too.
    """
    reading = read(evidence, every)
    found: list[Violation] = []
    for law, whole in WHOLE_LAWS.items():
        found += _violations(law, "", partial(whole, reading))
    for dialog in reading.dialogs.values():
        for law, judge_dialog in DIALOG_LAWS.items():
            found += _violations(law, dialog.id, partial(judge_dialog, dialog))
        found += _of_steps(dialog)
    reading.dialogs.clear()  # they know it in turn: else all of it waited for the collector
    return found


def _of_steps(dialog: Dialog) -> list[Violation]:
    """Nearly all the time goes here: each law of each step, hardly ever anything found."""
    judges = [*STEP_LAWS.values()]
    broken: list[Stepped] = []
    for stepped in dialog.steps:
        try:
            for judge in judges:
                for _ in judge(stepped):
                    broken.append(stepped)
                    break
        except Exception:  # which law could not judge it is found out below
            broken.append(stepped)
    unique = {stepped.record.seq: stepped for stepped in broken}
    return [violation for stepped in unique.values() for violation in _of_step(dialog, stepped)]


def _of_step(dialog: Dialog, stepped: Stepped) -> Iterator[Violation]:
    """What breaks which law in a step that is known to break some."""
    for law, judge in STEP_LAWS.items():
        told: list[str] = []
        try:
            told.extend(judge(stepped))
        except Exception as error:  # broken evidence may be broken in any way
            told.append(f"could not be judged: {type(error).__name__}: {error}")
        for what in told:
            yield Violation(
                law=law,
                session_id=dialog.id,
                what=f"seq {stepped.record.seq}: {what}",
                at_ms=stepped.after.now_ms,
            )


def _violations(
    law: str, session_id: str, judge: Callable[[], Iterator[Found]]
) -> Iterator[Violation]:
    try:
        for one in judge():
            yield Violation(
                law=law,
                session_id=one.session_id or session_id,
                what=one.prefix + one.what,
                at_ms=one.at_ms,
            )
    except Exception as error:  # broken evidence may be broken in any way
        what = f"could not be judged: {type(error).__name__}: {error}"
        yield Violation(law=law, session_id=session_id, what=what, at_ms=0)
