"""A plan happens on a world, and the world comes to rest, or it does not: then that is the finding.

Between the worlds and whoever judges their evidence. Whatever a flow does, no hop raises, and the
world comes to rest; where that does not hold, nothing else of the run can be judged.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from traceback import extract_tb

from engine import codec
from engine.session import Session
from streams.sessions import first_due
from testkit.laws import Violation
from testkit.stimuli import AnyStimulus
from testkit.worlds import Evidence, World

NOTHING_IS_RAISED = "nothing is raised"
COMES_TO_REST = "comes to rest"
ENDS = (NOTHING_IS_RAISED, COMES_TO_REST)
"""Beside the laws: without these there is no run that they could judge."""

_ALL = 1_000


def let_happen(
    world: World, stimuli: Iterable[AnyStimulus]
) -> tuple[Evidence, Sequence[Violation]]:
    """All of it, and what follows; the evidence, and the one thing that went wrong, if any did."""
    try:
        for stimulus in stimuli:
            world.act(stimulus)
    except Exception as error:
        return so_far(world), [raised(error)]
    return rested(world)


def rested(world: World) -> tuple[Evidence, Sequence[Violation]]:
    """Bring it to rest; the evidence, and the one thing that went wrong, if any did."""
    try:
        world.rest()
        evidence = world.evidence()
    except Exception as error:
        evidence = so_far(world)
        given_up = isinstance(error, AssertionError) and "come to rest" in str(error)
        return evidence, [next(_awake(evidence), raised(error)) if given_up else raised(error)]
    return evidence, [*_awake(evidence)][:1]


def so_far(world: World) -> Evidence:
    """What there is to see of a world that went no further: it is in the middle of something."""
    cluster = getattr(world, "cluster", None)
    if cluster is None:
        return world.evidence()
    flow = world.flow  # type: ignore[attr-defined]  # as every world with a cluster has
    return Evidence(
        logs=cluster.logs,
        seen=tuple(cluster.seen),
        flows={str(flow.ref): flow},
        idempotent=world.idempotent,  # type: ignore[attr-defined]
    )


def raised(error: Exception) -> Violation:
    """An error of a hop, as a finding: it has to be told with the dialog and its seed."""
    frames = extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    what = f"{type(error).__name__} at {where}: {error}"
    return Violation(law=NOTHING_IS_RAISED, session_id="", what=what, at_ms=0)


def _awake(evidence: Evidence) -> Iterator[Violation]:
    """The sessions in which something is still awaited, and will come."""
    for log in evidence.logs:
        after = ""
        while rows := log.sessions(limit=_ALL, after=after):
            after = rows[-1][0]
            for session_id, value in rows:
                session = codec.decode_session(value)
                if first_due(session.pending) is not None and not _is_at_rest(session):
                    yield Violation(
                        law=COMES_TO_REST,
                        session_id=session_id,
                        what=f"its dialog in {session.state} goes on asking or waiting without end",
                        at_ms=0,
                    )


def _is_at_rest(session: Session) -> bool:
    """Nobody waits for an answer; what is pending are the timers of a state that may last."""
    if session.unanswered or session.postponed:
        return False
    return all(pending.kind == "timer" for pending in session.pending)
