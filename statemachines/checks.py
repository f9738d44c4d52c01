"""What is checked of a flow's table by itself: names, keys, places. The first stage of loading.

Only a table that passes here is built into a machine; what can arrive where is the second stage's
(`statemachines.totality`). Each finding names the row and the fix.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import FunctionType

from engine.flow import Timeout
from statemachines import arrivals
from statemachines.callbacks import look
from statemachines.data import FlowConfig, unfit
from statemachines.table import SAME, SEPARATOR, Finding, Row, State, Table

_PREFIXES = ("to_", "may_", "is_", "on_enter", "on_exit")
"""What `transitions` makes names of its own from."""

_FLOW = "statemachines.flow"
_AUTHORS = frozenset({"migrate", "build", "apology", "queue_full", "initial"})
"""What of `Flow` an author gives or may override, beside the tables and records."""
_RECORDS = frozenset({"Data", "Config"})


def names(flow: type, table: Table) -> list[Finding]:
    """Callbacks and conditions that are no methods of the flow.

    Asked when the class is made; functions of its module may not be there yet to be looked into.
    """
    found: list[Finding] = []
    for row in table.rows:
        for name in (*row.callbacks, *row.conditions, *row.unless):
            found += _method(flow, str(row), name)
    for state in table.states.values():
        for name in (*state.on_enter, *state.on_exit):
            found += _method(flow, f"state {state.name!r}", name)
    return found


def shape(flow: type, table: Table, *, config: FlowConfig) -> list[Finding]:
    """All that is wrong with the table by itself, and with the flow's records."""
    return [
        *_identity(flow, table),
        *_records(flow),
        *_states(table, config),
        *(finding for row in table.rows for finding in _row(flow, table, row)),
        *_declared(table),
        *_commands(flow, table),
        *names(flow, table),
        *_insides(flow, table),
    ]


def named(table: Table) -> set[str]:
    """Every callback and condition that the table names."""
    found: set[str] = set()
    for row in table.rows:
        found.update(row.callbacks, row.conditions, row.unless)
    for state in table.states.values():
        found.update(state.on_enter, state.on_exit)
    return found


def timeouts(table: Table, config: FlowConfig) -> dict[str, Timeout]:
    """The states' own timers, in milliseconds."""
    return {
        state.name: Timeout(arrivals.seconds(state.timeout, config) * 1_000, state.on_timeout)
        for state in table.states.values()
        if state.on_timeout is not None
    }


def command_words(table: Table) -> dict[str, str]:
    """The trigger of each whole text that is a command."""
    return {
        word.strip().casefold(): trigger
        for trigger, words in table.commands.items()
        for word in words.split("|")
    }


# ---- the flow itself -----------------------------------------------------------------------------


def _identity(flow: type, table: Table) -> Iterator[Finding]:
    where = flow.__qualname__
    name, version = getattr(flow, "name", ""), getattr(flow, "version", 0)
    if not (isinstance(name, str) and name.isidentifier()):
        yield Finding(where=where, problem="has no `name`", fix='give it one: name = "assistant"')
    if not isinstance(version, int) or version < 1:
        problem = f"has the version {version!r}"
        yield Finding(where=where, problem=problem, fix="count versions from 1")
    taken = {name for name, value in vars(_base(flow)).items() if callable(value)} - _AUTHORS
    for cls in flow.__mro__[: flow.__mro__.index(_base(flow))]:
        for clash in sorted({n for n in vars(cls) if not n.startswith("__")} & taken - _RECORDS):
            fix = "rename it: what the engine asks a flow by that name must stay Flow's"
            yield Finding(where=where, problem=f"has a {clash!r} of its own", fix=fix)
    initial = getattr(flow, "initial", "")
    if initial not in table.states:
        fix = _one_of(initial, table.states)
        yield Finding(where=where, problem=f"begins in {initial!r}, which is no state", fix=fix)


def _records(flow: type) -> Iterator[Finding]:
    for name in sorted(_RECORDS):
        kind = getattr(flow, name)
        for field, reason in unfit(kind):
            fix = "use str, int, bool, tuples and frozen Structs of them, each with a default"
            problem = f"field {field!r} {reason}"
            yield Finding(where=f"{flow.__qualname__}.{name}", problem=problem, fix=fix)


# ---- states --------------------------------------------------------------------------------------


