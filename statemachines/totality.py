"""The second stage of loading: every reachable cell is declared, and every row is of use.

It works on what `statemachines.arrivals` derived, and makes the report of `flow check`. What it
never does: decide anything at run time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from engine.events import FlowRef
from engine.flow import Cell
from engine.limits import QUEUE_MAX
from statemachines import arrivals, bounds
from statemachines.arrivals import Arrivals
from statemachines.callbacks import look
from statemachines.checks import named
from statemachines.table import Finding, FlowError, Row, Table

if TYPE_CHECKING:
    from statemachines.flow import Flow


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What `flow check` tells of a flow that can be loaded. Cells are (leaf, trigger)."""

    flow: str
    leaves: tuple[str, ...]
    rows: int
    ignored: tuple[tuple[str, str], ...]
    postponed: tuple[tuple[str, str], ...]
    impossible: tuple[tuple[str, str], ...]
    usual_turn: tuple[str, ...]
    bound_s: int
    bound_why: str
    warnings: tuple[Finding, ...]


def check(flow: "Flow") -> Report:
    """The report. Raises FlowError with all that the second stage finds."""
    table = flow.table
    found = arrivals.derive(type(flow), table, initial=flow.initial, config=flow.config)
    findings = [
        *_unreachable(table, found),
        *_misplaced(found),
        *_deadlines(flow),
        *_undeclared(flow, found),
        *_useless_rows(table, found),
        *_useless_declarations(flow, found),
        *_for_ever(flow, found),
        *_at_once(found),
        *_migration(flow),
    ]
    if findings:
        raise FlowError(flow.name, findings)
    return _report(flow, found)


def _report(flow: "Flow", found: Arrivals) -> Report:
    table = flow.table
    bound = bounds.longest_wait(found)
    triggers = {row.trigger for row in table.rows} | arrivals.ENGINE - {arrivals.STEP_FAILED}
    possible = [(leaf, t) for leaf in table.leaves for t in sorted(found.triggers[leaf])]
    longest = bound.seconds // (QUEUE_MAX + 1)
    why = (
        f"longest path of time-outs and deadlines without a cycle: {' -> '.join(bound.path)} = "
        f"{longest} s; times {QUEUE_MAX + 1} (a queue of {QUEUE_MAX}, and the message itself)"
        if bound.path
        else "no message ever waits for time to pass"
    )
    return Report(
        flow=str(flow.ref),
        leaves=table.leaves,
        rows=len(table.rows),
        ignored=tuple(cell for cell in possible if flow.cell(*cell) is Cell.IGNORE),
        postponed=tuple(cell for cell in possible if flow.cell(*cell) is Cell.POSTPONE),
        impossible=tuple(
            (leaf, trigger)
            for leaf in table.leaves
            for trigger in sorted(triggers)
            if trigger not in found.triggers[leaf]
        ),
        usual_turn=tuple(
            f"{edge.trigger}: {edge.source} -> {edge.dest}"
            for edge in bounds.usual_turn(found, flow.initial)
        ),
        bound_s=bound.seconds,
        bound_why=why,
        warnings=tuple(_no_way_back(flow, found)),
    )


# ---- states --------------------------------------------------------------------------------------


def _unreachable(table: Table, found: Arrivals) -> Iterator[Finding]:
    for leaf in table.leaves:
        if leaf not in found.triggers:
            fix = "add a row that leads there, or remove the state (in `build`, if it depends)"
            yield Finding(where=f"state {leaf!r}", problem="can never be reached", fix=fix)


