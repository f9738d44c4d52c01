"""`ai-assistant run` as a reader of a document has it: with a scripted model."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.doc_tests import pages

ASSISTANT = [sys.executable, "-m", "console.main"]
ENDED_WITHIN_S = 60


class Engine:
    """`ai-assistant run` with a scripted model, and the other commands beside it."""

    def __init__(self, home: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AI_ASSISTANT", "XDG_"))}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            bind = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{bind}"
        self.env = kept | {
            "HOME": str(home),
            "PYTHONPATH": str(pages.ROOT),
            "AI_ASSISTANT_CONFIG": str(home),
            "AI_ASSISTANT_MODEL__KIND": "scripted",
            "AI_ASSISTANT_SERVER__BIND": bind,
        }
        self._process = subprocess.Popen(
            [*ASSISTANT, "run"], cwd=home, env=self.env, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"the assistant is at {self.url}\n"

    def ai(self, *words: str, typed: str = "") -> str:
        """Run a command, as a person would; what it printed. It must end with 0, without errors."""
        done = subprocess.run(
            [*ASSISTANT, *words],
            cwd=self.env["HOME"],
            env=self.env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=ENDED_WITHIN_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    def stop(self) -> int:
        """Stop it as Ctrl-C does; its exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(ENDED_WITHIN_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code
