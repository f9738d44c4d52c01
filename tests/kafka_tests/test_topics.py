"""`ai-assistant topics` and `flow activate` on a real broker."""

import asyncio
import json
import os
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import NewPartitions
from click.testing import CliRunner, Result

from adapters.kafka.clients import KafkaSettings, admin_of
from console.commands import assistant
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.errors import Refused
from engine.events import FlowActivated
from statemachines import registry
from streams.cluster import activation, topic_table
from streams.settings import load
from streams.topics import T
from streams.wire import flow_row, watermark_row
from tests.kafka_tests.installation import everything, written

PARTITIONS = 3


@pytest.fixture
def env(broker: Cluster, prefix: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "assistant.toml").touch()
    return {
        "HOME": str(tmp_path),
        "AI_ASSISTANT_CONFIG": str(tmp_path),
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_KAFKA__BROKERS": broker.bootstrap,
        "AI_ASSISTANT_KAFKA__PREFIX": f"{prefix}.",
        "AI_ASSISTANT_KAFKA__PARTITIONS": str(PARTITIONS),
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
    }


def asked(env: dict[str, str], *words: str) -> Result:
    clean = {name: None for name in os.environ if name.startswith("AI_ASSISTANT_")}
    return CliRunner().invoke(assistant, list(words), env={**clean, **env})


async def controls(env: dict[str, str]) -> list[FlowActivated]:
    kafka = KafkaSettings(
        brokers=env["AI_ASSISTANT_KAFKA__BROKERS"], prefix=env["AI_ASSISTANT_KAFKA__PREFIX"]
    )
    found = await everything(kafka, T.EVENTS, partitions=PARTITIONS)
    bodies = [codec.decode_event(record.value or b"").body for record in found]
    assert all(record.key == b"" for record in found)
    return [body for body in bodies if isinstance(body, FlowActivated)]


def test_topics_are_made_once_with_the_configured_flow(env: dict[str, str]) -> None:
    first = asked(env, "topics", "create")
    assert first.exit_code == 0, first.output
    assert "made: conversation.events" in first.output
    assert "active in 3 new partitions" in first.output
    again = asked(env, "topics", "create")
    assert again.output == "all topics are there\n"
    assert len(asyncio.run(controls(env))) == PARTITIONS
    assert asked(env, "topics", "check").output == "all topics are as they must be\n"
    described = asked(env, "topics", "describe")
    assert "conversation.sessions" in described.output
    assert "partitions × copies: 3 × 1" in described.output
    assert ", found" not in described.output


def test_a_topic_that_is_not_as_it_must_be_is_named(env: dict[str, str]) -> None:
    asked(env, "topics", "create")
    wide = {**env, "AI_ASSISTANT_KAFKA__PARTITIONS": "5", "AI_ASSISTANT_KAFKA__REPLICATION": "3"}
    checked = asked(wide, "topics", "check", "--json")
    assert checked.exit_code == 1
    rows = json.loads(checked.output.partition("\nError")[0])
    of_events = {row["setting"]: row for row in rows if row["topic"] == "conversation.events"}
    assert of_events["partitions"]["found"] == "3"
    assert of_events["partitions"]["wanted"] == "5"
    assert of_events["replication"]["wanted"] == "3"
    assert of_events["min.insync.replicas"]["found"] == "1"
    assert "max.message.bytes" not in of_events
    refused = asked(wide, "topics", "create")
    assert refused.exit_code == 1
    assert "topic conversation.events: partitions is 3, and must be 5" in refused.output


def test_topics_that_are_not_there_are_named(env: dict[str, str]) -> None:
    checked = asked(env, "topics", "check")
    assert checked.exit_code == 1
    assert "conversation.events" in checked.output
    assert "not there" in checked.output


def test_without_brokers_it_says_how_to_set_them(env: dict[str, str]) -> None:
    found = asked({**env, "AI_ASSISTANT_KAFKA__BROKERS": ""}, "topics", "check")
    assert found.exit_code == 1
    assert "AI_ASSISTANT_KAFKA__BROKERS=host:port" in found.output


def test_a_flow_is_activated_where_it_is_not_active(env: dict[str, str]) -> None:
    asked(env, "topics", "create")
    assert "active already" in asked(env, "flow", "activate", "assistant@1").output
    other = {**env, "AI_ASSISTANT_FLOW__CONFIG__GREETING": "Good day"}
    activated = asked(other, "flow", "activate", "assistant@1")
    assert activated.exit_code == 0, activated.output
    assert "is active in 3 of 3 partitions" in activated.output
    assert "active already" in asked(other, "flow", "activate", "assistant@1").output
    assert len(asyncio.run(controls(env))) == 2 * PARTITIONS
    wrong = asked(env, "flow", "activate", "assistant@2")
    assert wrong.exit_code == 1
    assert "assistant@2 is not configured here, but assistant@1" in wrong.output