def _for_ever(flow: "Flow", found: Arrivals) -> Iterator[Finding]:
    """States in which a message, or the dialog, would be stuck."""
    for leaf in found.triggers:
        where = f"state {leaf!r}"
        ways = found.out_of(leaf)
        by_time = any(edge.seconds is not None for edge in ways)
        postpones = arrivals.MESSAGE in found.triggers[leaf] and Cell.POSTPONE in (
            flow.cell(leaf, arrivals.MESSAGE),
            flow.otherwise(leaf, arrivals.MESSAGE),
        )
        if postpones and not by_time:
            fix = "give it a timeout: no request and no timer leads out of it"
            yield Finding(where=where, problem="postpones messages for ever", fix=fix)
        elif leaf in found.waiting and not by_time:
            fix = "answer it (turn.say, refuse, forward), request something, or add a timeout"
            yield Finding(where=where, problem="a message may wait here for ever", fix=fix)
        if len(flow.table.leaves) > 1 and all(edge.dest == leaf for edge in ways):
            fix = "add a row or a timeout that leads out"
            yield Finding(where=where, problem="is a trap: nothing leads out of it", fix=fix)


def _no_way_back(flow: "Flow", found: Arrivals) -> Iterator[Finding]:
    """A dialog that never ends grows no data, but its transcript is never begun anew."""
    back = {flow.initial}
    while more := {e.source for e in found.edges if e.dest in back} - back:
        back |= more
    stuck = sorted(set(found.triggers) - back)
    if stuck:
        fix = f"add a timeout that leads to {flow.initial!r}, where a new dialog begins"
        problem = f"no way leads back to {flow.initial!r}: the dialog never ends"
        yield Finding(where=f"states {', '.join(stuck)}", problem=problem, fix=fix)


def _at_once(found: Arrivals) -> Iterator[Finding]:
    """Cycles of rows that need no event and no time."""
    leads: dict[str, set[str]] = {}
    for edge in found.edges:
        if edge.seconds == 0:
            leads.setdefault(edge.source, set()).add(edge.dest)
    for start in sorted(leads):
        reached: set[str] = set()
        queue = list(leads[start])
        while queue:
            state = queue.pop()
            if state not in reached:
                reached.add(state)
                queue += leads.get(state, ())
        if start in reached:
            fix = "give one of its states a timeout of at least a second"
            problem = "is on a cycle of time-outs of 0 s, which would never end"
            yield Finding(where=f"state {start!r}", problem=problem, fix=fix)


# ---- requests ------------------------------------------------------------------------------------


def _misplaced(found: Arrivals) -> Iterator[Finding]:
    for row, scope, leaf in sorted(found.misplaced, key=lambda item: item[0].index):
        fix = "use the leaf's own scope (none), or a state that encloses it"
        problem = f"requests with the scope {scope!r}, which does not hold in {leaf!r}"
        yield Finding(where=str(row), problem=problem, fix=fix)


def _deadlines(flow: "Flow") -> Iterator[Finding]:
    for name in sorted(named(flow.table)):
        for asked in look(type(flow), name).asked:
            if isinstance(asked.within, str) and not hasattr(flow.config, asked.within):
                problem = f"within_s is {asked.within!r}, which is no field of Config"
                fix = "add the field, in seconds"
            elif arrivals.seconds(asked.within, flow.config) < 1:
                problem = "within_s is less than a second"
                fix = "give the request at least a second"
            else:
                continue
            yield Finding(where=f"callback {name!r}", problem=problem, fix=fix)


# ---- cells ---------------------------------------------------------------------------------------


def _undeclared(flow: "Flow", found: Arrivals) -> Iterator[Finding]:
    open_cells: dict[str, list[str]] = {}
    halves: dict[Row, list[str]] = {}
    for leaf, triggers in found.triggers.items():
        for trigger in sorted(triggers - {arrivals.STEP_FAILED}):
            cell = flow.cell(leaf, trigger)
            if cell is Cell.IMPOSSIBLE:
                open_cells.setdefault(trigger, []).append(leaf)
            elif cell is Cell.MOVE and flow.otherwise(leaf, trigger) is Cell.IMPOSSIBLE:
                *_, last = flow.table.candidates(leaf, trigger)
                if not last.unconditional:
                    halves.setdefault(last, []).append(leaf)
    for trigger, leaves in sorted(open_cells.items()):
        fix = f"add a row for it, or name {trigger!r} in `ignore` of these states"
        problem = f"can arrive in {', '.join(leaves)}, and nothing says what happens then"
        yield Finding(where=f"trigger {trigger!r}", problem=problem, fix=fix)
    for row, leaves in halves.items():
        fix = f"add a last row without conditions, or name {row.trigger!r} in `ignore`"
        problem = f"nothing says what happens in {', '.join(leaves)} where its conditions fail"
        yield Finding(where=str(row), problem=problem, fix=fix)


