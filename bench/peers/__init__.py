"""The peers: other ways to make a turn durable, measured beside ours in one run.

`run_peer` starts a peer's adapter (a module of this package) as a process in the peer's own
environment, which `setup.sh` installs under `bench/.peers/`, and reads one result a load from it.
This module is imported inside those environments as well, so it needs the standard library only.
It never measures anything itself; `bench.load` does, in the peer's process.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.load import LOCAL, Result

ROOT = Path(__file__).resolve().parents[2]
PLAN = ("sat1000", "low")


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A contestant: its adapter, its environment (None: whatever python runs us), its loads."""

    module: str
    environment: str | None
    plan: tuple[str, ...] = PLAN


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "ours": Peer(module="ours", environment=None),
        "raw": Peer(module="raw", environment=None, plan=("fsync", "sat1", "sat1000", "low")),
        "eventsourcing": Peer(module="eventsourcing_sqlite", environment="eventsourcing"),
        "langgraph": Peer(module="langgraph_sqlite", environment="langgraph"),
        "dbos": Peer(module="dbos_sqlite", environment="dbos"),
        "restate": Peer(module="restate_object", environment="restate"),
    }
)


class PeerFailed(Exception):
    """A peer is not installed, did not end in time, or ended badly; says which, and its log."""


def run_peer(name: str, plan: Sequence[str] = (), *, seconds: float = 20) -> list[Result]:
    """Run one peer and return a result for each load of the plan, in its order.

    Loads are "satN" (N sessions, each sending its next message when it has its last reply),
    "low" (20 turns/s over 100 sessions, whatever happens) and, for "raw", "fsync". An empty plan
    means the peer's own. Each load takes `seconds`, and its last turns to end. One peer runs at a
    time on this checkout: a second caller waits. Nothing of the peer outlives the call.

    Raises:
        PeerFailed: it gave no result for every load; the message says what to do or to read.
    """
    peer = PEERS[name]
    loads = tuple(plan) or peer.plan
    python = sys.executable
    if peer.environment:
        python = str(LOCAL / peer.environment / "bin" / "python")
        if not Path(python).exists():
            raise PeerFailed(f"{name} is not installed: run bench/peers/setup.sh {name}")
    command = [python, "-m", f"bench.peers.{peer.module}", str(seconds), *loads]
    with _one_at_a_time():
        lines = _run(name, command, within_s=120 + len(loads) * (2 * seconds + 30))
    results = [Result(**json.loads(line)) for line in lines]
    if [result.what for result in results] != list(loads):
        raise PeerFailed(f"{name} was to measure {loads}, and said {lines}")
    return results


def _run(name: str, command: Sequence[str], *, within_s: float) -> list[str]:
    """Run a peer's process to its end, and return what it wrote to standard output."""
    log = LOCAL / f"{name}.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # So that its own children can be ended with it.
        )
        try:
            said, _ = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(f"{name} did not end within {within_s:.0f} s: see {log}") from error
        finally:
            _end_group(process)
    if process.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise PeerFailed("\n".join([f"{name} ended with {process.returncode}; {log}:", *last]))
    return said.splitlines()


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill whatever of the peer still runs, its servers too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold the lock of this checkout's peers: two at once would spoil each other's figures."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
