"""What a hunt tells, as one JSON line: what it found in generated dialogs, and in recorded ones."""

import traceback
from pathlib import Path

import msgspec


class Found(msgspec.Struct):
    """A law that broke, and after how long. `stimuli`: how many are left of the list that did it.

    `setting`, `list`: what runs it again.
    """

    law: str
    what: str
    seconds: float
    subject: str = ""
    stimuli: int = 0
    setting: str = ""
    list: str = ""


class Report(msgspec.Struct):
    """`found`: None where generated dialogs broke nothing. `recorded`: the history that does not
    fold as it was recorded, empty where all do. `runs`: how many dialogs were generated."""

    found: Found | None = None
    recorded: str = ""
    runs: int = 0
    error: str = ""


def last_line(error: BaseException) -> str:
    """The error and where it came from."""
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f"{Path(at.filename).name}:{at.lineno} {at.name}: " for at in where)
    said = str(error).splitlines()
    return f"{place}{type(error).__name__}: {said[0] if said else ''}"