def _states(table: Table, config: FlowConfig) -> Iterator[Finding]:
    for state in table.states.values():
        where = f"state {state.name!r}"
        if state.children and state.initial is None:
            short = state.children[0].rpartition(SEPARATOR)[2]
            fix = f"say which child it begins in: initial={short!r}"
            yield Finding(where=where, problem="has children and no `initial`", fix=fix)
        elif state.initial is not None and state.initial not in state.children:
            fix = _one_of(state.initial, state.children)
            yield Finding(where=where, problem=f"begins in {state.initial!r}, no child", fix=fix)
        yield from _timeout(where, state, config)


def _timeout(where: str, state: State, config: FlowConfig) -> Iterator[Finding]:
    given = state.timeout
    if (given is None) is not (state.on_timeout is None):
        fix = "write both: timeout=30, on_timeout='nobody_came'"
        yield Finding(where=where, problem="has only one of timeout and on_timeout", fix=fix)
    elif isinstance(given, str) and given not in config.__struct_fields__:
        fix = _one_of(given, config.__struct_fields__)
        problem = f"has the timeout {given!r}, which is no field of Config"
        yield Finding(where=where, problem=problem, fix=fix)
    elif not isinstance(state.on_timeout, str | None):
        problem = f"has the on_timeout {state.on_timeout!r}"
        yield Finding(where=where, problem=problem, fix="write the name of a trigger, in quotes")
    elif given is not None:
        value = getattr(config, given) if isinstance(given, str) else given
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            fix = "whole seconds from 0, or the name of a Config field that holds them"
            yield Finding(where=where, problem=f"has the timeout {value!r}", fix=fix)


# ---- rows ----------------------------------------------------------------------------------------


def _row(flow: type, table: Table, row: Row) -> Iterator[Finding]:
    where = str(row)
    unknown = [source for source in row.sources if source not in table.states]
    for source in unknown:
        fix = _one_of(source, table.states)
        yield Finding(where=where, problem=f"source {source!r} is no state", fix=fix)
    if row.dest is not None and row.dest != SAME and row.dest not in table.states:
        fix = _one_of(row.dest, table.states)
        yield Finding(where=where, problem=f"dest {row.dest!r} is no state", fix=fix)
    elif not unknown:
        yield from _direction(where, table, row)
    yield from _trigger(flow, where, row.trigger)


def _direction(where: str, table: Table, row: Row) -> Iterator[Finding]:
    parents = [source for source in row.sources if table.states[source].children]
    if row.dest == SAME and parents:
        problem = f"`=` on {parents[0]!r} jumps to its initial child"
        yield Finding(where=where, problem=problem, fix="write one row per leaf, or name the dest")
    leaves = [leaf for source in row.sources for leaf in table.below(source)]
    encloses = [
        leaf for leaf in leaves if row.dest in table.paths[leaf] and row.dest not in row.sources
    ]
    encloses += [source for source in parents if source == row.dest]
    if encloses and not row.restart and not _is_leaf(table, row.dest):
        problem = f"{row.dest!r} encloses {encloses[0]!r}: the whole state is left and begun anew"
        fix = "name the child that is meant, or say restart=True if that is what you want"
        yield Finding(where=where, problem=problem, fix=fix)
    elif row.restart and not encloses:
        fix = "remove restart=True: the row leads to no enclosing state"
        yield Finding(where=where, problem="restarts nothing", fix=fix)


def _is_leaf(table: Table, name: str | None) -> bool:
    return name is not None and name in table.states and not table.states[name].children


def _trigger(flow: type, where: str, trigger: object) -> Iterator[Finding]:
    if not isinstance(trigger, str) or not trigger.isidentifier():
        fix = "name it with letters, digits and _"
        yield Finding(where=where, problem=f"{trigger!r} is no name of a trigger", fix=fix)
    elif trigger.startswith(_PREFIXES):
        fix = "name it otherwise: `transitions` makes such names itself"
        yield Finding(where=where, problem=f"trigger {trigger!r} looks like a made name", fix=fix)
    elif inspect.getattr_static(flow, trigger, None) is not None:
        fix = "rename the method: a trigger of the same name would be skipped silently"
        problem = f"trigger {trigger!r} is also a method or attribute of the flow"
        yield Finding(where=where, problem=problem, fix=fix)


# ---- ignore, postpone, commands ------------------------------------------------------------------


