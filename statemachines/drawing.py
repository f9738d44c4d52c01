"""A flow drawn from its built table: Mermaid for documents, text for a terminal, SVG to look at.

Drawings are made from what was loaded, never kept by hand, so they cannot be wrong. They show what
a person asks of a flow: its states, its rows in order, its time-outs, what has no row.
"""

from typing import Literal

from statemachines import svg
from statemachines.flow import Flow
from statemachines.table import SEPARATOR, Row, State, Table
from statemachines.totality import Report

Format = Literal["mermaid", "text", "svg"]
FORMATS: tuple[Format, ...] = ("mermaid", "text", "svg")


def draw(flow: Flow, *, form: Format) -> str:
    """The whole drawing as text; SVG is a complete document."""
    if form == "svg":
        return svg.draw(str(flow.ref), flow.table, initial=flow.initial, timeouts=flow.timeouts)
    return mermaid(flow) if form == "mermaid" else text(flow)


# ---- text -------------------------------------------------------------------------------------


def text(flow: Flow) -> str:
    """The state tree, the rows in the order in which they are tried, and what has no row."""
    table = flow.table
    lines = [str(flow.ref), "", "States"]
    for state in table.states.values():
        lines.append(f"{_branch(table, state)}{_notes(flow, state)}")
    lines += ["", "Rows"]
    width = max((len(row.trigger) for row in table.rows), default=0)
    lines += [f"  {row.index:>2}  {row.trigger:<{width}}  {_told(row)}" for row in table.rows]
    for title, declared in (("Ignored", table.ignore), ("Postponed", table.postpone)):
        if declared:
            lines += ["", title]
            lines += [f"  {state}: {', '.join(names)}" for state, names in declared.items()]
    if table.commands:
        lines += ["", "Commands"]
        lines += [f"  {trigger}: {words}" for trigger, words in table.commands.items()]
    return "\n".join(lines) + "\n"


def _branch(table: Table, state: State) -> str:
    """`├─` and `└─` in front of the state's short name."""
    path = list(reversed(table.paths[state.name]))
    marks = []
    for depth in range(1, len(path)):
        siblings = table.states[path[depth - 1]].children
        last = siblings[-1] == path[depth]
        ends = depth == len(path) - 1
        marks.append(("└─ " if last else "├─ ") if ends else ("   " if last else "│  "))
    return "  " + "".join(marks) + state.name.rpartition(SEPARATOR)[2]


def _notes(flow: Flow, state: State) -> str:
    parent = flow.table.states[state.parent] if state.parent else None
    first = state.name == (parent.initial if parent else flow.table.paths[flow.initial][-1])
    timeout = flow.timeouts.get(state.name)
    notes = [
        "begins here" if first else "",
        f"after {svg.duration(timeout.after_ms)}: {timeout.trigger}" if timeout else "",
        "a person has taken over" if state.hands_over else "",
    ]
    told = ", ".join(note for note in notes if note)
    return f"  ({told})" if told else ""


def _told(row: Row) -> str:
    dest = "stays" if row.dest is None else ("begins again" if row.dest == "=" else f"→ {row.dest}")
    guards = svg.guards(row)
    does = f"  [{', '.join(row.callbacks)}]" if row.callbacks else ""
    return f"{', '.join(row.sources)} {dest}{f'  if {guards}' if guards else ''}{does}"


def told(report: Report) -> str:
    """What `flow check` prints: cells, the usual turn, and how long a message can wait."""
    hours, seconds = divmod(report.bound_s, 3_600)
    lines = [
        f"{report.flow}: {len(report.leaves)} states, {report.rows} rows, all in order",
        "",
        f"A usual turn is {len(report.usual_turn)} microsteps",
        *(f"  {step}" for step in report.usual_turn),
        "",
        f"B, the longest that a message can wait: {report.bound_s} s "
        f"({hours} h {seconds // 60} min)",
        f"  {report.bound_why}",
    ]
    for title, cells in (
        ("Ignored", report.ignored),
        ("Postponed", report.postponed),
        ("Impossible, so without a cell", report.impossible),
    ):
        by_state: dict[str, list[str]] = {}
        for state, trigger in cells:
            by_state.setdefault(state, []).append(trigger)
        lines += ["", title] if by_state else []
        lines += [f"  {state}: {', '.join(names)}" for state, names in by_state.items()]
    lines += ["", *map(str, report.warnings)] if report.warnings else []
    return "\n".join(lines) + "\n"


# ---- Mermaid ----------------------------------------------------------------------------------


def mermaid(flow: Flow) -> str:
    """A `stateDiagram-v2`: states nested as in the table, one arrow per row and source."""
    table = flow.table
    lines = ["stateDiagram-v2", f"    [*] --> {_id(table.paths[flow.initial][-1])}"]
    for state in table.states.values():
        if state.parent is None:
            lines += _mermaid_state(table, state, depth=1)
    for row in table.rows:
        guards = svg.guards(row)
        label = f"{row.trigger} [{guards}]" if guards else row.trigger
        for source in row.sources:
            if row.dest is None:
                label_here, dest = f"{label} (stays)", source
            else:
                label_here, dest = label, source if row.dest == "=" else row.dest
            lines.append(f"    {_id(source)} --> {_id(dest)}: {label_here}")
    return "\n".join(lines) + "\n"


def _mermaid_state(table: Table, state: State, *, depth: int) -> list[str]:
    indent = "    " * depth
    short = state.name.rpartition(SEPARATOR)[2]
    if not state.children:
        return [f'{indent}state "{short}" as {_id(state.name)}']
    lines = [f'{indent}state "{short}" as {_id(state.name)} {{']
    if state.initial is not None:
        lines.append(f"{indent}    [*] --> {_id(state.initial)}")
    for child in state.children:
        lines += _mermaid_state(table, table.states[child], depth=depth + 1)
    return [*lines, f"{indent}}}"]


def _id(name: str) -> str:
    return name.replace(SEPARATOR, "__")
