"""`ai-assistant flow`: what a flow does with every event, before anybody talks to it."""

from typing import TYPE_CHECKING

import click

from console.invocation import Invocation, with_settings
from console.terminal import plain

if TYPE_CHECKING:
    from statemachines.flow import Flow


@click.group()
def flow() -> None:
    """Check flows and draw them.

    A flow is the definition of a dialog: its states, and what each event does in each of them.
    """


@flow.command()
@click.argument("name", required=False)
@with_settings
def check(at: Invocation, name: str | None) -> None:
    """Load the flow NAME (default: the configured one) and say what it does with every event.

    Prints every event that a state ignores, how long a message can wait at most, and the microsteps
    of a usual turn. Ends with 1, naming row and fix, if something is wrong with the flow.
    """
    built = _built(at, name)
    click.echo(f"flow {built.ref} is fine")
    click.echo(plain(str(built.report)))


def _built(at: Invocation, name: str | None) -> "Flow":
    """The flow with its configuration, where it is the configured one; else with its defaults."""
    from statemachines import registry
    from statemachines.flow import Flow
    from streams.embedded.assemble import build_flow

    settings = at.settings()
    if name is None or name == settings.flow.name:
        built, _ = build_flow(settings, [])
        assert isinstance(built, Flow)
        return built
    return registry.build(name)
