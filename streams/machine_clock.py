"""The machine's clocks, which the hosts read here, and hops never.

The monotonic one of `MachineClock` counts the time that the machine sleeps, so that log time is
right after a suspend.
"""

import time


def wall_ms() -> int:
    """What the machine says the time is: milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def awake_ms() -> int:
    """Milliseconds that the machine was not asleep: by them a loop says when it last went round."""
    return time.monotonic_ns() // 1_000_000


class MachineClock:
    """The clocks of the machine that this process runs on."""

    def __init__(self) -> None:
        self._zero_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ms(self) -> int:
        """Wall clock."""
        return wall_ms()

    def monotonic_ms(self) -> int:
        """Milliseconds since this clock was made, those of the machine's sleep too."""
        return (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._zero_ns) // 1_000_000
