"""One process for one log file: a POSIX lock on a file beside it.

Place in the data path: taken by `adapters.logs.sqlite` before it opens a file for writing. The
kernel drops the lock with the process, however that dies, and a forked child never inherits it: a
crash leaves nothing to clean up. What it never does: delete the lock file. A process that had it
open already would then hold a lock that nobody else can see.
"""

import fcntl
import os
from pathlib import Path

from engine.errors import Refused

# A process's POSIX locks never exclude that process itself, and closing any descriptor of the file
# drops them: so a second opener of this process is turned away before it touches the file.
_held: set[str] = set()


class FileLock:
    """The only right to write to the file at `path`, from construction until `release`.

    Raises: Refused where another process (named, if it can be found) or another part of this one
    has it, or where no file can be made beside it.
    """

    def __init__(self, path: Path) -> None:
        self._key = os.path.realpath(path)
        self._name = f"{self._key}.lock"
        if self._key in _held:
            raise Refused(f"{path} is in use by this process: close it before opening it again")
        try:
            self._file = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(
                f"{path} cannot be locked: {error.strerror} ({self._name}); "
                "the data directory must exist and be writable"
            ) from error
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            os.close(self._file)
            raise Refused(
                f"{path} is in use by another process{holder}: stop that one, "
                "or use another data directory"
            ) from error
        _held.add(self._key)
        self._say_who()

    def _holder(self) -> str:
        text = os.pread(self._file, 20, 0).strip()
        return f" (pid {text.decode()})" if text.isdigit() else ""

    def _say_who(self) -> None:
        """Write our pid for the next one to read; a full disk must not keep us from starting."""
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Let the next one in; a second time is no error."""
        if self._key in _held:
            _held.discard(self._key)
            os.close(self._file)
