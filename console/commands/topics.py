"""`ai-assistant topics`: the topics of an installation on Kafka, made, checked and explained."""

import asyncio

import click
import msgspec

from console.exit_codes import ExitCode
from console.invocation import Invocation, Stopped, as_json, with_settings
from console.terminal import print_json, print_table


class TopicRow(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it should be, and as the brokers have it (0: not there)."""

    name: str
    keyed_by: str
    partitions: int
    replication: int
    config: dict[str, str]
    found_partitions: int
    found_replication: int
    found_config: dict[str, str]
    why: str


class DifferenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a topic is not as it must be."""

    topic: str
    setting: str
    found: str
    wanted: str


@click.group()
def topics() -> None:
    """Make and check the topics of a Kafka cluster.

    Which there are, and how they must be set, is one table; the brokers' address is the setting
    kafka.brokers. Workers check the topics before they start.
    """


@topics.command(short_help="Make the topics that are not there.")
@with_settings
def create(at: Invocation) -> None:
    """Make the topics that are not there, and activate the configured flow in new ones.

    May be said again: what is there is left as it is. How many partitions there are (the setting
    kafka.partitions) is chosen here, once: growing them would part conversations from their past.
    """
    from streams.cluster import activation, topic_table
    from streams.cluster.links import kafka_settings
    from streams.parts import build_flow, enabled_skills

    settings = at.settings(quiet=False)
    kafka = kafka_settings(settings)
    flow, config = build_flow(settings, enabled_skills(settings))
    partitions = settings.kafka.partitions

    async def made() -> tuple[list[str], list[int]]:
        names = await topic_table.create(kafka, settings.kafka)
        # Before the flow is written: into topics of another width it would go astray.
        await topic_table.require(kafka, settings.kafka)
        return names, await activation.first(kafka, flow, config=config, partitions=partitions)

    names, begun = asyncio.run(made())
    click.echo(f"made: {', '.join(names)}" if names else "all topics are there")
    if begun:
        click.echo(f"flow {flow.ref} is active in {len(begun)} new partitions")


@topics.command()
@with_settings
@as_json
def check(at: Invocation, as_json: bool) -> None:
    """Compare the topics with the table; ends with 1 where one is not as it must be.

    Copies that are not in sync count, too: a broker is away, or its copies catch up. Before another
    broker is touched, wait until nothing is found.
    """
    from streams.cluster import topic_table
    from streams.cluster.links import kafka_settings

    settings = at.settings()
    kafka = kafka_settings(settings)
    there = asyncio.run(topic_table.described(kafka, settings.kafka))
    wrong, behind = topic_table.differences(there, settings.kafka), topic_table.behind(there)
    found = [*wrong, *behind]
    if as_json:
        print_json([DifferenceRow(**one._asdict()) for one in found])
    elif found:
        print_table(("TOPIC", "SETTING", "FOUND", "WANTED"), [tuple(one) for one in found])
    else:
        click.echo("all topics are as they must be")
    if not there:
        raise Stopped("no topic is there: `ai-assistant topics create` makes them", ExitCode.FAILED)
    if wrong:
        count = f"{len(wrong)} differences" if len(wrong) > 1 else "one difference"
        raise Stopped(
            f"{count}: correct them on the brokers; `ai-assistant topics create` makes topics that "
            "are not there",
            ExitCode.FAILED,
        )
    if behind:
        raise Stopped(
            "copies are behind: start the broker that is away, or wait until its copies have "
            "caught up, and touch no other broker meanwhile",
            ExitCode.FAILED,
        )


@topics.command()
@with_settings
@as_json
def describe(at: Invocation, as_json: bool) -> None:
    """Show every topic: what it is for, its key, and how it is set."""
    from streams.cluster import topic_table
    from streams.cluster.links import kafka_settings
    from streams.topics import TOPICS

    settings = at.settings()
    found = asyncio.run(topic_table.described(kafka_settings(settings), settings.kafka))
    rows = []
    for topic in TOPICS:
        must, there = topic_table.wanted(topic, settings.kafka), found.get(topic.name)
        rows.append(
            TopicRow(
                name=topic.name,
                keyed_by=topic.keyed_by,
                partitions=must.partitions,
                replication=must.replication,
                config=dict(must.config),
                found_partitions=there.partitions if there else 0,
                found_replication=there.replication if there else 0,
                found_config=there.config if there else {},
                why=topic.why,
            )
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        there_is = f"{row.found_partitions} × {row.found_replication}"
        click.echo(f"{click.style(row.name, bold=True)}  {row.why}")
        click.echo(f"    key {row.keyed_by}; partitions × copies: {there_is}")
        for name, value in row.config.items():
            other = row.found_config.get(name, "not set")
            click.echo(f"    {name} = {value}" + ("" if other == value else f", found {other}"))
