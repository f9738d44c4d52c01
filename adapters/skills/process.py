"""One worker process as its parent sees it: started, killed with all it started, reaped.

Used by the runner (many, kept warm) and by the registry (one for each skill that it asks). The two
sides talk over a socket that only they hold; the child's standard streams lead nowhere.
What it never does: wait for the child, except in `reap`, which is called after a kill.
"""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PASSED_ON_LIKE = ("LC_", "SSL_CERT_", "XDG_", "OMP_", "CUDA_")
"""Of the environment, a skill sees these only: the host's holds secrets of channels and models."""


class WorkerProcess:
    """A running worker, and `socket`, the parent's end of the way to it."""

    def __init__(self) -> None:
        """Start it: some 100 ms until it answers. Raises OSError where no process can start."""
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                _command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                start_new_session=True,  # a group: a kill takes what the skill started too
            )
        except OSError:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

    @property
    def dead(self) -> bool:
        """Whether it has ended by itself; a look at the kernel, which leaves it to be reaped."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def kill(self) -> None:
        """End it at once, with every process of its group. Never blocks; a dead one is no error."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # dead, and reaped by somebody else
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Wait until the killed process is gone: a few milliseconds."""
        self._process.wait()


def _command(fd: int) -> list[str]:
    # -P: the folder in which somebody happens to start the assistant is no source of modules.
    return [sys.executable, "-P", "-m", "adapters.skills.worker", str(fd), str(os.getpid())]


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.lower() in PROXIES or name.startswith(PASSED_ON_LIKE)
    }
    # A skill is imported from where the host would import it.
    kept["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return kept
