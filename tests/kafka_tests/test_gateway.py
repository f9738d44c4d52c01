"""Web chat and operators on Kafka: any gateway serves any person, who sees every line once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from adapters.kafka.clients import KafkaSettings
from deploy.kafka.cluster import Cluster
from engine.errors import Refused
from engine.events import FeedbackGiven, HandedBack, MessageReceived, OperatorSaid, StopRequested
from engine.ids import derive
from tests.channel_tests.clients import CONVERSATION, Client, person
from tests.kafka_tests.gateways import TOKEN, Gateway, Sessions, gateway, handed_over
from tests.kafka_tests.installation import installed


@pytest.fixture
async def kafka(broker: Cluster, prefix: str) -> KafkaSettings:
    return await installed(broker.bootstrap, prefix)


@pytest.fixture
async def sessions(kafka: KafkaSettings) -> AsyncIterator[Sessions]:
    async with Sessions(kafka) as made:
        yield made


async def greeted(at: Gateway, cookie: str = "", after: int = 0) -> tuple[Client, str]:
    cookie = cookie or await person(at)  # type: ignore[arg-type]
    client = await Client.open(at, cookie)  # type: ignore[arg-type]
    await client.hello(after)
    await client.until("welcome")
    return client, cookie


async def eventually(look: object) -> None:
    async with asyncio.timeout(10):
        while not look():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_a_message_is_in_the_log_when_it_is_acknowledged_and_its_answer_comes(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with gateway(kafka, tmp_path) as at:
        client, _ = await greeted(at)
        await client.say("message-1", "hello")
        await client.until("ack", id="message-1")
        (event,) = await sessions.events()
        assert isinstance(event.body, MessageReceived)
        await sessions.answered("hello", by="hi there")
        await client.until("line", text="hi there")
        assert [line["text"] for line in client.lines] == ["hello", "hi there"]
        await client.say("message-1", "hello")  # a page that did not get the acknowledgement
        await client.until("ack", id="message-1")
        assert len(await sessions.events()) == 1
        await client.close()


async def test_a_person_moves_from_one_gateway_to_another_in_the_middle_of_a_reply(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with (
        gateway(kafka, tmp_path, name="ingress-0") as first,
        gateway(kafka, tmp_path, name="ingress-1") as second,
    ):
        here, cookie = await greeted(first)
        await here.say("message-1", "one")
        await here.until("ack")
        session_id = await sessions.answered("one", by="first")
        await here.until("line", text="first")
        reply = derive(session_id, "reply", "streaming")
        await sessions.write(
            sessions.view(session_id, "bot.answering", busy=True, replies=(reply,))
        )
        await sessions.frame(session_id, reply, "The ans")
        await here.until("frame", text="The ans")
        there, _ = await greeted(second, cookie, after=2)
        await there.until("frame", text="The ans")
        await here.close()
        await sessions.frame(session_id, reply, "The answer is")
        await there.until("frame", text="The answer is")
        end = sessions.line(session_id, "The answer is 42.", line_id=reply)
        await sessions.write(end, sessions.view(session_id, closed=(reply,)))
        await there.until("line", id=reply)
        assert [line["n"] for line in here.lines + there.lines] == [1, 2, 3]
        await sessions.frame(session_id, reply, "The answer is 4")  # of a worker that woke up
        await sessions.write(sessions.line(session_id, "more"))
        seen = [await there.next()]
        while seen[-1].get("text") != "more":
            seen.append(await there.next())
        assert "frame" not in [frame["type"] for frame in seen]
        again, _ = await greeted(first, cookie)  # and all of it from the start, at the other one
        await again.until("line", text="more")
        assert [line["n"] for line in again.lines] == [1, 2, 3, 4]
        await there.close()
        await again.close()


async def test_a_gateway_that_comes_back_goes_on_where_it_was(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with gateway(kafka, tmp_path) as at:
        client, cookie = await greeted(at)
        await client.say("message-1", "one")
        session_id = await sessions.answered("one", by="first")
        await client.until("line", text="first")
        closing = sessions.view(session_id, closed=(f"{session_id}/stopped",))
        await sessions.write(closing)
        await client.until("state")
        read = at.gateway.state().events
    with suppress(ConnectionClosed):
        await client.close()
    await sessions.write(sessions.line(session_id, "while it was away"))
    async with gateway(kafka, tmp_path) as at:
        assert at.gateway.state().events > read
        client, _ = await greeted(at, cookie, after=2)
        await client.until("line", text="while it was away")
        assert [line["n"] for line in client.lines] == [3]
        # Of a reply that ended without a line before the restart nothing is shown.
        await sessions.frame(session_id, f"{session_id}/stopped", "too late")
        await sessions.frame(session_id, f"{session_id}/open", "in time")
        assert (await client.until("frame"))["text"] == "in time"
        await client.close()


async def test_a_stop_right_after_the_first_message_is_taken(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with gateway(kafka, tmp_path) as at:
        client, _ = await greeted(at)
        await client.send(type="stop", conversation=CONVERSATION, id="stop-0001", reply="r/1")
        error = await client.until("error")
        assert "send a message first" in error["text"]
        await client.say("message-1", "one")
        await client.until("ack", id="message-1")
        # Nothing was stepped yet: the read model knows nothing of this session.
        await client.send(type="stop", conversation=CONVERSATION, id="stop-0001", reply="r/1")
        await client.until("ack", id="stop-0001")
        await client.send(
            type="feedback", conversation=CONVERSATION, id="judge-001", reply="r/1", verdict="up"
        )
        await client.until("ack", id="judge-001")
        kinds = [type(event.body) for event in await sessions.events()]
        assert kinds == [MessageReceived, StopRequested, FeedbackGiven]
        await client.close()


async def test_a_verdict_at_another_gateway_waits_for_what_was_committed(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with (
        gateway(kafka, tmp_path, name="ingress-0") as first,
        gateway(kafka, tmp_path, name="ingress-1") as second,
    ):
        client, cookie = await greeted(first)
        await client.say("message-1", "one")
        await client.until("ack", id="message-1")
        there, _ = await greeted(second, cookie)
        # Committed just now: the second may not have read it when it is asked.
        session_id = await sessions.answered("one", by="first")
        reply = derive(session_id, "reply", 2)
        await there.send(
            type="feedback", conversation=CONVERSATION, id="judge-001", reply=reply, verdict="up"
        )
        await there.until("ack", id="judge-001")
        await client.close()
        await there.close()


async def test_operators_see_who_waits_at_any_gateway_and_answer_once(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    session_id = "webchat:web:k1:" + "a" * 24
    card = "dingtalk:im:k1:" + "c" * 24
    async with gateway(kafka, tmp_path) as at:
        await sessions.write(
            sessions.line(session_id, "help", line_id="message-1", author="user"),
            sessions.view(session_id, "person", handed_over=handed_over(session_id)),
            sessions.view(card, "person", handed_over=handed_over(card)),
        )
        model = at.gateway._open.model  # type: ignore[union-attr]
        await eventually(lambda: len(model.handed_over()) == 2)
        bearer = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=at.url, headers=bearer) as http:
            listed = (await http.get("/api/operator/sessions")).json()["sessions"]
            assert [one["session_id"] for one in listed] == [card, session_id]
            lines = (await http.get(f"/api/operator/sessions/{session_id}/lines")).json()
            assert [line["text"] for line in lines["lines"]] == ["help"]
            say = f"/api/operator/sessions/{session_id}/say"
            body = {"id": "request-1", "text": "I am here", "operator": "olga"}
            for _ in range(2):
                assert (await http.post(say, json=body)).status_code == 200
            back = f"/api/operator/sessions/{session_id}/hand-back"
            assert (await http.post(back, json={"id": "request-2"})).status_code == 200
            refused = await http.post(f"/api/operator/sessions/{session_id[:-1]}b/say", json=body)
            assert refused.status_code == 422
            assert "not in a person's hands" in refused.json()["text"]
        kinds = [type(event.body) for event in await sessions.events()]
        assert kinds == [OperatorSaid, HandedBack]
        with pytest.raises(Refused, match="not in a person's hands"):
            await at.gateway.hand_back("webchat:web:k1:none", request_id="r", operator="o")


async def test_nobody_is_taken_in_before_what_was_said_is_read(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    session_id = "webchat:web:k1:" + "a" * 24
    await sessions.write(*(sessions.line(session_id, f"{n}") for n in range(2_000)))
    async with gateway(kafka, tmp_path, wait=False) as at:
        async with httpx.AsyncClient(base_url=at.url) as http:
            early = await http.get("/readyz")
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
            assert early.status_code == 503
            assert (await http.get("/healthz")).status_code == 200
            metrics = (await http.get("/metrics")).text
        assert 'assistant_gateway_records_total{kind="line"} 2000.0' in metrics
        assert len(await at.gateway.lines(session_id, after=0, limit=9_999)) == 2_000


async def test_who_comes_back_after_the_oldest_lines_are_gone_sees_the_rest(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with gateway(kafka, tmp_path) as at:
        client, cookie = await greeted(at)
        await client.say("message-1", "one")
        session_id = await sessions.answered("one", by="first")
        await client.until("line", text="first")
        await client.close()
        for n in range(3, 6):
            await sessions.write(sessions.line(session_id, f"line {n}"))
        model = at.gateway._open.model  # type: ignore[union-attr]
        await eventually(lambda: len(model.lines(session_id, after=0, limit=9)) == 5)
        model._db.execute("delete from lines where n < 4")
        for after in (0, 2, 4):
            client, _ = await greeted(at, cookie, after=after)
            await client.until("line", text="line 5")
            expected = [5] if after == 4 else [4, 5]
            assert [line["n"] for line in client.lines] == expected
            await client.close()
