"""Says which event a process stood at when it died, or stands at when it hangs.

Before each step the engine writes the event's id into a memory-mapped file, without fsync: the
kernel keeps it when the process dies. The next process finds it, and the parent sees from outside
that a step does not end. Only a death with an id standing counts against an event.
"""

import mmap
import os
import struct
from pathlib import Path

from engine.errors import Unavailable

_HEADER = struct.Struct("<QH")  # steps begun, length of the id
SIZE = 512


class Guard:
    """The file, open for writing: one engine process has it."""

    def __init__(self, path: Path) -> None:
        self._map = _open(path)
        self._steps, _ = _HEADER.unpack_from(self._map, 0)

    def standing(self) -> str:
        """The event at which the last process died; empty where it did not die in a step."""
        return _read(self._map)[1]

    def stepping(self, event_id: str) -> None:
        """A step of this event begins; empty: no step is going on."""
        encoded = event_id.encode()[: SIZE - _HEADER.size]
        self._steps += 1
        # The id before its length: a death in between leaves an old id, never a mixed one.
        _HEADER.pack_into(self._map, 0, self._steps, 0)
        self._map[_HEADER.size : _HEADER.size + len(encoded)] = encoded
        _HEADER.pack_into(self._map, 0, self._steps, len(encoded))

    def close(self) -> None:
        """The file stays."""
        self._map.close()


class GuardReader:
    """The same file, read by the parent. Until an engine has made it, nothing is being stepped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None

    def read(self) -> tuple[int, str]:
        """(steps begun, the event being stepped or empty)."""
        if self._map is None:
            self._map = _find(self._path)
        return (0, "") if self._map is None else _read(self._map)

    def close(self) -> None:
        """The file stays."""
        if self._map is not None:
            self._map.close()


def _open(path: Path) -> mmap.mmap:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size < SIZE:
                # Written, not truncated: a page that has no place on a full disk is a SIGBUS later.
                os.pwrite(handle, bytes(SIZE), 0)
            return mmap.mmap(handle, SIZE)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None


def _find(path: Path) -> mmap.mmap | None:
    """The file as an engine has made it; None where there is none yet."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # it is not there, or empty
        return None


def _read(mapped: mmap.mmap) -> tuple[int, str]:
    steps, length = _HEADER.unpack_from(mapped, 0)
    return steps, mapped[_HEADER.size : _HEADER.size + length].decode(errors="replace")
