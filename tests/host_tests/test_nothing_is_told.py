"""What a person wrote or was shown is in the log of record, and in no log line and no metric."""

import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest

from engine.effects import ModelRequest
from engine.errors import Refused
from engine.events import ModelReplied, Outcome
from engine.limits import MESSAGE_TEXT_BYTES_MAX
from engine.ports import Delivery, Incoming, Receipt
from tests.channel_tests.clients import Client, person
from tests.host_tests.engines import Engine, eventually, serving
from tests.host_tests.folding import dispositions, opened

SECRET = "the-vault-opens-at-noon"


class Telltale:
    """A model that repeats what it was told, and where it fails, too."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, request: ModelRequest, show: Callable[[str], None]) -> Outcome:
        said = request.lines[-1].text
        show(said)
        if "fail" in said:
            raise ValueError(request)
        return ModelReplied(text=said)


def tell(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every record of the log with the secret in it, its arguments and its exception included."""
    formatter = logging.Formatter("%(name)s %(message)s")
    told = [f"{formatter.format(record)} {record.args!r}" for record in caplog.records]
    return [line for line in told if SECRET in line]


async def test_a_conversation_leaves_nothing_of_its_text_in_logs_and_metrics(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Engine(data, model=Telltale()) as engine:
        session = engine.session_id()
        assert await engine.ask(SECRET) == SECRET
        await engine.ask(f"fail {SECRET}")
        reply = await engine.answer(1)
        await engine.gateway.feedback(session, reply_id=reply.id, verdict="down", text=SECRET)
        with pytest.raises(Refused):
            await engine.say(SECRET * MESSAGE_TEXT_BYTES_MAX)
        await engine.ask("human")
        await engine.say(SECRET)
        await engine.host.operator_say(session, request_id="r1", text=SECRET, operator="ann")
        await engine.host.hand_back(session, request_id="r2", operator="ann")
        metrics = generate_latest(engine.wired.metrics.registry).decode()
    assert dispositions(data) == ["answered", "failed", "forwarded", "forwarded"]
    log = opened(data)
    assert sum(SECRET.encode() in record.value for record in log.history(session)) > 4
    log.close()
    assert caplog.records
    assert "assistant_messages_total" in metrics
    assert SECRET not in metrics
    assert tell(caplog) == []


async def test_a_platform_that_fails_does_not_tell_what_it_was_given(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine(data) as engine:

        async def send(delivery: Delivery) -> Receipt:
            raise ValueError(delivery)

        monkeypatch.setattr(engine.wired.webchat, "send", send)
        await engine.say(SECRET)
        await eventually(lambda: "failed to send: ValueError by way of" in caplog.text)
    assert tell(caplog) == []


async def test_the_server_tells_no_frame_at_any_level(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="websockets.client")  # the test's own
    async with Engine(data) as engine, serving(engine) as server:
        client = await Client.open(server, await person(server))
        await client.hello()
        await client.say("message-0001", SECRET)
        await client.until("line", author="bot", text=SECRET)
        await client.close()
    assert tell(caplog) == []


async def test_the_web_chat_logs_where_it_failed_and_not_on_what(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine(data) as engine, serving(engine) as server:

        async def accept(incoming: Incoming) -> str:
            raise ValueError(incoming)

        monkeypatch.setattr(engine.gateway, "accept", accept)
        cookie = await person(server)
        client = await Client.open(server, cookie)
        await client.hello()
        await client.say("message-0001", SECRET)
        assert (await client.until("error"))["code"] == "internal"
        await client.close()
        async with httpx.AsyncClient(headers={"Cookie": cookie}) as http:
            url = f"{server.url}/api/conversations/conversation-1/messages"
            posted = await http.post(url, json={"id": "message-0002", "text": SECRET})
        assert posted.status_code == 500
    assert tell(caplog) == []
    logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(logged) == 2
    for line in logged:
        assert "ValueError by way of" in line
        assert "test_nothing_is_told.py:" in line
