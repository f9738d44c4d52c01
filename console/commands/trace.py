"""`ai-assistant trace`: one message through all hops, with times, and where it stopped."""

import click

from console import reads, tracing
from console.exit_codes import ExitCode
from console.invocation import Invocation, Stopped, as_json, told, with_settings
from console.terminal import duration, plain, print_json, print_table, when


@click.command(short_help="Follow one message: every hop with its time.")
@click.argument("message")
@with_settings
@as_json
def trace(at: Invocation, message: str, as_json: bool) -> None:
    """Follow one message through the engine: every hop with its time, and where it stopped.

    MESSAGE is the id of a message or of a reply as `sessions show` prints it; the 32 digits at its
    end are enough. Ends with 1 while something is still to be done for the message.
    """
    with reads.opened_for(at.settings(), tell=told) as log:
        found = tracing.trace(log, tracing.find_message(log, message))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found.ended:
        raise Stopped(f"not at its end: {found.stopped}", ExitCode.FAILED)


def _print(found: tracing.Trace) -> None:
    click.echo(f"message  {found.message}")
    first = next((hop.at_ms for hop in found.hops if hop.at_ms is not None), 0)
    print_table(
        ("HOP", "TIME", "AFTER", "WHAT"),
        [
            (
                hop.what,
                when(hop.at_ms),
                "-" if hop.at_ms is None else f"+{duration(max(0, hop.at_ms - first))}",
                plain(hop.text),
            )
            for hop in found.hops
        ],
    )
    click.echo(f"ended    {found.disposition or 'not yet'}")
    click.echo(f"stopped  {plain(found.stopped)}")
