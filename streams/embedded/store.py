"""What the embedded host needs of its one log file, beyond the ports: a Protocol.

`adapters.logs.sqlite` implements it, `adapters.logs.memory` for tests.
"""

from collections.abc import Sequence
from typing import Protocol

from engine.ports import DeadLetter, Deliveries, Log, LogRecord, SessionStore, StepRow


class Store(Log, SessionStore, Deliveries, Protocol):
    """Log, sessions and deliveries in one transaction, and the reads of a restart."""

    def deaths(self) -> list[tuple[int, str, int]]:
        """Offset, event id and count of each event at which the process died."""

    def last_control(self, *, up_to: int) -> LogRecord | None:
        """The last control record at or before this offset."""

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> Sequence[StepRow]:
        """The session's step records with seq > after_seq, in order of seq."""

    def step_times(self, session_id: str, *, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """Seq and time (when it was stepped) of what `steps` gives for the same arguments."""

    def dead_letters(self) -> Sequence[DeadLetter]:
        """All that were set aside, in order."""

    def has_line(self, session_id: str, line_id: str) -> bool:
        """Whether the session has a line of this id; costs the same for any number of lines."""

    def session_count(self) -> int:
        """How many sessions there are; costs the same for any number."""

    def close(self) -> None:
        """Make everything durable and let the file go."""


def last_at_ms(store: Store) -> int:
    """Log time of the last that is durable in the one partition; 0 where nothing is.

    A mark or a retry may be later than the last record: no receipt may come before them.
    """
    head = store.head(0)
    last_ms = store.read(0, after=head - 1, limit=1)[0].appended_ms if head else 0
    times = [max(one.queued_ms, one.sending_ms or 0) for one in store.undelivered()]
    return max([last_ms, *times])
