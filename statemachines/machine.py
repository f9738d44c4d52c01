"""The only file that touches `transitions`: table in, moves out.

One machine per flow, built once; its model is a cursor made for each move. The library chooses and
makes every move: it looks for the row, runs conditions and callbacks, leaves and enters states, and
what it did is recorded by subclasses of its own state, transition and condition classes, so that
it is the library that tells. What is precomputed elsewhere only checks and explains.

Theory of operation, as checked against version 0.9.3:
- Always the nested machine with the separator `.`; a child's row beats its parent's, and where
  all conditions of the child's rows fail, the parent's are tried.
- `None` as destination keeps the state, `=` leaves and enters it.
- Callbacks are bound methods given as such: names are never looked up or imported.
- Nobody calls `move` for a (state, trigger) without rows: its errors for that are never read.
- The model is not registered: the library would put two dozen methods on it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from transitions.core import Condition
from transitions.extensions.nesting import (
    HierarchicalMachine,
    NestedEvent,
    NestedState,
    NestedTransition,
    resolve_order,
)

from engine.flow import Moved
from engine.session import Considered
from statemachines.table import SEPARATOR, Row, State, Table

if TYPE_CHECKING:
    from engine.turn import Turn

Callback = Callable[["Turn"], Any]


class _Cursor:
    """The library's model for one move: where it stands, and what the library did with it."""

    __slots__ = ("considered", "entered", "exited", "row", "state")

    def __init__(self, state: str) -> None:
        self.state = state
        self.row = -1
        self.exited: list[str] = []
        self.entered: list[str] = []
        self.considered: list[Considered] = []


class _Place(NestedState):
    """A state that tells the cursor when the library leaves or enters it."""

    separator = SEPARATOR
    full_name = ""

    def enter(self, event_data: Any) -> None:
        event_data.model.entered.append(self.full_name)
        if self.on_enter:
            super().enter(event_data)

    def exit(self, event_data: Any) -> None:
        event_data.model.exited.append(self.full_name)
        if self.on_exit:
            super().exit(event_data)


class _Guard(Condition):
    """A condition: the turn is read-only while it runs, and a failed one is noted."""

    def check(self, event_data: Any) -> bool:
        turn = event_data.args[0]
        turn.sealed = True
        try:
            # By truth: the library would compare with `== True`, which a non-empty text is not.
            passed = bool(self.func(turn)) is self.target  # type: ignore[operator]
        finally:
            turn.sealed = False
        if not passed:
            name = self.func.__name__  # type: ignore[union-attr]
            failed = name if self.target else f"not {name}"
            row = event_data.transition.index
            event_data.model.considered.append(Considered(row=row, failed=failed))
        return passed


class _Moves(NamedTuple):
    """What taking a row from one leaf leaves and enters, as the library resolved it.

    Each with the scope in which its state's callbacks run.
    """

    leaf: str
    leave: list[tuple[Callable[[Any, list[str]], None], list[str]]]
    enter: list[tuple[Callable[[Any, list[str]], None], list[str]]]


