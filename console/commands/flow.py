"""`ai-assistant flow`: what a flow does with every event, before anybody talks to it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from console.commands.flow_chat import chat, importable_here
from console.invocation import Invocation, Stopped, as_json, with_settings
from console.terminal import duration, plain, print_json, print_table, when
from streams.settings import WrongSettings

if TYPE_CHECKING:
    from statemachines.flow import Flow

# As `statemachines.drawing` has them: that is imported only when something is drawn.
FORMATS: tuple[Literal["mermaid", "text", "svg"], ...] = ("text", "mermaid", "svg")


@click.group()
def flow() -> None:
    """Check flows, draw them and test them.

    A flow is the definition of a dialog: its states, and what each event does in each of them. One
    that is not installed yet is named by its class: `module:Class`, also of a file right here.
    """


flow.add_command(chat)


@flow.command()
@click.argument("name", required=False)
@with_settings
@as_json
def check(at: Invocation, name: str | None, as_json: bool) -> None:
    """Load the flow NAME (default: the configured one) and say what it does with every event.

    Prints every event that a state ignores, how long a message can wait at most, and the microsteps
    of a usual turn. Ends with 1, naming row and fix, if something is wrong with the flow.
    """
    report = built(at, name).report
    if as_json:
        print_json(report)
        return
    click.echo(f"flow {report.flow}: {len(report.leaves)} states, {report.rows} rows, fine")
    for title, cells in (("ignored", report.ignored), ("queued", report.postponed)):
        click.echo(f"\n{title}, by state:")
        for state, triggers in _by_state(cells):
            click.echo(f"  {state}: {', '.join(triggers)}")
    click.echo(f"\nB, how long a message can wait at most: {duration(report.bound_s * 1_000)}")
    click.echo(f"  {report.bound_why}")
    click.echo(f"\na usual turn has {len(report.usual_turn)} microsteps:")
    for microstep in report.usual_turn:
        click.echo(f"  {microstep}")
    for warning in report.warnings:
        click.echo(f"warning: {plain(str(warning))}", err=True)


@flow.command()
@click.argument("name", required=False)
@with_settings
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="text for a terminal, mermaid for documents, svg to look at.",
)
def show(at: Invocation, name: str | None, form: str) -> None:
    """Draw the flow NAME (default: the configured one): its states, rows and time-outs.

    \b
    For a picture:  ai-assistant flow show --format svg > flow.svg
    """
    from statemachines.drawing import draw

    drawing: Literal["mermaid", "text", "svg"] = next(f for f in FORMATS if f == form)
    click.echo(draw(built(at, name), form=drawing), nl=False)


@flow.command(short_help="On a cluster: make NAME@VERSION the active flow.")
@click.argument("ref", metavar="NAME@VERSION")
@with_settings
def activate(at: Invocation, ref: str) -> None:
    """On a cluster: make the configured flow, NAME@VERSION, the active one for all conversations.

    First bring the version to all workers of the role sessions: one that does not have it refuses
    its partitions. Each conversation goes over with its next event. May be said again. Without a
    cluster the configured flow is activated at the start.
    """
    import asyncio

    from streams.cluster import activation, topic_table
    from streams.cluster.links import kafka_settings
    from streams.parts import build_flow, enabled_skills

    settings = at.settings(quiet=False)
    kafka = kafka_settings(settings)
    made, config = build_flow(settings, enabled_skills(settings))
    here = f"{made.ref.name}@{made.ref.version}"
    if ref != here:
        raise Stopped(f"{ref} is not configured here, but {here}: set flow.name, or install it")

    async def write() -> list[int]:
        await topic_table.require(kafka, settings.kafka)
        partitions = settings.kafka.partitions
        return await activation.activate(kafka, made, config=config, partitions=partitions)

    changed = asyncio.run(write())
    if changed:
        click.echo(
            f"{made.ref} is active in {len(changed)} of {settings.kafka.partitions} partitions"
        )
    else:
        click.echo(f"{made.ref} is active already")


class ActiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that is active in some partitions. `at_ms`: since when, in the first of them."""

    flow: str
    partitions: list[int]
    at_ms: int
    is_configured_here: bool


@flow.command(short_help="On a cluster: say which flow is active.")
@with_settings
@as_json
def active(at: Invocation, as_json: bool) -> None:
    """On a cluster: say which flow is active in which partitions, and since when.

    And whether it is the one that is configured here: `flow activate` from here would change it
    where it is not. The letters behind # stand for its code and its settings.
    """
    import asyncio

    from streams.cluster import activation, topic_table
    from streams.cluster.links import kafka_settings
    from streams.parts import configured_flow

    settings = at.settings(quiet=False)
    kafka = kafka_settings(settings)
    here = str(configured_flow(settings).ref)

    async def read() -> list[activation.Active]:
        await topic_table.require(kafka, settings.kafka)
        return [await activation.newest(kafka, n) for n in range(settings.kafka.partitions)]

    groups: dict[str, list[activation.Active]] = {}
    for one in asyncio.run(read()):
        groups.setdefault(str(one.body.flow) if one.body else "none", []).append(one)
    rows = [
        ActiveRow(
            flow=ref,
            partitions=[one.partition for one in group],
            at_ms=min(one.at_ms for one in group),
            is_configured_here=ref == here,
        )
        for ref, group in groups.items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("FLOW", "PARTITIONS", "SINCE", "CONFIGURED HERE"),
        [
            (row.flow, _ranges(row.partitions), when(row.at_ms)[:19], _told(row, here))
            for row in rows
        ],
    )


def _told(row: ActiveRow, here: str) -> str:
    return "yes" if row.is_configured_here else f"no, but {here}"


def _ranges(numbers: list[int]) -> str:
    """`0-3, 7` for 0, 1, 2, 3, 7."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, one)) for one in found)


def _by_state(cells: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for state, trigger in cells:
        found.setdefault(state, []).append(trigger)
    return list(found.items()) or [("none", ["-"])]


def built(at: Invocation, name: str | None) -> "Flow":
    """The flow as `run` has it, where it is the configured one; else with its defaults."""
    if name is not None and ":" in name:
        return _by_class(name)
    from statemachines import registry
    from statemachines.flow import Flow
    from streams.parts import configured_flow

    settings = at.settings()
    if name is None or name == settings.flow.name:
        try:
            built = configured_flow(settings)
        except WrongSettings as error:
            raise Stopped(str(error)) from None  # 1, as for any other flow
        assert isinstance(built, Flow)
        return built
    return registry.build(name)


def _by_class(name: str) -> "Flow":
    from streams.chat.flows import build
    from streams.chat.lines import Head

    importable_here()
    return build(Head(flow=name))
