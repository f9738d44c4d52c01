"""`Flow`: what a dialog's author subclasses, and what `engine.step` asks.

A flow is plain data (states, rows, what is ignored and postponed) and methods that get the turn. An
instance is one version with one configuration, built once and immutable: it holds nothing of any
session. Whatever the load check finds is raised when the instance is made, all of it at once.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from engine import codec
from engine.errors import InvalidRecord
from engine.events import FlowRef
from engine.flow import Cell, Moved, Timeout
from statemachines import checks, data, digest, purity, totality
from statemachines.data import FlowConfig, FlowData, Seconds
from statemachines.machine import Callback, Machine
from statemachines.table import Definition, FlowError, Table, parse

if TYPE_CHECKING:
    from engine.flow import Flow as FlowPort
    from engine.turn import Turn

__all__ = ["Definition", "Flow", "FlowConfig", "FlowData", "FlowError", "Seconds"]


class Flow:
    """Base of all flows.

    `name`, `version`, `initial`, `states` and `transitions` must be given; `build` may make the
    table from the configuration instead. Callbacks and conditions are methods `(self, turn)`; a
    condition only looks. `config_bytes` is the canonical configuration. Raises FlowError, which
    names everything that is wrong with the flow.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    initial: str = ""
    Data: ClassVar[type[FlowData]] = FlowData
    Config: ClassVar[type[FlowConfig]] = FlowConfig
    commands: ClassVar[Mapping[str, str]] = {}
    states: ClassVar[Sequence[str | Mapping[str, Any]]] = ()
    transitions: ClassVar[Sequence[Mapping[str, Any]]] = ()
    ignore: ClassVar[Mapping[str, Sequence[str]]] = {}
    postpone: ClassVar[Mapping[str, Sequence[str]]] = {}

    config: FlowConfig
    ref: FlowRef
    table: Table
    timeouts: Mapping[str, Timeout]
    hands_over: frozenset[str]
    _built = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Every name resolves when the class is made: a typing error never waits for its row.
        if findings := checks.names(cls, parse(_definition(cls))[0]):
            raise FlowError(cls.name or cls.__qualname__, findings)

    def __init__(self, config: FlowConfig | None = None) -> None:
        config = config if config is not None else self.Config()
        self.config = config
        self.config_bytes = data.check_config(config)
        table, findings = parse(self.build(config))
        findings += checks.shape(type(self), table, config=config)
        findings += purity.check(type(self).__module__)
        if findings:
            raise FlowError(self.name, findings)
        self.table = table
        self.initial = table.leaf(self.initial)
        self.timeouts = MappingProxyType(checks.timeouts(table, config))
        self.hands_over = frozenset(s.name for s in table.states.values() if s.hands_over)
        self._cells, self._otherwise = _cells(table)
        self._commands = checks.command_words(table)
        self._decode = msgspec.json.Decoder(self.Data).decode
        self._machine = Machine(table, _callbacks(self, table))
        self.ref = FlowRef(
            name=self.name,
            version=self.version,
            digest=digest.of(type(self).__module__, table, config=self.config_bytes),
        )
        self.report = totality.check(self)
        self._built = True

    def __setattr__(self, name: str, value: object) -> None:
        if self._built:
            raise AttributeError(
                f"a flow holds nothing: keep {name!r} in the data, with turn.set({name}=…)"
            )
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a flow cannot be changed")

    def build(self, config: Any) -> Definition:
        """The table for this configuration; here, the class's own."""
        return _definition(type(self))

    # ---- what engine.step asks -------------------------------------------------------------

    @property
    def apology(self) -> str:
        return self.config.apology

    @property
    def queue_full(self) -> str:
        return self.config.queue_full

    def cell(self, state: str, trigger: str) -> Cell:
        return self._cells.get((state, trigger), Cell.IMPOSSIBLE)

    def otherwise(self, state: str, trigger: str) -> Cell:
        return self._otherwise.get((state, trigger), Cell.IMPOSSIBLE)

    def command(self, text: str) -> str | None:
        return self._commands.get(text.strip().casefold()) if self._commands else None

    def move(self, turn: "Turn", trigger: str) -> Moved | None:
        return self._machine.move(turn, trigger)

    def path(self, state: str) -> tuple[str, ...]:
        return self.table.paths[state]

    def new_data(self) -> FlowData:
        return self.Data()

    def decode_data(self, data: bytes) -> FlowData:
        try:
            return self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRecord(f"data of {self.name}: {codec.fault(error)}") from None

    def encode_data(self, data: Any) -> bytes:
        return msgspec.json.encode(data)

    def migrate(self, old: FlowRef, state: str, *, data: bytes) -> tuple[str, object]:
        """The leaf of the same name, else `initial`, and the data's fields that still fit.

        A flow may override it; it must answer for any state of any version before.
        """
        return _migrated(self, state, data)


def _migrated(flow: Flow, state: str, written: bytes) -> tuple[str, object]:
    if state not in flow.table.leaves:
        return flow.initial, flow.new_data()
    return state, data.carried_over(written, flow.Data)


def _definition(flow: type[Flow]) -> Definition:
    return Definition(
        states=flow.states,
        transitions=flow.transitions,
        ignore=flow.ignore,
        postpone=flow.postpone,
        commands=flow.commands,
    )


def _callbacks(flow: Flow, table: Table) -> dict[str, Callback]:
    return {name: getattr(flow, name) for name in checks.named(table)}


def _cells(
    table: Table,
) -> tuple[dict[tuple[str, str], Cell], dict[tuple[str, str], Cell]]:
    """What holds in each (leaf, trigger), and what where all conditions fail.

    What is declared innermost wins: a leaf that ignores a trigger never tries its parent's rows.
    """
    cells: dict[tuple[str, str], Cell] = {}
    otherwise: dict[tuple[str, str], Cell] = {}
    for leaf in table.leaves:
        for state in table.paths[leaf]:
            for trigger in {row.trigger for row in table.rows if state in row.sources}:
                cells.setdefault((leaf, trigger), Cell.MOVE)
            for declared, cell in ((table.ignore, Cell.IGNORE), (table.postpone, Cell.POSTPONE)):
                for trigger in declared.get(state, ()):
                    cells.setdefault((leaf, trigger), cell)
                    otherwise.setdefault((leaf, trigger), cell)
    return cells, otherwise


if TYPE_CHECKING:

    def _is_the_port(flow: Flow) -> FlowPort:
        return flow
