"""The table of topics held against a cluster: made, compared, described.

Between `streams.topics`, which says what there must be, and `adapters.kafka.admin`. Called by
`ai-assistant topics`, and by each worker before it starts. What it never does: change or delete a
topic that is there; a person does, who knows what is in it.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from adapters.kafka.admin import Found, Wanted, create_topics, describe_topics
from adapters.kafka.clients import KafkaSettings
from engine.errors import Refused, Unavailable
from streams.settings import Kafka
from streams.topics import TOPICS, Topic

IN_SYNC_OF = {1: "1", 2: "1"}
"""Copies that must have a record before it is acknowledged; with three copies or more, two: so one
broker may be away, and what was acknowledged is on a broker that is not."""
IN_SYNC = "2"

SEEN_WITHIN_S = 30.0
LOOK_EVERY_S = 0.1


class Difference(NamedTuple):
    """Where a topic is not what it must be. `setting`: as Kafka names it."""

    topic: str
    setting: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, and must be {self.wanted}"


def wanted(topic: Topic, kafka: Kafka) -> Wanted:
    """What this installation needs of a topic."""
    return Wanted(
        topic.name,
        kafka.partitions if topic.width == "sessions" else 1,
        kafka.replication,
        {**topic.config, "min.insync.replicas": IN_SYNC_OF.get(kafka.replication, IN_SYNC)},
    )


async def create(settings: KafkaSettings, kafka: Kafka) -> list[str]:
    """Make the topics that are not there; their names. Raises Refused, Unavailable."""
    made = await create_topics(settings, [wanted(topic, kafka) for topic in TOPICS])
    # The brokers tell each other of new topics after they have answered.
    try:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while len(await described(settings, kafka)) < len(TOPICS):
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise Unavailable("the brokers made the topics and do not show them yet") from None
    return made


async def described(settings: KafkaSettings, kafka: Kafka) -> dict[str, Found]:
    """The topics as the brokers have them. Raises Unavailable."""
    settings_of = {str(topic.name): list(wanted(topic, kafka).config) for topic in TOPICS}
    return await describe_topics(settings, settings_of)


async def compared(settings: KafkaSettings, kafka: Kafka) -> list[Difference]:
    """All that is not as it must be; more copies than wanted are no difference."""
    return differences(await described(settings, kafka), kafka)


async def require(settings: KafkaSettings, kafka: Kafka) -> None:
    """Raises Refused with all that is not as it must be, Unavailable while brokers are away."""
    found = await compared(settings, kafka)
    if found:
        told = "; ".join(str(one) for one in found)
        raise Refused(f"{told}. `ai-assistant topics create` makes those that are not there")


def behind(found: Mapping[str, Found]) -> list[Difference]:
    """Where copies are not in sync: a broker is away, or was, and its copies catch up.

    No worker minds; but while one copy is behind, no second broker may go.
    """
    told = []
    for topic in found.values():
        if topic.behind:
            numbers = ", ".join(map(str, sorted(topic.behind)))
            setting = f"copies in sync of partition {numbers}"
            least = str(min(topic.behind.values()))
            told.append(Difference(topic.name, setting, least, str(topic.replication)))
    return told


def differences(found: Mapping[str, Found], kafka: Kafka) -> list[Difference]:
    """Where these topics are not what the table says."""
    return [one for topic in TOPICS for one in _of(topic, found.get(topic.name), kafka)]


def _of(topic: Topic, found: Found | None, kafka: Kafka) -> list[Difference]:
    must = wanted(topic, kafka)
    if found is None:
        return [Difference(topic.name, "topic", "not there", "there")]
    told = []
    if found.partitions != must.partitions:
        told.append(("partitions", str(found.partitions), str(must.partitions)))
    if found.replication < must.replication:
        told.append(("replication", str(found.replication), str(must.replication)))
    told += [
        (setting, found.config.get(setting, "not set"), value)
        for setting, value in must.config.items()
        if found.config.get(setting) != value
    ]
    return [Difference(topic.name, *one) for one in told]
