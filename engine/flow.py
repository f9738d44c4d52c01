"""The port that `step` asks about a dialog: which cell, which move, which timeouts.

`statemachines.Flow` implements it with a `transitions` machine; nothing here knows that library. A
flow holds nothing of a session: all state is in the session and in the `Turn` given to `move`.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from engine.events import FlowRef
from engine.session import Considered

if TYPE_CHECKING:
    from engine.turn import Turn

SEMANTICS = 3
"""A part of every flow ref's digest: raised when the engine would fold a history to other bytes."""


class Cell(Enum):
    """What a flow does with a trigger in a leaf state."""

    MOVE = "move"
    IGNORE = "ignore"
    POSTPONE = "postpone"
    IMPOSSIBLE = "impossible"


class Timeout(NamedTuple):
    """A state's own timer: started when it is entered, cancelled when it is left."""

    after_ms: int
    trigger: str


class Moved(NamedTuple):
    """What the machine did: the row it took, from leaf to leaf, and the states left and entered.

    `exited` is innermost first, `entered` outermost first; both empty for an internal row.
    """

    row: int
    source: str
    dest: str
    exited: tuple[str, ...]
    entered: tuple[str, ...]
    considered: tuple[Considered, ...]


class Flow(Protocol):
    """One version of a dialog with its configuration, built once.

    `initial` is a leaf. `timeouts` is keyed by state, leaf or not. `hands_over`: the states in
    which a person has taken over. `apology` and `queue_full` are what the engine itself says.
    """

    @property
    def ref(self) -> FlowRef: ...
    @property
    def initial(self) -> str: ...
    @property
    def config(self) -> object: ...
    @property
    def timeouts(self) -> Mapping[str, Timeout]: ...
    @property
    def hands_over(self) -> frozenset[str]: ...
    @property
    def apology(self) -> str: ...
    @property
    def queue_full(self) -> str: ...

    def cell(self, state: str, trigger: str) -> Cell:
        """The cell of a leaf; MOVE where any row could be taken."""

    def otherwise(self, state: str, trigger: str) -> Cell:
        """What holds in a MOVE cell when every row's conditions fail (never MOVE)."""

    def command(self, text: str) -> str | None:
        """The trigger of the command that this whole text is, if it is one."""

    def move(self, turn: "Turn", trigger: str) -> Moved | None:
        """Let the machine take one row from `turn.state`, callbacks included; None if none fits.

        Sets nothing but what the callbacks set on the turn. A callback's error goes through.
        """

    def new_data(self) -> object:
        """The data of a dialog that begins."""

    def decode_data(self, data: bytes) -> object:
        """Raises InvalidRecord where these bytes are not this flow's data."""

    def encode_data(self, data: object) -> bytes:
        """Canonical bytes: equal data gives equal bytes under any hash seed."""

    def migrate(self, old: FlowRef, state: str, *, data: bytes) -> tuple[str, object]:
        """The leaf and the data with which a session of `old` goes on. Total over leaves."""

    def path(self, state: str) -> tuple[str, ...]:
        """A leaf and its ancestors, innermost first."""
