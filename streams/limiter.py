"""A sliding-window limiter: never more than `max_requests` in any period, by construction.

Egress asks it before each send of an account. It reads no clock: `now_ms` is given and never goes
back. A margin stands between two windows, because the platform's clock is not ours.
"""

from collections import deque

MARGIN_MS = 50


class Limiter:
    """At most `max_requests` in any sliding `period_ms`; `full` at a new owner.

    A new owner does not know what the former one sent a moment ago: it begins with nothing to give,
    and has all of it after one period.
    """

    def __init__(self, max_requests: int, *, period_ms: int, full_at_ms: int | None = None) -> None:
        self._period_ms = period_ms + MARGIN_MS
        self._max = max_requests
        start = [full_at_ms] * max_requests if full_at_ms is not None else []
        self._sent: deque[int] = deque(start, maxlen=max_requests)

    def wait_ms(self, now_ms: int) -> int:
        """0 where one more may go now, else milliseconds until it may."""
        if len(self._sent) < self._max:
            return 0
        return max(0, self._sent[0] + self._period_ms - now_ms)

    def take(self, now_ms: int) -> None:
        """One more goes now."""
        self._sent.append(now_ms)
