"""Contestants' processes: started with a log each, killed at the end, whatever happened."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.load import LOCAL

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
STOP_S = 15.0


class ProcessFailed(Exception):
    """A process ended, or did not get ready; says what it said last."""


class Process:
    """One process under a name."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self._log = log

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    def said(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace")

    def require(self) -> None:
        """Raises ProcessFailed where it has ended."""
        if self._popen.poll() is not None:
            last = "\n".join(self.said().splitlines()[-8:])
            raise ProcessFailed(f"{self._log.name} ended with {self._popen.returncode}:\n{last}")

    def url(self) -> str:
        """Where a worker's probes are, once it has said so."""
        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s:
            self.require()
            _, found, rest = self.said().partition("probes at ")
            if found and "\n" in rest:
                return rest.split()[0].rstrip("/")
            time.sleep(0.02)
        raise ProcessFailed(f"{self._log.name} does not say where its probes are")

    def wait_ready(self) -> None:
        """Wait until a worker's own probe says so."""
        url, until_s = self.url(), time.monotonic() + READY_S
        why = ""
        while time.monotonic() < until_s:
            self.require()
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                why = error.read().decode(errors="replace")
            except OSError as error:
                why = str(error)
            time.sleep(0.05)
        raise ProcessFailed(f"{self._log.name} is not ready: {why}")

    def metrics(self) -> dict[str, float]:
        """A worker's own numbers."""
        with urllib.request.urlopen(f"{self.url()}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def end(self) -> None:
        """SIGTERM, and SIGKILL in the end."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@contextmanager
def running(
    name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT
) -> Iterator[Process]:
    """A process; it dies with this one."""
    LOCAL.mkdir(exist_ok=True)
    log = LOCAL / f"{name}.log"
    with log.open("wb") as out:
        popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        process.end()


def said_by(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Run a command to its end. Raises ProcessFailed with what it said."""
    done = subprocess.run(
        [sys.executable, "-P", *command],
        env=dict(env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProcessFailed(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
