"""The host's clock: the log's last time plus monotonic time since, so that it never goes back.

A wall clock that jumps while the process runs changes nothing; one that stands behind the log's
last record at the start does not either, and one that is ahead counts from then on.
"""

from engine.ports import Clock
from streams.machine_clock import MachineClock


class HostClock:
    """`now_ms` never goes back, within a process and, given the log's last time, across them.

    `machine`: whose clocks these are; the simulator's machines have their own.
    """

    def __init__(self, log_ms: int, *, machine: Clock | None = None) -> None:
        self._machine = machine or MachineClock()
        self._start_ms = max(self._machine.now_ms(), log_ms)
        self._zero_ms = self._machine.monotonic_ms()

    def now_ms(self) -> int:
        """Log time, UTC milliseconds."""
        return self._start_ms + self.monotonic_ms()

    def monotonic_ms(self) -> int:
        """Milliseconds since this clock was made."""
        return self._machine.monotonic_ms() - self._zero_ms

    def skew_ms(self) -> int:
        """How far the machine's wall clock is ahead of the log's time (negative: behind)."""
        return self._machine.now_ms() - self.now_ms()
