"""The real process from outside: a full disk, a stop with work in hand, a hand-over, a restart."""

import asyncio
import resource
import time
from pathlib import Path

import httpx
import pytest

from console.exit_codes import ExitCode
from streams.embedded import LOG_FILE
from tests.channel_tests.clients import Client, person
from tests.flow_tests.test_registry import installed
from tests.host_tests.folding import dispositions, folds
from tests.host_tests.processes import Run, environment


async def test_a_disk_that_is_full_and_has_space_again(tmp_path: Path) -> None:
    with Run(environment(tmp_path)).listening() as run:
        client = await Client.open(run, await person(run))
        await client.hello()
        await client.say("message-0001", "before")
        await client.until("line", author="bot", text="before")
        wal = Path(f"{run.data / LOG_FILE}-wal").stat().st_size
        resource.prlimit(run.engine.pid, resource.RLIMIT_FSIZE, (wal, resource.RLIM_INFINITY))
        await client.say("message-0002", "meanwhile")
        told = await client.until("error", id="message-0002")
        assert told["code"] == "unavailable"
        resource.prlimit(
            run.engine.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        async with asyncio.timeout(20), httpx.AsyncClient() as http:
            while (await http.get(f"{run.url}/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        await client.say("message-0002", "meanwhile")  # as a client does until it is acknowledged
        await client.until("line", author="bot", text="meanwhile")
        assert [line["n"] for line in client.lines] == [1, 2, 3, 4]
        await client.close()
        assert run.stop() == 0
    assert dispositions(run.data) == ["answered", "answered"]
    folds(run.data)


def test_a_wrong_setting_of_the_flow_ends_both_processes_with_the_code_for_settings(
    tmp_path: Path,
) -> None:
    with Run(environment(tmp_path, AI_ASSISTANT_FLOW__CONFIG__BUSY="stee")) as run:
        assert run.ended() == ExitCode.SETTINGS
        assert run.said.count('flow.config.busy): found "stee"') == 1
        assert "restarting it" not in run.said


def test_a_flow_plugin_that_cannot_be_imported_ends_them_with_it_too(tmp_path: Path) -> None:
    installed(tmp_path, name="broken")
    (tmp_path / "broken_plugin.py").write_text("raise ValueError('of another version')")
    with Run(environment(tmp_path, tmp_path)) as run:
        assert run.ended() == ExitCode.SETTINGS
        assert "the flow plugin broken = broken_plugin:Walk of package broken-plugin" in run.said
        assert "Traceback" not in run.said


async def test_a_stop_finishes_the_answer_and_the_next_start_shows_it(tmp_path: Path) -> None:
    env = environment(tmp_path, AI_ASSISTANT_SERVER__DRAIN_S="8")
    with Run(env).listening() as run:
        cookie = await person(run)
        client = await Client.open(run, cookie)
        await client.hello()
        await client.say("message-0001", "wait 400 ms")
        await client.until("ack")
        assert await asyncio.to_thread(run.stop) == 0
        await client.ws.wait_closed()
        assert client.ws.close_code == 1012  # come back
    assert dispositions(run.data) == ["answered"]  # before the next start
    with Run(env).listening() as run:
        client = await Client.open(run, cookie)
        await client.hello()
        await client.until("line", author="bot", text="wait 400 ms")
        await client.close()
        assert run.stop() == 0
    folds(run.data)


async def test_a_stop_keeps_to_its_time_though_a_model_never_answers(tmp_path: Path) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    env = environment(
        tmp_path,
        AI_ASSISTANT_SERVER__DRAIN_S="1",
        AI_ASSISTANT_MODEL__KIND="openai",
        AI_ASSISTANT_MODEL__BASE_URL=f"http://127.0.0.1:{port}/v1",
        AI_ASSISTANT_MODEL__MODEL="m",
    )
    async with silent:
        with Run(env).listening() as run:
            cookie = await person(run)
            client = await Client.open(run, cookie)
            await client.hello()
            await client.say("message-0001", "hello")
            await client.until("ack")
            await client.until("state", busy=True)
            began_s = time.monotonic()
            assert await asyncio.to_thread(run.stop) == 0
            assert time.monotonic() - began_s < 6
            assert "does not stop" not in run.said
            await client.close()
    for writer in held:
        writer.transport.abort()
    await asyncio.sleep(0.01)  # the loop closes an aborted socket in its next turn
    with Run(environment(tmp_path)).listening() as run:
        client = await Client.open(run, cookie)
        await client.hello()
        await client.until("line", author="bot", text="hello")
        await client.close()
        assert run.stop() == 0
    assert dispositions(run.data) == ["answered"]


@pytest.mark.parametrize("number", range(2))
async def test_a_client_that_holds_a_request_open_does_not_hold_up_a_stop(
    tmp_path: Path, number: int
) -> None:
    """Half a body over HTTP, or a socket that never reads."""
    with Run(environment(tmp_path, AI_ASSISTANT_SERVER__DRAIN_S="1")).listening() as run:
        cookie = await person(run)
        port = int(run.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        if number == 0:
            path = "/api/conversations/conversation-1/messages"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nContent-Length: 99\r\n"
        else:
            head = (
                f"GET /ws/chat HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n"
            )
        writer.write(f"{head}\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.2)
        began_s = time.monotonic()
        assert await asyncio.to_thread(run.stop) == 0
        assert time.monotonic() - began_s < 8
        assert "did not stop in time" not in run.said
        writer.transport.abort()
        await asyncio.sleep(0.01)  # the loop closes an aborted socket in its next turn
