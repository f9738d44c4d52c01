"""`ai-assistant run` as a person starts it: the parent and its engine, on a port of their own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from streams.embedded.data_dir import GUARD_FILE
from streams.embedded.parent import Parent

ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-P", "-m", "console.main", "run")
ENDED_WITHIN_S = 40
OURS = ("AI_ASSISTANT", "XDG_", "MODEL_PATH", "MAX_TOKENS")


def environment(home: Path, *path: Path, **settings: str) -> dict[str, str]:
    """A scripted model, no skills, any port, nothing of this machine's. `path`: Python's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
        "AI_ASSISTANT_DATA": str(home / "data"),
        "AI_ASSISTANT_CONFIG": str(home),
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_SKILLS__ENABLED": "[]",
        "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0",
        **settings,
    }


IMPATIENT = (
    sys.executable,
    "-P",
    "-c",
    "import console.serving; console.serving.START_PAUSES_S = (0.1, 0.1, 0.1)\n"
    "from console.commands import assistant; assistant(['run', '--engine'])",
)
"""The engine, which does not try for two minutes to start but four times."""


def impatient_parent() -> tuple[str, ...]:
    """The command of a parent with such an engine."""
    return (sys.executable, "-m", "tests.host_tests.processes", "10", *IMPATIENT)


class Run:
    """A started assistant. `url` is there once it listens."""

    def __init__(self, env: dict[str, str], *, command: tuple[str, ...] = COMMAND) -> None:
        self.data = Path(env["AI_ASSISTANT_DATA"])
        self._said = Path(env["HOME"]) / f"stderr-{os.urandom(4).hex()}"
        with self._said.open("w") as err:
            self.process = subprocess.Popen(
                command, env=env, cwd=env["HOME"], stdout=subprocess.PIPE, stderr=err, text=True
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def said(self) -> str:
        """All that it wrote to stderr."""
        return self._said.read_text()

    def listening(self) -> "Run":
        """Wait until it (or the engine that its parent started again) can be reached."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"the assistant is at (http://(127.0.0.1:\d+))", line)
            if found:
                self.url, self.ws_url = found[1], f"ws://{found[2]}/ws/chat"
                return self
        raise AssertionError(f"it ended with {self.process.wait()}: {self.said}")

    @property
    def engine(self) -> psutil.Process:
        """The engine's process."""
        (engine,) = psutil.Process(self.process.pid).children()
        return engine

    def stop(self) -> int:
        """Ask the parent to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            raise


def main() -> None:
    """The parent with other numbers: a test does not wait ten seconds for a callback to be stuck.

    python -m tests.host_tests.processes STALL_S COMMAND…
    """
    stall_s, *command = sys.argv[1:]
    data = Path(os.environ["AI_ASSISTANT_DATA"])
    data.mkdir(exist_ok=True)
    parent = Parent(
        command=command,
        guard=data / GUARD_FILE,
        drain_s=5.0,
        say=lambda line: print(line, file=sys.stderr, flush=True),
        stall_s=float(stall_s),
    )
    sys.exit(parent.run())


if __name__ == "__main__":
    main()
