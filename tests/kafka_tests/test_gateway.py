"""Web chat and operators on Kafka: any gateway serves any person, who sees every line once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from websockets.exceptions import ConnectionClosed

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings, admin_of
from adapters.kafka.partitions import partition_of
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.errors import Refused
from engine.events import (
    FeedbackGiven,
    HandedBack,
    MessageReceived,
    OperatorSaid,
    Redriven,
    StopRequested,
)
from engine.ids import derive
from engine.ports import DeadLetter
from streams.cluster.assemble_gateway import assemble_gateway
from streams.embedded import data_dir
from streams.machine_clock import MachineClock
from streams.settings import Operators
from streams.topics import T
from streams.wire import letter_row, letters_of
from tests.channel_tests.clients import CONVERSATION, Client, person
from tests.kafka_tests.conftest import started
from tests.kafka_tests.gateways import (
    TOKEN,
    Gateway,
    Sessions,
    gateway,
    handed_over,
    settings_of,
)
from tests.kafka_tests.installation import PARTITIONS, everything, installed, written


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


async def eventually(look: object, *, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
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


@pytest.mark.parametrize("behind", [1, 2])
async def test_a_gateway_that_lags_does_not_send_a_person_back_to_the_start(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path, behind: int
) -> None:
    async with (
        gateway(kafka, tmp_path, name="ingress-0") as first,
        gateway(kafka, tmp_path, name="ingress-1") as second,
    ):
        consumer = second.gateway._open.following._tail._started  # type: ignore[union-attr]
        model = second.gateway._open.model  # type: ignore[union-attr]
        here, cookie = await greeted(first)
        await here.say("message-1", "one")
        session_id = await sessions.answered("one", by="first")
        await eventually(lambda: len(model.lines(session_id, after=0, limit=9)) == 2)
        consumer.pause(*consumer.assignment())
        for n in range(behind):
            await sessions.write(sessions.line(session_id, f"line {n}"))
            await here.until("line", text=f"line {n}")
        there = await Client.open(second, cookie)  # type: ignore[arg-type]
        await there.hello(2 + behind)
        asyncio.get_running_loop().call_later(1, consumer.resume, *consumer.assignment())
        assert (await there.until("welcome"))["last"] == 2 + behind
        await sessions.write(sessions.line(session_id, "more"))
        await there.until("line", text="more")
        assert [line["n"] for line in there.lines] == [3 + behind]
        await here.close()
        await there.close()


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


async def test_a_dead_letter_is_taken_again_once(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    async with gateway(kafka, tmp_path) as at:
        client, _ = await greeted(at)
        await client.say("message-1", "one")
        await client.until("ack", id="message-1")
        (event,) = await sessions.events()
        letter = DeadLetter(
            partition=2,
            offset=17,
            session_id=event.session_id,
            error="the process died each time it stepped this event",
            value=codec.encode(event),
            at_ms=1_000,
        )
        await written(kafka, [letter_row(letter)])
        bearer = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=at.url, headers=bearer) as http:

            async def redriven(number: str) -> httpx.Response:
                path = f"/api/operator/dead-letters/{number}/redrive"
                return await http.post(path, json={"id": "request-1", "operator": "olga"})

            assert (await redriven("2:17")).status_code == 200
            again = await redriven("2:17")
            assert again.status_code == 422
            assert "was taken again before" in again.json()["text"]
            assert "no dead letter" in (await redriven("0:17")).json()["text"]
        bodies = [e.body for e in await sessions.events() if isinstance(e.body, Redriven)]
        assert [body.of for body in bodies] == [event.id]
        (kept,) = letters_of(await everything(kafka, T.DEAD, partitions=1))
        assert kept.redriven_ms is not None
        await client.close()


async def test_two_gateways_with_keys_of_their_own_are_refused(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    settings = settings_of(kafka, tmp_path)
    without_keys = replace(settings, kafka=replace(settings.kafka, keys_file=None))
    without_token = replace(settings, operators=Operators())
    for lacking, told in ((without_keys, "keys create"), (without_token, "operators.token")):
        appender = Appender(kafka, clock=MachineClock(), instance="x")
        with pytest.raises(Refused, match=told):
            assemble_gateway(lacking, appender, registry=CollectorRegistry())


@pytest.mark.slow
async def test_a_broker_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with started() as broker:
        kafka = await installed(broker.bootstrap, "away")
        async with Sessions(kafka) as sessions, gateway(kafka, tmp_path) as at:
            client, cookie = await greeted(at)
            await client.say("message-1", "one")
            session_id = await sessions.answered("one", by="first")
            await client.until("line", text="first")
            broker.brokers[0].kill()
            await eventually(lambda: at.gateway.ready, within_s=60)
            await client.say("message-2", "two")
            refused = await client.until("error")
            assert refused["code"] == "unavailable"
            assert refused["id"] == "message-2"
            # What was said before can still be read.
            again, _ = await greeted(at, cookie)
            await again.until("line", text="first")
            broker.brokers[0].start()
            await eventually(lambda: not at.gateway.ready, within_s=60)
            await client.say("message-2", "two")
            await client.until("ack", id="message-2")
            await sessions.write(sessions.line(session_id, "welcome back"))
            await client.until("line", text="welcome back")
            assert [line["n"] for line in client.lines] == [1, 2, 3]
            await client.close()
            await again.close()


async def test_people_who_move_about_while_much_is_said_see_every_line_once(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A gateway is killed and comes back in between; who was there goes to the other."""
    chance = random.Random(7)
    lines = 120
    async with gateway(kafka, tmp_path, name="ingress-0") as stays:
        client, cookie = await greeted(stays)
        await client.say("message-1", "one")
        session_id = await sessions.answered("one", by="line 2")
        await client.close()

        async def talk() -> None:
            for n in range(3, lines + 1):
                reply = derive(session_id, "reply", n)
                await sessions.frame(session_id, reply, f"li {n}")
                said = sessions.line(session_id, f"line {n}", line_id=reply)
                await sessions.write(said, sessions.view(session_id, closed=(reply,)))
                await asyncio.sleep(0.02)

        async def follow(places: list[Gateway]) -> list[int]:
            """Move from one to another after some lines each, wherever one is."""
            seen: list[int] = []
            while not seen or seen[-1] < lines:
                at = chance.choice(places)
                try:
                    client, _ = await greeted(at, cookie, after=seen[-1] if seen else 0)
                    for _ in range(chance.randrange(1, 30)):
                        frame = await client.next()
                        if frame["type"] == "line":
                            seen.append(frame["n"])
                            if frame["n"] == lines:
                                break
                    await client.close()
                except (ConnectionClosed, OSError):
                    await asyncio.sleep(0.05)
            return seen

        places = [stays]
        following = [asyncio.create_task(follow(places)) for _ in range(3)]
        talking = asyncio.create_task(talk())
        while not talking.done():
            async with gateway(kafka, tmp_path, name="ingress-1") as comes:
                places.append(comes)
                await asyncio.wait([talking], timeout=0.5)
                places.remove(comes)
        await talking
        async with asyncio.timeout(30):
            for seen in await asyncio.gather(*following):
                assert seen == list(range(1, lines + 1))


