"""Which states a microstep left and entered, by its flow's rows. It judges nothing."""

from functools import lru_cache

from engine.flow import Flow
from engine.session import Microstep

MOVES_MAX = 10_000
"""Moves (a flow, a row and two leaves) of which it is remembered what they leave and enter."""


def left(flow: Flow, microstep: Microstep) -> frozenset[str]:
    """The states that a microstep left for certain, those that it entered again included."""
    return _left((flow, microstep.row, microstep.source, microstep.dest))


@lru_cache(maxsize=MOVES_MAX)
def _left(move: tuple[Flow, int, str, str]) -> frozenset[str]:
    flow, row, from_state, to_state = move
    source, dest = flow.path(from_state), flow.path(to_state)
    rows = getattr(getattr(flow, "table", None), "rows", None)
    if rows is None:
        return frozenset(source) - frozenset(dest)
    to = rows[row].dest
    if to is None:
        return frozenset()
    to = from_state if to == "=" else to
    if to in source:
        return frozenset(source[: source.index(to) + 1])
    return frozenset(source) - frozenset(dest)


def may_leave(flow: Flow, microstep: Microstep) -> frozenset[str]:
    """The states that it may have left: of a flow whose rows are not known, those it stayed in."""
    known = getattr(getattr(flow, "table", None), "rows", None) is not None
    again = frozenset() if known else frozenset(flow.path(microstep.source))
    return left(flow, microstep) | again


def entered(flow: Flow, microstep: Microstep) -> frozenset[str]:
    """The states that a microstep entered, those that it had just left included."""
    return _entered((flow, microstep.row, microstep.source, microstep.dest))


@lru_cache(maxsize=MOVES_MAX)
def _entered(move: tuple[Flow, int, str, str]) -> frozenset[str]:
    flow, _, from_state, to_state = move
    kept = frozenset(flow.path(from_state)) - _left(move)
    return frozenset(flow.path(to_state)) - kept
