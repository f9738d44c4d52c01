"""How a simulated cluster is built, and the faults that wait in it for their instant."""

from dataclasses import dataclass, field

from engine.crash_points import CrashPoint
from engine.flow import Flow


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the world is built. `flows`: what one owner of a partition after the other runs.

    `outbox`: the log keeps each person's lines, as it does for web chat.
    """

    flows: tuple[Flow, ...]
    partitions: int
    workers: int
    limit: tuple[int, int] | None
    calls_max: int
    outbox: bool


@dataclass
class Armed:
    """Faults that wait for their instant."""

    crashes: list[CrashPoint] = field(default_factory=list)
    zombies: dict[int, None] = field(default_factory=dict)
    deadly: str = ""
    """The event at which the last process died, while more are to die of a step."""

    def clear(self) -> None:
        self.deadly = ""
        self.crashes.clear()
        self.zombies.clear()
