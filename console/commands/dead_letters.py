"""`ai-assistant dead-letters`: what was set aside, and how it is taken again."""

import getpass

import click

from console import reads
from console.invocation import Invocation, as_json, told, with_settings
from console.terminal import one_line, print_json, print_table, when


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List what could not be handled, and take it again.

    A dead letter is a record that cannot be read, or at which the engine died three times. It was
    set aside with its error, so that everything behind it goes on.
    """


@dead_letters.command(name="list")
@with_settings
@as_json
def list_(at: Invocation, as_json: bool) -> None:
    """List the dead letters, oldest first."""
    with reads.opened_for(at.settings(), tell=told) as log:
        rows = reads.list_dead_letters(log)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("none")
        return
    print_table(
        ("NUMBER", "SINCE", "TAKEN AGAIN", "SESSION", "ERROR"),
        [
            (
                row.number,
                when(row.at_ms)[:19],
                when(row.redriven_ms)[:19],
                row.session_id or "-",
                one_line(row.error),
            )
            for row in rows
        ],
    )


@dead_letters.command(short_help="Take the message of dead letter NUMBER again.")
@click.argument("number")
@with_settings
@click.option("--url", help="The engine's address (default: the setting server.bind).")
def redrive(at: Invocation, number: str, url: str | None) -> None:
    """Take the message of dead letter NUMBER (from `dead-letters list`) again, however old it is.
    Where it is a wake-up, the session is woken at once.

    The assistant must be running: first correct what made it fail.
    """
    from console.client import operator_client

    with operator_client(at.settings(), url) as engine:
        engine.redrive(number, operator=getpass.getuser())
    click.echo(f"taken again: {number}")
