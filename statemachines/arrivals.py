"""What can arrive where: the states that a dialog can be in, and the triggers that reach it there.

Derived from the table and from what its callbacks may ask for, by following every row from
`initial` until nothing new is found. Messages, commands and people's events arrive everywhere; an
outcome only where its request may be pending; a timer in its state. All is an upper bound:
conditions may fail.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from statemachines.callbacks import Asked, look
from statemachines.data import FlowConfig
from statemachines.table import Row, Table

MESSAGE = "message_received"
EVERYWHERE = (
    MESSAGE,
    "operator_said",
    "handed_back",
    "stop_requested",
    "feedback_given",
    "reply_undelivered",
)
FAILED = "request_failed"
OUTCOMES = {
    "model": ("model_replied", "escalated", FAILED),
    "skill": ("skill_done", "escalated", FAILED),
    "intent": ("intent_found", FAILED),
}
STEP_FAILED = "step_failed"
ENGINE = frozenset({*EVERYWHERE, STEP_FAILED, *(t for ts in OUTCOMES.values() for t in ts)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Awaited:
    """A request that may be pending: its kind, its deadline in seconds, and its scope."""

    kind: str
    within_s: int
    scope: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A row as taken from one leaf. `seconds`: within how many it comes by itself, if it does."""

    source: str
    trigger: str
    row: Row
    dest: str
    seconds: int | None


@dataclass(kw_only=True)
class Arrivals:
    """`triggers`: by reachable leaf. `waiting`: leaves in which a message may await its end."""

    triggers: dict[str, set[str]] = field(default_factory=dict)
    awaited: dict[str, set[Awaited]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    edges: set[Edge] = field(default_factory=set)
    misplaced: set[tuple[Row, str, str]] = field(default_factory=set)
    """(row, scope, leaf): a scope that does not hold where the row ends."""

    def out_of(self, leaf: str) -> list[Edge]:
        found = [edge for edge in self.edges if edge.source == leaf]
        return sorted(found, key=lambda edge: (edge.trigger, edge.row.index))


def seconds(value: int | str | None, config: FlowConfig) -> int:
    """A duration as written: a number, or the name of a Config field; 0 where it is neither."""
    found = getattr(config, value, None) if isinstance(value, str) else value
    return found if isinstance(found, int) else 0


def derive(flow: type, table: Table, *, initial: str, config: FlowConfig) -> Arrivals:
    """Follow every row from `initial` until nothing new is found."""
    found = Arrivals(triggers={initial: set()}, awaited={initial: set()})
    before = None
    while before != (before := _size(found)):
        for leaf in list(found.triggers):
            for trigger, wait_s in _arriving(table, leaf, found.awaited[leaf], config):
                found.triggers[leaf].add(trigger)
                for row in _taken(table, leaf, trigger):
                    dest = _follow(flow, table, leaf, row, found, config)
                    edge = Edge(source=leaf, trigger=trigger, row=row, dest=dest, seconds=wait_s)
                    found.edges.add(edge)
                    waits = _waits(flow, table, leaf, row, found)
                    if (waits and dest != initial) or (waits and dest == leaf):
                        found.waiting.add(dest)
    return found


def _size(found: Arrivals) -> tuple[int, ...]:
    awaited = sum(map(len, found.awaited.values()))
    return len(found.triggers), awaited, len(found.edges), len(found.waiting)


def _arriving(
    table: Table, leaf: str, awaited: set[Awaited], config: FlowConfig
) -> Iterator[tuple[str, int | None]]:
    """Each trigger that can come, and within how many seconds it comes by itself."""
    for trigger in (*EVERYWHERE, *table.commands, STEP_FAILED):
        yield trigger, None
    for state in table.paths[leaf]:
        timer = table.states[state]
        if timer.on_timeout is not None:
            yield timer.on_timeout, seconds(timer.timeout, config)
    for request in awaited:
        for trigger in OUTCOMES[request.kind]:
            yield trigger, request.within_s


def _taken(table: Table, leaf: str, trigger: str) -> Iterator[Row]:
    """The rows that the machine may take: none, where something further in ignores the trigger."""
    for state in table.paths[leaf]:
        rows = table.rows_at.get((state, trigger), ())
        if rows:
            yield from table.candidates(leaf, trigger)
            return
        if trigger in (*table.ignore.get(state, ()), *table.postpone.get(state, ())):
            return


def callbacks_of(table: Table, row: Row, *, leaf: str) -> tuple[str, ...]:
    """All that runs when the row is taken from this leaf."""
    exited, entered = table.changes(row, leaf)
    leaving = (name for state in exited for name in table.states[state].on_exit)
    entering = (name for state in entered for name in table.states[state].on_enter)
    return (*row.callbacks, *leaving, *entering)


def _follow(
    flow: type, table: Table, leaf: str, row: Row, found: Arrivals, config: FlowConfig
) -> str:
    """Note the leaf that the row leads to, and what may be pending there."""
    dest = table.target(row, leaf)
    exited, _ = table.changes(row, leaf)
    found.triggers.setdefault(dest, set())
    pending = found.awaited.setdefault(dest, set())
    pending |= {request for request in found.awaited[leaf] if request.scope not in exited}
    for name in callbacks_of(table, row, leaf=leaf):
        for asked in look(flow, name).asked:
            scope = asked.scope or dest
            if scope not in table.paths[dest]:
                found.misplaced.add((row, scope, dest))
                continue
            pending.add(_awaited(asked, scope, config))
    return dest


def _awaited(asked: Asked, scope: str, config: FlowConfig) -> Awaited:
    return Awaited(kind=asked.kind, within_s=seconds(asked.within, config), scope=scope)


def _waits(flow: type, table: Table, leaf: str, row: Row, found: Arrivals) -> bool:
    """Whether a message may still await its end after the row."""
    takes = row.trigger == MESSAGE or row.trigger in table.commands
    answers = any(look(flow, name).answers for name in callbacks_of(table, row, leaf=leaf))
    return (takes or leaf in found.waiting) and not answers
