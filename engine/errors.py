"""The whole exception tree; the class decides what a hop does, nobody parses the text.

    EngineError
    ├── InvalidRecord   a record that cannot be decoded or is over its limit   → dead letter
    ├── Unavailable     something outside is not there just now                → retry later
    ├── Refused         somebody asked for what cannot be done                 → tell them
    ├── Conflict        another owner has taken this partition                 → stop writing
    └── Divergence      a replay decided otherwise than was recorded           → a finding

What it never does: carry personal content. A message names fields, sizes and ids.
"""


class EngineError(Exception):
    """Root of all errors that this project raises on purpose."""


class InvalidRecord(EngineError):
    """A record that cannot be decoded, or is over its limit: it becomes a dead letter."""


class Unavailable(EngineError):
    """Something outside is not there just now; try again after `retry_after_ms`."""

    def __init__(self, text: str, *, retry_after_ms: int = 1_000) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms


class Refused(EngineError):
    """A request that is not carried out: the text says what, why and the fix."""


class Conflict(EngineError):
    """Another owner has claimed the partition: this one must write nothing more to it."""


class Divergence(EngineError):
    """A replay produced other effects, or another session, than were recorded."""
