"""Says from outside how far a process has come between two commits: for the crash test only.

Where the environment names a file (`AI_ASSISTANT_CRASH_MARKS`), the host writes there, without
fsync, which `CrashPoint` it has just come to; the kernel keeps it when the process dies. Whoever
kills the process may ask it, through the same file, to stay a moment at one of the points, because
some of them last for microseconds. Without that variable a host passes `nowhere`, which does
nothing.
"""

import mmap
import os
import struct
import time
from pathlib import Path

from engine.crash_points import CrashPoint

VARIABLE = "AI_ASSISTANT_CRASH_MARKS"
SIZE = 64
_POINTS = tuple(CrashPoint)
_MARK, _AIM, _STAY_MS, _PID = 0, 1, 2, 4  # where each stands in the file
_STAY = struct.Struct("<H")
_PROCESS = struct.Struct("<I")


def nowhere(point: CrashPoint, things: int) -> None:
    """What a host does at its crash points when nobody looks."""


class CrashMarks:
    """The file. One engine process at a time writes the mark, one killer the aim."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, SIZE)
            self._map = mmap.mmap(handle, SIZE)
        finally:
            os.close(handle)

    # ---- the engine's side ---------------------------------------------------------------------

    def begin(self) -> None:
        """This process is the engine now, and has come to no point yet."""
        self._map[_MARK] = 0
        _PROCESS.pack_into(self._map, _PID, os.getpid())

    def at(self, point: CrashPoint, things: int) -> None:
        """So many things (messages, steps, deliveries) have come to this point; none: no mark.

        Blocks the process where it was asked to stay here.
        """
        if not things:
            return
        number = 1 + _POINTS.index(point)
        self._map[_MARK] = number
        if self._map[_AIM] == number:
            time.sleep(_STAY.unpack_from(self._map, _STAY_MS)[0] / 1_000)

    # ---- the killer's side ---------------------------------------------------------------------

    @property
    def last(self) -> CrashPoint | None:
        """The point that the engine came to last; None before its first."""
        number = self._map[_MARK]
        return _POINTS[number - 1] if number else None

    @property
    def pid(self) -> int:
        """The last process that began; 0 before the first."""
        pid: int = _PROCESS.unpack_from(self._map, _PID)[0]
        return pid

    def aim(self, point: CrashPoint | None, *, stay_ms: int = 0) -> None:
        """Ask the engine to stay for `stay_ms` (at most 65 535) each time it comes to `point`."""
        _STAY.pack_into(self._map, _STAY_MS, stay_ms)
        self._map[_AIM] = 0 if point is None else 1 + _POINTS.index(point)
