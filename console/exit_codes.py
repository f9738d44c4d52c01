"""The exit codes of `ai-assistant`, in one table: scripts rely on them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    UNAVAILABLE = 4
    RECORD = 5
    IN_USE = 6
    FINDING = 7
    UNANSWERED = 8
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "it was done",
    ExitCode.FAILED: "it cannot be done, or a check found something wrong; the last line says what",
    ExitCode.USAGE: "the command line was not understood",
    ExitCode.SETTINGS: "a setting is unknown or wrong; each is listed",
    ExitCode.UNAVAILABLE: "something is not there just now: an engine, a network, space on disk",
    ExitCode.RECORD: "a record in the data directory cannot be read",
    ExitCode.IN_USE: "another process has taken over the data directory",
    ExitCode.FINDING: "`flow test` found a dialog in which a law does not hold; it is printed",
    ExitCode.UNANSWERED: "`chat --once` got the assistant's apology instead of an answer",
    ExitCode.INTERNAL: "a bug in ai-assistant itself, or the engine died again and again",
    ExitCode.INTERRUPTED: "you stopped it (Ctrl-C)",
}


def table() -> str:
    """The table as help texts show it."""
    lines = [f"{code.value:>5}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["Exit codes:", *lines])
