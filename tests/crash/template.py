"""A process that has imported the engine and forks one whenever it is asked to.

Between `engines`, which writes a line to its stdin for each, and the engines: each is the process
that `ai-assistant run --engine` would be, without the second or two of imports. It runs nothing of
the engine itself, so that each fork begins as a fresh process would.

    start DATA      end of the last one awaited, a new one forked; answers with its process id
    wait            end of the last one awaited; answers with its exit status
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TextIO

from console.commands import assistant
from console.serving import serve

IMPORTED = (serve,)
"""Here, so that no engine has to."""


class Template:
    """The engines forked here, one at a time."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._pid = 0
        self._status = 0
        self._pipe = -1

    def obey(self, order: list[str]) -> int:
        """Carry out one line; the number to answer with."""
        self._reap()
        if order[0] == "wait":
            return self._status
        reading, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            self._become_engine(reading, Path(order[1]))
        os.close(reading)
        return self._pid

    def end(self) -> None:
        """The driver is gone: nothing of it may stay behind."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        if self._pid:
            _, status = os.waitpid(self._pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
            os.close(self._pipe)
            self._pid = 0

    def _become_engine(self, stdin: int, data: Path) -> None:
        os.dup2(stdin, 0)
        os.dup2(self._log.fileno(), 1)
        os.dup2(self._log.fileno(), 2)
        code = 70
        try:
            assistant(["run", "--engine", "--data", str(data)], prog_name="ai-assistant")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def main(log: Path) -> None:
    """Serve until stdin ends."""
    with log.open("a") as out:
        template = Template(out)
        assert threading.active_count() == 1, "a process with threads cannot be forked safely"
        for line in iter(sys.stdin.readline, ""):
            print(template.obey(line.split()), flush=True)
        template.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
