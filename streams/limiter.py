"""A sliding-window limiter: never more than `max_requests` in any period, by construction.

Egress reserves a place when it marks a delivery and stamps it when the channel is called, which is
a commit later: counted at the mark, the calls of two marks could fall into one period. It reads no
clock: `now_ms` is given and never goes back. It outlives a rollback, since the platform does not
forget calls. A margin stands between two windows, because the platform's clock is not ours.
"""

from collections import deque

from engine.limits import MARK_TO_CALL_MAX_MS

MARGIN_MS = 50


class Limiter:
    """At most `max_requests` calls in any sliding `period_ms`; `full_at_ms`: at a new owner.

    A new owner does not know what the former one sent a moment ago: it begins with nothing to give,
    and has all of it after one period.
    """

    def __init__(self, max_requests: int, *, period_ms: int, full_at_ms: int | None = None) -> None:
        self._max = max_requests
        self._period_ms = period_ms + MARGIN_MS
        before = [] if full_at_ms is None else [full_at_ms] * max_requests
        self._calls: deque[int] = deque(before)
        self._reserved: set[str] = set()

    @classmethod
    def of_new_owner(cls, max_requests: int, *, period_ms: int, now_ms: int) -> "Limiter":
        """Full as long as the former owner, not knowing that it is, may call for what it marked."""
        return cls(max_requests, period_ms=period_ms, full_at_ms=now_ms + MARK_TO_CALL_MAX_MS)

    def wait_ms(self, now_ms: int) -> int:
        """0 where one more may be reserved now, else for how long certainly not."""
        while self._calls and self._calls[0] + self._period_ms <= now_ms:
            self._calls.popleft()
        if len(self._calls) + len(self._reserved) < self._max:
            return 0
        # With nothing but reservations, the first of them is called now at the earliest.
        return self._calls[0] + self._period_ms - now_ms if self._calls else self._period_ms

    def reserve(self, reply_id: str) -> None:
        """Keep a place for this reply's call; only where `wait_ms` is 0."""
        self._reserved.add(reply_id)

    def called(self, reply_id: str, now_ms: int) -> None:
        """The call is made now: its place is free again a period later."""
        self._reserved.discard(reply_id)
        self._calls.append(now_ms)

    def release(self, reply_id: str) -> None:
        """The call will not be made. No effect after `called`."""
        self._reserved.discard(reply_id)

    def keep(self, reply_ids: frozenset[str]) -> None:
        """Release all reservations but these."""
        self._reserved &= reply_ids
