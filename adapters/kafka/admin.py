"""Topics as the brokers have them: made, and described so that they can be compared."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from adapters.kafka.clients import KafkaSettings, admin_of, begun, told
from engine.errors import Refused


class Wanted(NamedTuple):
    """A topic that is to be made."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


class Found(NamedTuple):
    """A topic as the brokers have it; `config`: the settings that were asked for.

    `behind`: of each partition that has fewer copies in sync than copies, how many are.
    """

    name: str
    partitions: int
    replication: int
    config: dict[str, str]
    behind: Mapping[int, int]


async def create_topics(settings: KafkaSettings, topics: Sequence[Wanted]) -> list[str]:
    """Make those that are not there; the names of those made. Raises Refused, Unavailable."""
    made: list[str] = []
    async with _admin(settings, "create topics") as admin:
        new = [
            NewTopic(settings.named(t.name), t.partitions, t.replication, topic_configs=t.config)
            for t in topics
        ]
        answer = await admin.create_topics(new)
        for name, code, *why in answer.topic_errors:
            error = for_code(code)
            if error is NoError:
                made.append(name.removeprefix(settings.prefix))
            elif error is not TopicAlreadyExistsError:
                raise Refused(f"topic {name} is not made: {why[0] if why else error.__name__}")
    return made


async def describe_topics(
    settings: KafkaSettings, wanted: Mapping[str, Sequence[str]]
) -> dict[str, Found]:
    """What the brokers have of these topics, each with the settings named for it.

    Raises Refused where the brokers do not show them to us, and Unavailable.
    """
    found: dict[str, Found] = {}
    async with _admin(settings, "describe topics") as admin:
        names = {settings.named(name): name for name in wanted}
        for topic in await admin.describe_topics(list(names)):
            if not _is_there(topic["error_code"]):
                continue
            name = names[topic["topic"]]
            partitions: list[dict[str, Any]] = topic["partitions"]
            replication = min(len(partition["replicas"]) for partition in partitions)
            behind = {
                partition["partition"]: len(partition["isr"])
                for partition in partitions
                if len(partition["isr"]) < len(partition["replicas"])
            }
            found[name] = Found(name, len(partitions), replication, {}, behind)
        asked = [
            ConfigResource(ConfigResourceType.TOPIC, settings.named(n), dict.fromkeys(wanted[n]))
            for n in found
            if wanted[n]
        ]
        for answer in await admin.describe_configs(asked) if asked else ():
            for code, _, _, named, entries, *_ in answer.resources:
                if not _is_there(code):  # removed just now
                    continue
                found[names[named]].config.update({entry[0]: entry[1] for entry in entries})
    return found


def _is_there(code: int) -> bool:
    """What the brokers say of a topic; what keeps them from saying it is raised, not taken for a
    topic that is missing: its fix is another one."""
    error = for_code(code)
    if error not in (NoError, UnknownTopicOrPartitionError):
        raise error()
    return error is NoError


async def cluster_id(settings: KafkaSettings) -> str:
    """The id that a cluster got when it was made: two clusters never have the same.

    Raises Unavailable, Refused.
    """
    async with _admin(settings, "look at the cluster") as admin:
        return str((await admin.describe_cluster())["cluster_id"])


@asynccontextmanager
async def _admin(settings: KafkaSettings, what: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = admin_of(settings)
    with told(what):
        try:
            await begun(admin, settings, what=what)
            yield admin
        finally:
            await admin.close()
