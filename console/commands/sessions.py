"""`ai-assistant sessions`: which conversations there are, and one as a person reads it."""

import click

from console import reads
from console.invocation import Invocation, as_json, told, with_settings
from console.terminal import one_line, plain, print_json, print_table, when
from console.transcript import entries


@click.group()
def sessions() -> None:
    """List and read conversations, also while the assistant runs."""


@sessions.command(name="list")
@with_settings
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
def list_(at: Invocation, limit: int, as_json: bool) -> None:
    """List the sessions, the last active first."""
    with reads.opened_for(at.settings(), tell=told) as log:
        rows, more = reads.list_sessions(log, limit=limit)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("SESSION", "LAST", "STATE", "TURNS", "OPEN", "SAID LAST"),
        [
            (
                row.session_id,
                when(row.last_ms)[:19],
                row.state,
                str(row.turns),
                str(row.unanswered),
                one_line(row.last_text, 40),
            )
            for row in rows
        ],
    )
    if more:
        click.echo(f"… and more: --limit {limit * 10}", err=True)


@sessions.command(short_help="Show one conversation with states, effects and times.")
@click.argument("session")
@with_settings
@as_json
def show(at: Invocation, session: str, as_json: bool) -> None:
    """Show one conversation: what was said, with states, effects and times beside it.

    SESSION is an id as `sessions list` shows it, or any part of one that is in no other.
    """
    with reads.opened_for(at.settings(), tell=told) as log:
        view = reads.read_session(log, reads.find_session(log, session))
    shown = entries(view)
    if as_json:
        state = view.session.state if view.session is not None else ""
        print_json({"session_id": view.session_id, "state": state, "entries": shown})
        return
    _print_head(view)
    for entry in shown:
        click.echo()
        author = entry.author or "·"
        click.echo(f"{when(entry.at_ms)}  {click.style(author, bold=True)}")
        for line in plain(entry.text).splitlines():
            click.echo(f"    {line}")
        for note in entry.notes:
            click.echo(click.style(f"      {plain(note)}", dim=True))
        if entry.id:
            click.echo(click.style(f"      id {entry.id}", dim=True))


def _print_head(view: reads.SessionView) -> None:
    click.echo(f"session  {view.session_id}")
    session = view.session
    if session is None:
        click.echo("state    none: nothing of it was stepped, all that came was set aside")
        return
    click.echo(f"flow     {session.flow}, dialog {session.epoch}")
    click.echo(f"state    {session.state}, {len(session.unanswered)} unanswered")
    for pending in session.pending:
        click.echo(f"awaits   {pending.kind} until {when(pending.due_ms)}, then {pending.on_due}")