class _Row(NestedTransition):
    """A row that tells the cursor when the library took it."""

    condition_cls = _Guard

    def __init__(self, *args: Any, index: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.index = index
        self._moves: dict[str, _Moves] = {}

    def execute(self, event_data: Any) -> bool:
        taken = super().execute(event_data)
        if taken:
            event_data.model.row = self.index
        return taken

    def _change_state(self, event_data: Any) -> None:
        """Leave and enter what the library resolves for this row from this leaf, which is always
        the same: it is asked once for each leaf, and that was half the cost of a move.

        The library's check for final states is left out: the load check refuses them.
        """
        model = event_data.model
        moves = self._moves.get(model.state)
        if moves is None:
            moves = self._moves[model.state] = self._resolved(event_data)
        for leave, scope in moves.leave:
            leave(event_data, scope)
        event_data.machine.set_state(moves.leaf, model)
        for enter, scope in moves.enter:
            enter(event_data, scope)

    def _resolved(self, event_data: Any) -> _Moves:
        resolved: Any = self._resolve_transition(event_data)  # its calls are partials
        tree, leave, enter = resolved
        names = []
        while tree:
            name, tree = next(iter(tree.items()))
            names.append(name)
        return _Moves(
            SEPARATOR.join(names),
            [(each.func, each.args[1]) for each in leave],
            [(each.func, each.args[1]) for each in enter],
        )


class _Trigger(NestedEvent):
    """A trigger that asks the leaf's rows, then its ancestors', in the order of the library.

    The order depends on the leaf alone: it is resolved once for each.
    """

    def trigger_nested(self, event_data: Any) -> Any:
        machine = event_data.machine
        for name, path in machine.order(event_data.model.state):
            if name in self.transitions:
                event_data.state = machine.get_state(name)
                event_data.source_name = name
                event_data.source_path = path.copy()
                self._process(event_data)
                if event_data.result:
                    break
        return event_data.result


class _Nested(HierarchicalMachine):
    """The nested machine, which looks up a state by its full name at once.

    The library walks the tree for it, five times in each move: a quarter of the time.
    """

    state_cls = _Place
    transition_cls = _Row
    event_cls = _Trigger

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._places: dict[str, _Place] = {}
        self._orders: dict[str, list[tuple[str, list[str]]]] = {}
        super().__init__(*args, **kwargs)

    def order(self, leaf: str) -> list[tuple[str, list[str]]]:
        """The leaf and its ancestors, by name and path, in the order in which rows are asked."""
        found = self._orders.get(leaf)
        if found is None:
            paths = resolve_order(self.build_state_tree(leaf, SEPARATOR))
            found = self._orders[leaf] = [(SEPARATOR.join(path), path) for path in paths]
        return found

    def _trigger_event_nested(self, event_data: Any, trigger: str, _state_tree: Any) -> Any:
        # All rows are added to the root (`Machine._add`): the library's walk into each scope would
        # find none there.
        event = self.events.get(trigger)
        if event is None:
            return None
        event_data.event = event
        return event.trigger_nested(event_data)

    def get_state(self, state: Any, hint: Any = None) -> Any:
        if not self.prefix_path:
            name = state if isinstance(state, str) else SEPARATOR.join(state)
            place = self._places.get(name)
            if place is not None:
                return place
        return super().get_state(state, hint)

    def name_places(self, names: Iterable[str]) -> None:
        """Tell each state its full name, once all are there."""
        for name in names:
            place = super().get_state(name)
            assert isinstance(place, _Place)
            place.full_name = name
            self._places[name] = place


class Machine:
    """A flow's table as a machine.

    `callbacks`: the flow's own bound methods by name. Raises KeyError for a name that is not there:
    the load check has looked before.
    """

    def __init__(self, table: Table, callbacks: Mapping[str, Callback]) -> None:
        self._callbacks = callbacks
        self._machine = _Nested(
            model=None,
            initial=None,
            states=[
                self._state(table, state) for state in table.states.values() if not state.parent
            ],
            auto_transitions=False,
            send_event=False,
            queued=False,
            ignore_invalid_triggers=False,
        )
        self._machine.name_places(table.states)
        for row in table.rows:
            self._add(row)

    def move(self, turn: "Turn", trigger: str) -> Moved | None:
        """Take one row from `turn.state`; None where every row's conditions failed.

        A callback's error goes through unchanged; the machine itself keeps nothing of the move.
        """
        cursor = _Cursor(turn.state)
        if not self._machine.trigger_event(cursor, trigger, turn):
            return None
        return Moved(
            cursor.row,
            turn.state,
            cursor.state,
            tuple(cursor.exited),
            tuple(cursor.entered),
            tuple(cursor.considered),
        )

    def _state(self, table: Table, state: State) -> dict[str, Any]:
        written: dict[str, Any] = {
            "name": state.name.rpartition(SEPARATOR)[2],
            "on_enter": self._bound(state.on_enter),
            "on_exit": self._bound(state.on_exit),
        }
        if state.children:
            written["children"] = [self._state(table, table.states[c]) for c in state.children]
            written["initial"] = (state.initial or "").rpartition(SEPARATOR)[2]
        return written

    def _add(self, row: Row) -> None:
        self._machine.add_transition(
            row.trigger,
            list(row.sources),
            row.dest,
            conditions=self._bound(row.conditions),
            unless=self._bound(row.unless),
            before=self._bound(row.before),
            after=self._bound(row.after),
            index=row.index,
        )

    def _bound(self, names: tuple[str, ...]) -> Any:
        return [self._callbacks[name] for name in names]