async def test_the_newest_control_record_is_the_applied_one_or_one_that_waits(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    kafka = KafkaSettings(brokers=broker.bootstrap, prefix=f"{prefix}.")
    env = {"HOME": str(tmp_path), "AI_ASSISTANT_KAFKA__BROKERS": broker.bootstrap}
    one = {"AI_ASSISTANT_KAFKA__PARTITIONS": "1", "AI_ASSISTANT_KAFKA__REPLICATION": "1"}
    settings = load(tmp_path, {**env, **one})
    await topic_table.create(kafka, settings.kafka)
    config = b"{}"
    flow = registry.build("assistant", config)
    assert (await activation.newest(kafka, 0)).body is None
    assert await activation.first(kafka, flow, config=config, partitions=1) == [0]
    assert await activation.first(kafka, flow, config=config, partitions=1) == []
    (record,) = await everything(kafka, T.EVENTS, partitions=1)
    # Applied, and cut off from what is read of the log: only the sessions topic has it.
    control = flow_row(record.value or b"", partition=0)
    await written(kafka, [control, watermark_row(record.offset, partition=0)])
    body = (await activation.newest(kafka, 0)).body
    assert body is not None
    assert body.flow == flow.ref
    assert await activation.activate(kafka, flow, config=config, partitions=1) == []
    # The same version and configuration, and other code.
    event = codec.decode_event(record.value or b"")
    assert isinstance(event.body, FlowActivated)
    ref = msgspec.structs.replace(event.body.flow, digest="0" * len(event.body.flow.digest))
    changed = msgspec.structs.replace(event.body, flow=ref)
    row = flow_row(codec.encode(msgspec.structs.replace(event, body=changed)), partition=0)
    await written(kafka, [row])
    with pytest.raises(Refused, match="give it another version"):
        await activation.activate(kafka, flow, config=config, partitions=1)


async def test_a_worker_is_told_all_that_is_wrong(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    kafka = KafkaSettings(brokers=broker.bootstrap, prefix=f"{prefix}.")
    env = {"HOME": str(tmp_path), "AI_ASSISTANT_KAFKA__BROKERS": broker.bootstrap}
    settings = load(tmp_path, {**env, "AI_ASSISTANT_KAFKA__REPLICATION": "1"})
    await topic_table.create(kafka, settings.kafka)
    await topic_table.require(kafka, settings.kafka)
    admin = admin_of(kafka)
    await admin.start()
    await admin.create_partitions({kafka.named(T.DEAD): NewPartitions(2)})
    await admin.close()
    async with asyncio.timeout(10):  # the broker shows what it did a moment later
        while not (found := await topic_table.compared(kafka, settings.kafka)):
            await asyncio.sleep(0.05)
    assert str(found[0]) == "topic dead.letters: partitions is 2, and must be 1"
    with pytest.raises(Refused, match=r"partitions is 2, and must be 1\. `ai-assistant topics"):
        await topic_table.require(kafka, settings.kafka)


def test_the_doctor_looks_at_the_brokers_and_their_topics(env: dict[str, str]) -> None:
    def kafka(env: dict[str, str]) -> dict[str, str]:
        findings = json.loads(asked(env, "doctor", "--json").stdout)
        found: dict[str, str] = next(one for one in findings if one["what"] == "Kafka")
        return found

    assert kafka(env)["verdict"] == "fail"
    assert "topics create" in kafka(env)["fix"]
    asked(env, "topics", "create")
    assert kafka(env)["verdict"] == "ok"
    away = kafka({**env, "AI_ASSISTANT_KAFKA__BROKERS": "127.0.0.1:1"})
    assert away["verdict"] == "fail"
    assert "127.0.0.1:1" in away["found"]


def test_it_says_which_flow_is_active_and_whether_it_is_the_one_configured_here(
    env: dict[str, str],
) -> None:
    asked(env, "topics", "create")
    assert "assistant@1#" in (shown := asked(env, "flow", "active").output), shown
    assert "0-2" in shown
    assert "yes" in shown
    other = {**env, "AI_ASSISTANT_FLOW__CONFIG__GREETING": "Good day"}
    (row,) = json.loads(asked(other, "flow", "active", "--json").stdout)
    assert (row["partitions"], row["is_configured_here"]) == ([0, 1, 2], False)
    assert row["at_ms"] > 0


def test_coverage_of_a_cluster_is_refused_and_says_what_it_reads(env: dict[str, str]) -> None:
    found = asked(env, "flow", "coverage", "--from-log")
    assert found.exit_code == 1
    assert "not of a cluster" in found.output
