"""`python -m bench.turns`: what a turn costs, ours and the peers', in one run, as ratios.

Each contestant runs in a process of its own, its client included; ours before and after the peers,
and the raw two-commit SQLite loop, which is the limit. `--json` prints one object: our figures at
the top, then everything that was run. `--ours` leaves the peers out; `bench/README.md` says how to
install them.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bench.load import Result, fresh, measure_async, text
from bench.peers import PeerFailed, run_peer

PEERS = ("langgraph", "dbos", "restate", "eventsourcing")
WANTED = {"langgraph": 10.0, "dbos": 10.0, "restate": 3.0, "eventsourcing": 2.0}
"""Turns a second at 1 000 busy sessions: ours over theirs, at least."""
CONVERSATIONS_A_SOCKET = 10


def main() -> int:
    """Measure, print; 1 where a peer failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--seconds", type=float, default=20, help="for each load (default 20)")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    given = parser.parse_args()
    runs, failed = run_all(given.seconds, () if given.ours else PEERS)
    found = summary(runs)
    if given.json:
        print(json.dumps({**found, "runs": [asdict(run) for run in runs]}))
    else:
        show(runs, found)
    return int(failed)


def run_all(seconds: float, peers: Sequence[str]) -> tuple[list[Result], bool]:
    """Ours, raw, each peer, and ours again."""
    runs: list[Result] = []
    failed = False
    for name in ("ours", "ours-websocket", "raw", *peers, "ours"):
        try:
            if name == "ours-websocket":
                runs += websocket(seconds)
                continue
            plan = ("sat1", "sat1000", "low") if name == "raw" else ()
            runs += run_peer(name, plan, seconds=seconds)
        except PeerFailed as error:
            print(error, file=sys.stderr)
            failed = True
    return runs, failed


# ---- through the WebSocket ----------------------------------------------------------------------


def websocket(seconds: float) -> list[Result]:
    """The real process with its HTTP server, driven over web chat's own protocol."""

    async def measure() -> list[Result]:
        async with served() as (base, pid):
            found = []
            for what in ("sat1000", "low"):
                clients = Clients(base)
                found.append(
                    await measure_async(
                        "ours-websocket", what, seconds=seconds, turn=clients.turn, pids=[pid]
                    )
                )
                await clients.close()
            return found

    return asyncio.run(measure())


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, int]]:
    """The engine's process on a free port: its address and pid."""
    data = fresh("ours-websocket")
    settings = {
        "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0",
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_MODEL__CALLS_MAX": "64",
        "AI_ASSISTANT_CONFIG": str(_no_config(data)),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.main", "--data", str(data), "run", "--engine"),
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        if "http://" not in line:
            raise RuntimeError(f"the engine did not start: {line!r}")
        yield line[line.index("http://") :].strip(), process.pid
    finally:
        process.terminate()
        await process.wait()


def _no_config(data: Path) -> Path:
    empty = data / "config"
    empty.mkdir()
    return empty


class Clients:
    """Sockets with ten conversations each; a turn goes through the one that has its session."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._sockets: list[tuple[ClientConnection, asyncio.Task[None]]] = []
        self._conversations: dict[str, ClientConnection] = {}
        self._replies: dict[str, asyncio.Future[str]] = {}
        self._opening = asyncio.Lock()

    async def turn(self, session: str, number: int) -> None:
        """Send, and wait for the bot's line."""
        conversation = session.replace("-", "_").rjust(8, "0")
        socket = self._conversations.get(conversation) or await self._open(conversation)
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._replies[conversation] = reply
        asked = {
            "type": "message",
            "conversation": conversation,
            "id": f"message{number:08}",
            "text": text(number),
        }
        await socket.send(json.dumps(asked))
        said = await reply
        assert said == text(number), said

    async def close(self) -> None:
        """Close all sockets."""
        for socket, task in self._sockets:
            task.cancel()
            await socket.close()

    async def _open(self, conversation: str) -> ClientConnection:
        async with self._opening:
            if len(self._conversations) % CONVERSATIONS_A_SOCKET == 0:
                await self._connect()
            socket = self._sockets[-1][0]
            self._conversations[conversation] = socket
        hello = {"type": "hello", "conversation": conversation, "after": 0}
        await socket.send(json.dumps(hello))
        return socket

    async def _connect(self) -> None:
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self._base}/api/person")
        cookie = answer.headers["set-cookie"].split(";")[0]
        url = self._base.replace("http", "ws") + "/ws/chat"
        socket = await connect(url, additional_headers={"Cookie": cookie}, max_queue=None)
        self._sockets.append((socket, asyncio.create_task(self._listen(socket))))

    async def _listen(self, socket: ClientConnection) -> None:
        async for frame in socket:
            told = json.loads(frame)
            if told["type"] == "error":
                raise RuntimeError(told)
            if told["type"] == "line" and told["author"] == "bot":
                waiting = self._replies.pop(told["conversation"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told["text"])


# ---- what it says -------------------------------------------------------------------------------


def summary(runs: Sequence[Result]) -> dict[str, object]:
    """Our figures and the ratios that the targets are about."""
    busy = [run for run in runs if (run.peer, run.what) == ("ours", "sat1000")]
    calm = [run for run in runs if (run.peer, run.what) == ("ours", "low")]
    raw = {run.what: run for run in runs if run.peer == "raw"}
    turns_s = median(run.turns_s for run in busy)
    p99_ms = median(run.p99_ms for run in calm)
    ratios = {
        name: round(turns_s / run.turns_s, 1)
        for name in PEERS
        for run in runs
        if (run.peer, run.what) == (name, "sat1000")
    }
    return {
        "turns_s": turns_s,
        "cpu_us_turn": median(run.cpu_us_turn for run in busy),
        "p50_ms": median(run.p50_ms for run in calm),
        "p99_ms": p99_ms,
        "times_the_peers": ratios,
        "wanted_times": {name: WANTED[name] for name in ratios},
        "p99_over_raw_p99": round(p99_ms / raw["low"].p99_ms, 2) if raw else None,
        "foreign_cores_max": max(run.foreign_cores for run in runs),
    }


def show(runs: Sequence[Result], found: dict[str, object]) -> None:
    """A table for a person."""
    columns = list(asdict(runs[0]))
    rows = [columns, *([str(value) for value in asdict(run).values()] for run in runs)]
    for row in rows:
        print("".join(f"{cell:<16}" if n < 2 else f"{cell:>14}" for n, cell in enumerate(row)))
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    sys.exit(main())
