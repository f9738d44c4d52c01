"""The whole exception tree; the class decides what a hop does, nobody parses the text.

    EngineError
    ├── InvalidRecord   a record that cannot be decoded or is over its limit   → dead letter
    ├── Unavailable     something outside is not there just now                → retry later
    ├── Refused         somebody asked for what cannot be done                 → tell them
    │   └── NoReceipt   a platform was asked, and nobody knows whether it did  → unknown
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


class NoReceipt(Refused):
    """The platform was called and did not say what came of it: the reply may have arrived.

    Only of a platform that recognises no repetition; of others it is Unavailable: tried again.
    """


class Conflict(EngineError):
    """Another owner has claimed the partition: this one must write nothing more to it."""


class Divergence(EngineError):
    """A replay produced other effects, or another session, than were recorded."""


TRACED_MAX = 20
"""Frames of an error that a log line names, and errors that it came of."""


def trace_of(error: BaseException) -> str:
    """What was raised and where, for a log line: the last frames, and the same of what it came of.

    Never the error's text, unless it is one of ours: others quote what they were given, and that is
    what a person wrote.
    """
    told: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(told) < TRACED_MAX:
        text = f": {cause}" if isinstance(cause, EngineError) else ""
        told.append(f"{type(cause).__name__}{text} by way of {_frames(cause)}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "; it came of ".join(told)


def _frames(error: BaseException) -> str:
    frames: list[str] = []
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        frames.append(f"{code.co_qualname} ({code.co_filename}:{at.tb_lineno})")
        at = at.tb_next
    return ", ".join(frames[-TRACED_MAX:]) or "nothing"
