"""Simulated machines: their clocks, which differ, and their disks, which may fail.

Under the workers of `testkit.simulator.worker`. Time passes only where the world says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.logs.memory import MemoryBatch, MemoryLog
from engine.errors import Unavailable
from engine.ports import Delivery, Owner

START_MS = 1_800_000_000_000
SKEW_MAX_MS = 3_600_000
"""Of a wall clock, either way: beyond it nobody would find their messages of today."""


class Time:
    """The one time of a simulated world, milliseconds since the epoch."""

    __slots__ = ("now_ms",)

    def __init__(self) -> None:
        self.now_ms = START_MS


class Machine:
    """The clocks of one worker: the `Clock` port. Its wall clock may be wrong, and jump."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._skew_ms = 0

    def now_ms(self) -> int:
        """Wall clock."""
        return self._time.now_ms + self._skew_ms

    def monotonic_ms(self) -> int:
        """Since the world began."""
        return self._time.now_ms - START_MS

    def jump(self, ms: int) -> None:
        """Somebody sets the wall clock."""
        self._skew_ms = max(-SKEW_MAX_MS, min(SKEW_MAX_MS, self._skew_ms + ms))


class Disk:
    """Whether the next commit of the world fails."""

    __slots__ = ("fails",)

    def __init__(self) -> None:
        self.fails = False


class SimulatedLog(MemoryLog):
    """The log in memory on a disk that may fail at the end of a transaction."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(partitions=1)
        self._disk = disk
        self._deliveries: dict[str, list[Delivery]] | None = None

    def deliveries_of(self, session_id: str) -> list[Delivery]:
        """As the log in memory, which looks through all of them for each session."""
        if self._deliveries is None:
            self._deliveries = {}
            for one in self.delivery_of.values():
                self._deliveries.setdefault(one.session_id, []).append(one)
        return self._deliveries.get(session_id, [])

    @contextmanager
    def transaction(self, owner: Owner) -> Iterator[MemoryBatch]:
        """As the log in memory; raises Unavailable where the disk fails: nothing is durable."""
        self._deliveries = None
        with super().transaction(owner) as batch:
            yield batch
            if self._disk.fails:
                self._disk.fails = False
                raise Unavailable("the simulated disk is full")
