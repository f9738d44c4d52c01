"""A disk of its own for the broker, small enough to be filled: a file system in memory.

Only root may mount one. What fills it is one big file, as a forgotten dump would.
"""

import os
import subprocess
from pathlib import Path

BLOCK = b"\0" * 1_048_576


class SmallDisk:
    """Mounted at `folder` between `mount` and `unmount`."""

    def __init__(self, folder: Path, *, mb: int) -> None:
        self.folder = folder
        self._mb = mb
        self._mounted = False

    def mount(self) -> None:
        """Raises RuntimeError where this process may not."""
        self.folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._mb}m", "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"a disk can be filled only as root: {done.stderr.strip()}")
        self._mounted = True

    def unmount(self) -> None:
        """Also where something still holds it."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
            self._mounted = False

    def fill(self) -> None:
        """Not a byte is left."""
        handle = os.open(self._big, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            block = BLOCK
            while block:
                try:
                    os.write(handle, block)
                except OSError:
                    block = block[: len(block) // 2]
        finally:
            os.close(handle)

    def free(self) -> None:
        """There is room again."""
        self._big.unlink()

    @property
    def _big(self) -> Path:
        return self.folder / "big"
