"""What a flow can do, thing by thing: its rows, conditions, cells, pairs of rows and crash points.

Derived from the loaded flow by following every row from `initial` (`statemachines.arrivals`), so
what no dialog can ever do is not asked of the tests. Read by `testkit.coverage`, which counts how
often each thing was seen. An upper bound: whether conditions can hold together nobody can say.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import msgspec

from engine.crash_points import CrashPoint
from engine.flow import Cell
from statemachines import arrivals
from statemachines.arrivals import Arrivals, Edge
from statemachines.callbacks import look
from statemachines.flow import Flow
from statemachines.table import Row

Kind = Literal["row", "condition", "cell", "pair", "crash"]
KINDS: tuple[Kind, ...] = ("row", "condition", "cell", "pair", "crash")
Key = tuple[Kind, tuple[str | int, ...]]

TAKEN = ""
"""In a condition's key, instead of the name of the condition that failed: none did."""

FULL = "refused, queue full"
HOW = {Cell.MOVE: "moves", Cell.IGNORE: "ignored", Cell.POSTPONE: "postponed"}

_SAYS = frozenset({"say", "apologise", "refuse"})
_BY_OUTCOME = (CrashPoint.OUTCOME_APPEND,)
_BY_PEOPLE = (CrashPoint.BEFORE_APPEND, CrashPoint.APPEND_ACK)
_BY_EVERY_ROW = (CrashPoint.STEP_COMMIT, CrashPoint.COMMIT_PERFORM)
_BY_SAYING = (CrashPoint.MARK_CALL, CrashPoint.CALL_RECEIPT)


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a flow can do. `key`: what makes it that one. `what`: for people."""

    kind: Kind
    key: tuple[str | int, ...]
    what: str


@lru_cache(maxsize=64)
def universe(flow: Flow) -> tuple[Thing, ...]:
    """All that the flow can do, by kind, in the order of its table."""
    found = arrivals.derive(type(flow), flow.table, initial=flow.initial, config=flow.config)
    edges = [e for e in found.edges if _comes(flow, e.trigger) and not _is_declared(flow, e)]
    rows = sorted({edge.row for edge in edges}, key=lambda row: row.index)
    return (
        *(name(flow, ("row", (row.index,))) for row in rows),
        *(name(flow, ("condition", (row.index, v))) for row in rows for v in _values(row)),
        *(name(flow, ("cell", cell)) for cell in _cells(flow, found)),
        *(name(flow, ("pair", pair)) for pair in _pairs(edges)),
        *(name(flow, ("crash", crash)) for crash in _crashes(flow, edges)),
    )


def name(flow: Flow, key: Key) -> Thing:
    """A thing with its name, one that the flow should never do, too."""
    kind, parts = key
    match kind, parts:
        case "row", (int(index),):
            what = _row(flow, index)
        case "condition", (int(index), failed):
            what = f"{_row(flow, index)}: {f'{failed} fails' if failed else 'taken'}"
        case "cell", (state, trigger, how):
            what = f"{trigger} in {state}: {how}"
        case "pair", (int(first), int(then)):
            what = f"{_row(flow, first)}, then {_row(flow, then)}"
        case _, (point, int(index)):
            what = f"a crash at {point} around {_row(flow, index)}"
        case _:
            what = ", ".join(map(str, parts))
    return Thing(kind=kind, key=parts, what=what)


def failed_at_once(flow: Flow, state: str, *, trigger: str) -> Iterator[Key]:
    """The condition of each row whose only one it is: where no row was taken, they all failed."""
    for row in flow.table.candidates(state, trigger):
        guards = _guards(row)
        if len(guards) == 1:
            yield "condition", (row.index, guards[0])


def _row(flow: Flow, index: int) -> str:
    rows = flow.table.rows
    return str(rows[index]) if index < len(rows) else f"row {index}"


def _guards(row: Row) -> tuple[str, ...]:
    """Each condition as `engine.session.Considered` names it when it fails."""
    return (*row.conditions, *(f"not {each}" for each in row.unless))


def _values(row: Row) -> tuple[str, ...]:
    guards = _guards(row)
    return (TAKEN, *dict.fromkeys(guards)) if guards else ()


def _comes(flow: Flow, trigger: str) -> bool:
    """Whether this configuration lets the trigger come: no answer escalates without strategies."""
    return trigger != "escalated" or bool(getattr(flow.config, "fallback_strategies", ()))


def _is_declared(flow: Flow, edge: Edge) -> bool:
    """Whether something further in than the row ignores or postpones the trigger."""
    return flow.cell(edge.source, edge.trigger) is not Cell.MOVE


def _cells(flow: Flow, found: Arrivals) -> Iterator[tuple[str, str, str]]:
    for leaf in flow.table.leaves:
        for trigger in sorted(t for t in found.triggers.get(leaf, ()) if _comes(flow, t)):
            cell = flow.cell(leaf, trigger)
            hows = [cell]
            if cell is Cell.MOVE and not _always_taken(flow, leaf, trigger=trigger):
                hows.append(flow.otherwise(leaf, trigger))
            for how in hows:
                if how is Cell.IMPOSSIBLE or (how is Cell.IGNORE and _is_silent(flow, trigger)):
                    continue
                yield leaf, trigger, HOW[how]
                if how is Cell.POSTPONE:
                    yield leaf, trigger, FULL


def _always_taken(flow: Flow, leaf: str, *, trigger: str) -> bool:
    return any(row.unconditional for row in flow.table.candidates(leaf, trigger))


def _is_silent(flow: Flow, trigger: str) -> bool:
    """A timer of an enclosing state that a leaf ignores: no record says that it fired."""
    return trigger not in arrivals.ENGINE and trigger not in flow.table.commands


def _pairs(edges: list[Edge]) -> list[tuple[int, int]]:
    """The rows that may follow each other: one leads to a leaf from which the other leads."""
    leading: dict[str, set[int]] = {}
    for edge in edges:
        leading.setdefault(edge.source, set()).add(edge.row.index)
    return sorted({(e.row.index, then) for e in edges for then in leading.get(e.dest, ())})


def _crashes(flow: Flow, edges: list[Edge]) -> list[tuple[str, int]]:
    found: dict[tuple[str, int], None] = {}
    for edge in sorted(edges, key=lambda edge: (edge.row.index, edge.source)):
        for point in CrashPoint:
            if point in _points(flow, edge):
                found[point.value, edge.row.index] = None
    return list(found)


def _points(flow: Flow, edge: Edge) -> Iterator[CrashPoint]:
    """The instants at which a worker may die around this row."""
    yield from _BY_EVERY_ROW
    if edge.trigger in arrivals.EVERYWHERE or edge.trigger in flow.table.commands:
        yield from _BY_PEOPLE
    if any(edge.trigger in triggers for triggers in arrivals.OUTCOMES.values()):
        yield from _BY_OUTCOME
    callbacks = arrivals.callbacks_of(flow.table, edge.row, leaf=edge.source)
    if any(look(type(flow), each).changes & _SAYS for each in callbacks):
        yield from _BY_SAYING
