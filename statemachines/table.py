"""A flow's table as typed records: parsed once from the plain data that a flow's author writes.

`statemachines.flow` parses it, `machine` builds a machine from it, the checks and drawings read it.
It knows nothing of callbacks' insides and nothing of `transitions`; what it cannot parse it reports
as findings, all of them at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any

from engine.errors import Refused

SEPARATOR = "."
SAME = "="

_STATE_KEYS = frozenset(
    {"name", "children", "initial", "timeout", "on_timeout", "hands_over", "on_enter", "on_exit"}
)
_ROW_KEYS = frozenset(
    {"trigger", "source", "dest", "before", "after", "conditions", "unless", "restart"}
)
_FORBIDDEN = {
    "prepare": "it would run for rows that are not taken: use `before`",
    "on_exception": "it would swallow errors: the engine runs `step_failed` instead",
    "parallel": "parallel states are not supported: use one state and data",
    "ignore_invalid_triggers": "name each ignored trigger in `ignore`",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with a flow: where, what, and what to do about it."""

    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}\n    fix: {self.fix}"


class FlowError(Refused):
    """A flow that cannot be loaded; `findings` holds everything that is wrong with it."""

    def __init__(self, flow: str, findings: Sequence[Finding]) -> None:
        self.flow = flow
        self.findings = tuple(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        super().__init__(f"flow {flow!r} cannot be loaded, {len(self.findings)} found:\n{lines}")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What an author writes, or `Flow.build` makes from a configuration: plain data."""

    states: Sequence[str | Mapping[str, Any]]
    transitions: Sequence[Mapping[str, Any]]
    ignore: Mapping[str, Sequence[str]]
    postpone: Mapping[str, Sequence[str]]
    commands: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """One state. Names are full: `bot.listening`. `timeout`: seconds, or a Config field's name."""

    name: str
    parent: str | None = None
    children: tuple[str, ...] = ()
    initial: str | None = None
    timeout: int | str | None = None
    on_timeout: str | None = None
    hands_over: bool = False
    on_enter: tuple[str, ...] = ()
    on_exit: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table; `index` is its place in what the author wrote, from 0."""

    index: int
    trigger: str
    sources: tuple[str, ...]
    dest: str | None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    restart: bool = False

    @property
    def unconditional(self) -> bool:
        return not (self.conditions or self.unless)

    @property
    def callbacks(self) -> tuple[str, ...]:
        return self.before + self.after

    def __str__(self) -> str:
        source = self.sources[0] if len(self.sources) == 1 else "[" + ", ".join(self.sources) + "]"
        guards = [*self.conditions, *(f"not {name}" for name in self.unless)]
        guard = f" if {' and '.join(guards)}" if guards else ""
        return f"row {self.index} ({self.trigger}: {source} -> {self.dest}{guard})"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A flow's states, in the order written, its rows, and what it ignores and postpones."""

    states: Mapping[str, State]
    rows: tuple[Row, ...]
    ignore: Mapping[str, tuple[str, ...]]
    postpone: Mapping[str, tuple[str, ...]]
    commands: Mapping[str, str]

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        return tuple(name for name, state in self.states.items() if not state.children)

    @cached_property
    def paths(self) -> Mapping[str, tuple[str, ...]]:
        """Each state and its ancestors, innermost first."""
        return {name: tuple(self._upwards(name)) for name in self.states}

    @cached_property
    def rows_at(self) -> Mapping[tuple[str, str], tuple[Row, ...]]:
        """The rows that stand on a state itself, by (state, trigger), in order."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            for source in row.sources:
                found.setdefault((source, row.trigger), []).append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    def leaf(self, name: str) -> str:
        """The leaf that holds after this state is entered."""
        initial = self.states[name].initial
        return name if initial is None else self.leaf(initial)

    def below(self, name: str) -> tuple[str, ...]:
        """The leaves of a state: itself, where it is one."""
        return tuple(leaf for leaf in self.leaves if name in self.paths[leaf])

    def candidates(self, leaf: str, trigger: str) -> Iterator[Row]:
        """The rows that may be taken from a leaf, in the machine's order; unreachable ones not."""
        for state in self.paths[leaf]:
            for row in self.rows_at.get((state, trigger), ()):
                yield row
                if row.unconditional:
                    return

    def target(self, row: Row, leaf: str) -> str:
        """The leaf that holds after the row was taken from `leaf`."""
        return leaf if row.dest is None or row.dest == SAME else self.leaf(row.dest)

    def changes(self, row: Row, leaf: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The states that the row leaves and enters, as the machine does it: for checks only."""
        if row.dest is None:
            return (), ()
        dest = leaf if row.dest == SAME else row.dest
        kept = [s for s in self.paths[leaf] if s in self.paths[dest] and s != dest]
        exited = tuple(s for s in self.paths[leaf] if s not in kept)
        entered = tuple(s for s in reversed(self.paths[self.leaf(dest)]) if s not in kept)
        return exited, entered

    def _upwards(self, name: str | None) -> Iterator[str]:
        while name is not None:
            yield name
            name = self.states[name].parent


def parse(definition: Definition) -> tuple[Table, list[Finding]]:
    """The typed table, and what could not be parsed: findings make the table unusable."""
    findings: list[Finding] = []
    states: dict[str, State] = {}
    for written in definition.states:
        _add_state(states, written, None, findings)
    rows = [
        row
        for index, written in enumerate(definition.transitions)
        if (row := _row(index, written, states, findings)) is not None
    ]
    return (
        Table(
            states=states,
            rows=tuple(rows),
            ignore={state: _names(names) for state, names in definition.ignore.items()},
            postpone={state: _names(names) for state, names in definition.postpone.items()},
            commands=dict(definition.commands),
        ),
        findings,
    )


def _add_state(
    states: dict[str, State], written: object, parent: str | None, findings: list[Finding]
) -> str | None:
    """Add a state and those below it; its full name."""
    given: Mapping[str, Any] = {"name": written} if isinstance(written, str) else _mapping(written)
    short = given.get("name")
    where = f"state {short!r}"
    if not isinstance(short, str) or not short.isidentifier():
        fix = "name it with letters, digits and _; children go into `children`"
        findings.append(Finding(where=where, problem="is no name of a state", fix=fix))
        return None
    _unknown_keys(where, given, _STATE_KEYS, findings)
    name = short if parent is None else f"{parent}{SEPARATOR}{short}"
    if name in states:
        problem = "stands twice in the table"
        findings.append(Finding(where=f"state {name!r}", problem=problem, fix="remove one"))
        return None
    states[name] = State(name=name)  # keeps the order written: a state comes before its children
    children = [_add_state(states, child, name, findings) for child in given.get("children", ())]
    initial = given.get("initial")
    states[name] = State(
        name=name,
        parent=parent,
        children=tuple(child for child in children if child is not None),
        initial=f"{name}{SEPARATOR}{initial}" if initial else None,
        timeout=given.get("timeout"),
        on_timeout=given.get("on_timeout"),
        hands_over=bool(given.get("hands_over", False)),
        on_enter=_names(given.get("on_enter")),
        on_exit=_names(given.get("on_exit")),
    )
    return name


def _row(
    index: int, written: object, states: Mapping[str, State], findings: list[Finding]
) -> Row | None:
    given = _mapping(written)
    where = f"row {index} ({given.get('trigger')}: {given.get('source')} -> {given.get('dest')})"
    before = len(findings)
    _unknown_keys(where, given, _ROW_KEYS, findings)
    missing = [key for key in ("trigger", "source", "dest") if key not in given]
    if missing:
        fix = f"write {', '.join(missing)}: `dest=None` stays, `dest='='` enters again"
        problem = f"lacks {', '.join(missing)}"
        findings.append(Finding(where=where, problem=problem, fix=fix))
    for key in ("trigger", "dest"):
        if key in given and not isinstance(given[key], str | (NoneType if key == "dest" else str)):
            problem = f"`{key}` is {given[key]!r}"
            findings.append(Finding(where=where, problem=problem, fix="write a name, in quotes"))
    if len(findings) > before:
        return None
    source = given["source"]
    if source == "*":  # as in transitions: the top-level states, whose children fall back to them
        sources = tuple(name for name, state in states.items() if state.parent is None)
    else:
        sources = _names(source)
    return Row(
        index=index,
        trigger=given["trigger"],
        sources=sources,
        dest=given["dest"],
        before=_names(given.get("before")),
        after=_names(given.get("after")),
        conditions=_names(given.get("conditions")),
        unless=_names(given.get("unless")),
        restart=bool(given.get("restart", False)),
    )


def _unknown_keys(
    where: str, given: Mapping[str, Any], known: frozenset[str], findings: list[Finding]
) -> None:
    for key in given:
        if key in _FORBIDDEN:
            problem, fix = f"`{key}` is forbidden", _FORBIDDEN[key]
            findings.append(Finding(where=where, problem=problem, fix=fix))
        elif key not in known:
            fix = f"one of: {', '.join(sorted(known))}"
            findings.append(Finding(where=where, problem=f"`{key}` is unknown here", fix=fix))


def _mapping(written: object) -> Mapping[str, Any]:
    return written if isinstance(written, Mapping) else {}


def _names(written: object) -> tuple[str, ...]:
    if written is None:
        return ()
    if isinstance(written, str):
        return (written,)
    # A callable instead of a name keeps its repr, which no method is called: the check names it.
    names = map(str, written) if isinstance(written, Iterable) else (str(written),)
    return tuple(sorted(names)) if isinstance(written, Set) else tuple(names)