def _declared(table: Table) -> Iterator[Finding]:
    for word, declared in (("ignore", table.ignore), ("postpone", table.postpone)):
        for state, triggers in declared.items():
            where = f"{word} of {state!r}"
            if state not in table.states:
                fix = "there is no wildcard: name each" if state == "*" else ""
                fix = fix or _one_of(state, table.states)
                yield Finding(where=where, problem=f"{state!r} is no state", fix=fix)
                continue
            for trigger in triggers:
                yield from _declaration(where, word, trigger, state, table)


def _declaration(
    where: str, word: str, trigger: str, state: str, table: Table
) -> Iterator[Finding]:
    if trigger == "*":
        fix = "name each trigger: what is ignored must be known"
        yield Finding(where=where, problem="`*` is forbidden", fix=fix)
    elif word == "postpone" and trigger != arrivals.MESSAGE:
        fix = "only message_received can wait; give this a row, or name it in `ignore`"
        yield Finding(where=where, problem=f"postpones {trigger!r}", fix=fix)
    elif word == "ignore" and trigger in table.postpone.get(state, ()):
        yield Finding(where=where, problem=f"{trigger!r} is postponed there, too", fix="keep one")
    own = table.rows_at.get((state, trigger), ())
    if any(row.unconditional for row in own):
        problem = f"{trigger!r} never comes to this: {own[-1]} always takes it"
        yield Finding(where=where, problem=problem, fix="remove one of the two")
    outer = [
        row
        for enclosing in table.paths[state][1:]
        for row in table.rows_at.get((enclosing, trigger), ())
    ]
    if own and outer:
        problem = f"where {own[-1]} fails, {outer[0]} of an enclosing state is taken, not this"
        fix = f"write an unconditional row on {state!r}, or leave the {word} out"
        yield Finding(where=where, problem=problem, fix=fix)


def _commands(flow: type, table: Table) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for trigger, words in table.commands.items():
        where = f"command {trigger!r}"
        yield from _trigger(flow, where, trigger)
        if trigger in arrivals.ENGINE:
            problem = "is a trigger of the engine"
            yield Finding(where=where, problem=problem, fix="choose another name")
        for word in words.split("|") if isinstance(words, str) else [""]:
            key = word.strip().casefold()
            if not key:
                fix = "write the whole texts, with | between them"
                yield Finding(where=where, problem="has an empty text", fix=fix)
            elif taken.setdefault(key, trigger) != trigger:
                problem = f"{word!r} is also a text of {taken[key]!r}"
                yield Finding(where=where, problem=problem, fix="keep one")


# ---- names of callbacks --------------------------------------------------------------------------


def _insides(flow: type, table: Table) -> Iterator[Finding]:
    """What callbacks and conditions do that they may not, or that nobody can see."""
    for row in table.rows:
        for name in (*row.conditions, *row.unless):
            changes = sorted(look(flow, name).changes)
            if changes:
                problem = f"condition {name!r} calls turn.{changes[0]}"
                fix = "conditions run for rows that are not taken: do it in `before`"
                yield Finding(where=str(row), problem=problem, fix=fix)
    for name in sorted(named(table)):
        for problem, fix in look(flow, name).doubts:
            yield Finding(where=f"callback {name!r}", problem=problem, fix=fix)


def _method(flow: type, where: str, name: str) -> Iterator[Finding]:
    found = inspect.getattr_static(flow, name, None) if name.isidentifier() else None
    base = _base(flow)
    if found is None or name in vars(base):  # what Flow itself has is the engine's, no callback
        classes = [cls for cls in flow.__mro__ if cls not in (base, object)]
        own = [n for cls in classes for n, v in vars(cls).items() if isinstance(v, FunctionType)]
        fix = f"write `def {name}(self, turn)`" if name.isidentifier() else "name a method"
        close = get_close_matches(name, own, 1)
        fix = f"did you mean {close[0]!r}?" if close else fix
        problem = f"{name!r} is no method of {flow.__qualname__}"
        yield Finding(where=where, problem=problem, fix=fix)
    elif not isinstance(found, FunctionType) or len(inspect.signature(found).parameters) != 2:
        problem = f"{name!r} is not a method that takes the turn"
        yield Finding(where=where, problem=problem, fix=f"write `def {name}(self, turn)`")


def _base(flow: type) -> type:
    """`Flow` itself, which this module cannot import: it imports this one."""
    return next(c for c in flow.__mro__ if c.__qualname__ == "Flow" and c.__module__ == _FLOW)


def _one_of(name: object, known: Iterable[str] | Mapping[str, object]) -> str:
    listed = list(known)
    close = get_close_matches(str(name), listed, 1)
    return f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(listed) or 'none'}"
