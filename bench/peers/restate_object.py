"""Restate: its server (one node, its defaults), a Python service, and an HTTP client as the load.

The service runs in a granian process of its own, which measured faster over HTTP/2 than hypercorn
and uvicorn. CPU and memory are those of server, service and client together.
Run in its own environment by `bench.peers.run_peer`, which ends what this might leave behind.
"""

import asyncio
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import aiohttp

from bench.load import LOCAL, REPLY, AsyncTurn, fresh, text
from bench.peers.adapter import each_load_async

START_WITHIN_S = 90
CONFIG = """
base-dir = "{directory}/restate"
node-name = "bench"
disable-telemetry = true
log-filter = "warn"
bind-address = "127.0.0.1:{node}"
advertised-address = "http://127.0.0.1:{node}"
[ingress]
bind-address = "127.0.0.1:{ingress}"
[admin]
bind-address = "127.0.0.1:{admin}"
disable-web-ui = true
"""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has: a stale server on a fixed one would share the load."""
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def server_binary() -> Path:
    """Return the server that setup.sh installed for this machine's architecture."""
    found = LOCAL.glob("restate-server/node_modules/@restatedev/restate-server-*/bin/*-server")
    return next(found)


def start(directory: Path, name: str, *command: str) -> subprocess.Popen[bytes]:
    """Start a process that logs into the directory."""
    with (directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, which may have ended already."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def registered(http: aiohttp.ClientSession, *, admin: int, service: int) -> None:
    """Wait until both run and the server knows the service."""
    body = {"uri": f"http://127.0.0.1:{service}", "force": True}
    said = "nothing"
    for _ in range(START_WITHIN_S * 10):
        try:
            async with http.post(f"http://127.0.0.1:{admin}/deployments", json=body) as answer:
                if answer.status < 300:
                    return
                said = await answer.text()
        except aiohttp.ClientError as error:
            said = repr(error)
        await asyncio.sleep(0.1)
    raise RuntimeError(f"Restate took no deployment within {START_WITHIN_S} s: {said}")


def turn_of(http: aiohttp.ClientSession, *, ingress: int) -> AsyncTurn:
    """Return the turn that the load drives."""

    async def turn(session: str, number: int) -> None:
        url = f"http://127.0.0.1:{ingress}/Session/{session}/message"
        given = {"n": number, "text": text(number)}
        headers = {"idempotency-key": f"{session}-{number}"}
        async with http.post(url, json=given, headers=headers) as answer:
            ended = await answer.json()
        assert (ended.get("state"), ended.get("reply")) == ("idle", REPLY), ended

    return turn


async def ready(turn: AsyncTurn) -> None:
    """Wait until a first turn gets through: the ingress may open after the admin port."""
    for _ in range(START_WITHIN_S * 10):
        try:
            return await turn("first", 0)
        except (aiohttp.ClientError, AssertionError):
            await asyncio.sleep(0.1)
    raise RuntimeError(f"Restate answered no turn within {START_WITHIN_S} s")


async def main() -> None:
    """Start server and service, take the loads, end both."""
    directory = fresh("restate")
    node, ingress, admin, service = free_ports(4)
    config = directory / "restate.toml"
    config.write_text(CONFIG.format(directory=directory, node=node, ingress=ingress, admin=admin))
    granian = f"{sys.prefix}/bin/granian --interface asgi --http 2 --log-level error --port"
    where = "bench.peers.restate_service:app"
    with ExitStack() as stack:
        server = start(directory, "server", str(server_binary()), "-c", str(config))
        stack.callback(stop, server)
        worker = start(directory, "service", *granian.split(), str(service), where)
        stack.callback(stop, worker)
        connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as http:
            await registered(http, admin=admin, service=service)
            turn = turn_of(http, ingress=ingress)
            await ready(turn)
            await each_load_async("restate", sys.argv[1:], turn=turn, pids=(server.pid, worker.pid))


if __name__ == "__main__":
    asyncio.run(main())