def _useless_rows(table: Table, found: Arrivals) -> Iterator[Finding]:
    taken = {edge.row for edge in found.edges}
    for row in table.rows:
        shadows = [other for source in row.sources for other in _shadowing(table, row, source)]
        if shadows:
            fix = f"put it before row {shadows[0].index}, or remove it"
            yield Finding(where=str(row), problem=f"is shadowed by {shadows[0]}", fix=fix)
        elif row not in taken:
            yield _never_taken(table, row, found)


def _shadowing(table: Table, row: Row, source: str) -> Iterator[Row]:
    """Earlier rows on the same state that always take the trigger."""
    for other in table.rows_at[source, row.trigger]:
        if other is row:
            return
        if other.unconditional:
            yield other


def _never_taken(table: Table, row: Row, found: Arrivals) -> Finding:
    leaves = [leaf for source in row.sources for leaf in table.below(source)]
    arriving = [leaf for leaf in leaves if row.trigger in found.triggers.get(leaf, ())]
    if arriving:
        problem = "is shadowed: each state below it has an own row or an own ignore"
        return Finding(where=str(row), problem=problem, fix="remove it, or the rows below")
    known = {*arrivals.ENGINE, *table.commands}
    known |= {s.on_timeout for s in table.states.values() if s.on_timeout is not None}
    if row.trigger not in known:
        close = get_close_matches(row.trigger, known, 1)
        fix = f"did you mean {close[0]!r}?" if close else "name an event, a command or a time-out"
        problem = f"nothing ever triggers {row.trigger!r}"
        return Finding(where=str(row), problem=problem, fix=fix)
    fix = "remove the row, or make the request (or the timer) that it is for"
    return Finding(where=str(row), problem=f"{row.trigger!r} can never arrive there", fix=fix)


def _useless_declarations(flow: "Flow", found: Arrivals) -> Iterator[Finding]:
    table = flow.table
    for word, cell, declared in (
        ("ignore", Cell.IGNORE, table.ignore),
        ("postpone", Cell.POSTPONE, table.postpone),
    ):
        for state, triggers in declared.items():
            for trigger in triggers:
                leaves = [x for x in table.below(state) if trigger in found.triggers.get(x, ())]
                effective = [
                    leaf
                    for leaf in leaves
                    if cell in (flow.cell(leaf, trigger), flow.otherwise(leaf, trigger))
                ]
                if effective:
                    continue
                problem = f"{trigger!r} can never arrive there, or always has a row there"
                where = f"{word} of {state!r}"
                yield Finding(where=where, problem=problem, fix="remove it from the list")


# ---- migration -----------------------------------------------------------------------------------


def _migration(flow: "Flow") -> Iterator[Finding]:
    """From any leaf, known or not, `migrate` must lead to a leaf of this version."""
    old = FlowRef(name=flow.name, version=max(1, flow.version - 1), digest="0" * 32)
    written = flow.encode_data(flow.new_data())
    for state in (*flow.table.leaves, "no_such_state"):
        try:
            leaf, _ = flow.migrate(old, state, data=written)
        except Exception as error:  # an author's own code, run once here instead of in a step
            leaf, problem = None, f"raised {type(error).__name__} for {state!r}"
        else:
            problem = f"leads from {state!r} to {leaf!r}, which is no leaf"
        if leaf not in flow.table.leaves:
            fix = "return a leaf of this version and its data for any state: `initial` at last"
            yield Finding(where="migrate", problem=problem, fix=fix)