async def test_while_a_key_is_rotated_any_gateway_finds_who_wrote_at_another(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    settings = settings_of(kafka, tmp_path)
    assert settings.kafka.keys_file is not None
    data_dir.announce(settings.kafka.keys_file)
    async with gateway(kafka, tmp_path, name="ingress-0") as announced:
        data_dir.take_up(settings.kafka.keys_file)
        async with gateway(kafka, tmp_path, name="ingress-1") as rotated:
            client, cookie = await greeted(rotated)
            await client.say("message-1", "one")
            session_id = await sessions.answered("one", by="first")
            assert session_id.split(":")[2] == "k2"
            await client.until("line", text="first")
            await client.close()
            model = announced.gateway._open.model  # type: ignore[union-attr]
            await eventually(lambda: model.knows(session_id))
            client, _ = await greeted(announced, cookie)
            await client.until("line", text="first")
            await client.close()


async def test_records_that_went_before_they_were_read_are_no_gap_in_a_conversation(
    kafka: KafkaSettings, sessions: Sessions, tmp_path: Path
) -> None:
    session_id = "webchat:web:k1:" + "a" * 24
    partition = partition_of(session_id.encode(), PARTITIONS)
    await sessions.write(*(sessions.line(session_id, f"{n}") for n in range(1, 4)))
    async with gateway(kafka, tmp_path) as at:
        assert len(await at.gateway.lines(session_id, after=0, limit=9)) == 3
    for n in range(4, 8):
        await sessions.write(sessions.line(session_id, f"{n}"))
    # Each line has a transaction's mark behind it; the first two of the four go.
    admin = admin_of(kafka)
    await admin.start()
    at_line = TopicPartition(kafka.named(T.OUTBOX), partition)
    await admin.delete_records({at_line: RecordsToDelete(before_offset=3 + 1 + 4)})
    await admin.close()
    async with gateway(kafka, tmp_path) as at:
        found = await at.gateway.lines(session_id, after=0, limit=9)
        assert [line.n for line in found] == [6, 7]
