"""How long a message can wait, and what a usual turn costs: computed from a flow's edges.

B is law 7's bound: after the last fault and the last user message, every message has its
disposition within B of log time.
"""

from dataclasses import dataclass

from engine.limits import QUEUE_MAX
from statemachines.arrivals import MESSAGE, Arrivals, Edge

_SEARCH_MAX = 100_000
"""Steps of the search for the longest path; beyond it, a coarser and safe bound is told."""

_SUCCESS = ("model_replied", "skill_done", "intent_found")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """B in seconds, and the path of time-outs and deadlines that it was computed from."""

    seconds: int
    path: tuple[str, ...]


def longest_wait(arrivals: Arrivals) -> Bound:
    """B: the longest path of time-outs and deadlines without a cycle × (queue limit + 1)."""
    waits: dict[str, dict[str, int]] = {}
    for edge in arrivals.edges:
        if edge.seconds is not None:
            leads = waits.setdefault(edge.source, {})
            leads[edge.dest] = max(leads.get(edge.dest, 0), edge.seconds)
    search = _Search(waits)
    best: tuple[int, tuple[str, ...]] = (0, ())
    for leaf in sorted(waits):
        best = max(best, search.longest(leaf, frozenset()), key=lambda found: found[0])
    if search.steps > _SEARCH_MAX:
        total = sum(2 * max(leads.values()) for leads in waits.values())
        best = (total, ("the sum over all states: there are too many paths to compare",))
    return Bound(seconds=best[0] * (QUEUE_MAX + 1), path=best[1])


class _Search:
    """Depth first, each state at most once on a path, and a row back to itself once, too."""

    def __init__(self, waits: dict[str, dict[str, int]]) -> None:
        self._waits = waits
        self.steps = 0

    def longest(self, leaf: str, passed: frozenset[str]) -> tuple[int, tuple[str, ...]]:
        self.steps += 1
        leads = self._waits.get(leaf, {})
        own = leads.get(leaf, 0)
        best: tuple[int, tuple[str, ...]] = (0, (leaf,))
        if self.steps > _SEARCH_MAX:
            return best
        for dest, wait_s in sorted(leads.items()):
            if dest == leaf or dest in passed:
                continue
            further, path = self.longest(dest, passed | {leaf})
            if wait_s + further > best[0]:
                best = (wait_s + further, (f"{leaf} {wait_s} s", *path))
        if own:
            best = (own + best[0], (f"{leaf} {own} s", *best[1]))
        return best


def usual_turn(arrivals: Arrivals, initial: str) -> tuple[Edge, ...]:
    """The microsteps from a message in a resting state back to rest; empty where there are none.

    A resting state is one that a successful outcome leads to.
    """
    rests = sorted({e.dest for e in arrivals.edges if e.trigger in _SUCCESS})
    if not rests:  # what needs nothing from outside is answered in the microstep that takes it
        return tuple(e for e in arrivals.out_of(initial) if e.trigger == MESSAGE)[:1]
    turns = [turn for rest in rests if (turn := _back_to(arrivals, rest))]
    asks_model = [turn for turn in turns if any(e.trigger == "model_replied" for e in turn)]
    return min(asks_model or turns, key=len, default=())


def _back_to(arrivals: Arrivals, rest: str) -> tuple[Edge, ...]:
    """Breadth first, from the message that leaves the state to the row that leads back."""
    first = [e for e in arrivals.out_of(rest) if e.trigger == MESSAGE]
    usual = [edge for edge in first if edge.row.unconditional] or first
    paths: list[tuple[Edge, ...]] = [(edge,) for edge in usual]
    known: set[str] = set()
    while paths:
        path = paths.pop(0)
        last = path[-1].dest
        if last == rest:
            return path
        if last in known:
            continue
        known.add(last)
        paths += [(*path, edge) for edge in arrivals.out_of(last) if _goes_well(edge)]
    return ()


def _goes_well(edge: Edge) -> bool:
    by_itself = edge.seconds is not None
    return (
        edge.row.unconditional and by_itself and edge.trigger not in ("request_failed", "escalated")
    )
