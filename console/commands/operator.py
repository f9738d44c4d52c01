"""`ai-assistant operator`: the people who take over from the bot."""

import getpass
from typing import TYPE_CHECKING

import click

from console.invocation import Invocation, as_json, with_settings
from console.terminal import one_line, print_json, print_table, when
from engine.errors import Refused

if TYPE_CHECKING:
    from console.client import Client

at_url = click.option("--url", help="The engine's address (default: the setting server.bind).")


@click.group()
def operator() -> None:
    """Answer people that the bot passed on to you.

    The assistant must be running. On the same machine the token is found in the data directory;
    elsewhere set AI_ASSISTANT_OPERATORS__TOKEN and --url.
    """


@operator.command(name="list")
@with_settings
@at_url
@as_json
def list_(at: Invocation, url: str | None, as_json: bool) -> None:
    """List the sessions that wait for a person, longest first."""
    with _engine(at, url) as engine:
        found = engine.handed_over()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("nobody is waiting")
        return
    print_table(
        ("SESSION", "SINCE", "OPEN", "STATE", "SAID LAST"),
        [
            (
                one.session_id,
                when(one.since_ms)[:19],
                str(one.waiting),
                one.state,
                one_line(one.last_text, 40),
            )
            for one in found
        ],
    )


@operator.command(short_help="Say TEXT to the person in SESSION.")
@click.argument("session")
@click.argument("text")
@with_settings
@at_url
def say(at: Invocation, session: str, text: str, url: str | None) -> None:
    """Say TEXT to the person in SESSION (an id from `operator list`, or a part of one)."""
    with _engine(at, url) as engine:
        session_id = _find(engine, session)
        engine.say(session_id, text, operator=getpass.getuser())
    click.echo(f"said in {session_id}")


@operator.command(name="hand-back")
@click.argument("session")
@with_settings
@at_url
def hand_back(at: Invocation, session: str, url: str | None) -> None:
    """Give SESSION back to the bot."""
    with _engine(at, url) as engine:
        session_id = _find(engine, session)
        engine.hand_back(session_id, operator=getpass.getuser())
    click.echo(f"handed back: {session_id}")


def _engine(at: Invocation, url: str | None) -> "Client":
    from console.client import operator_client

    return operator_client(at.settings(), url)


def _find(engine: "Client", name: str) -> str:
    """The one handed-over session that has `name` in its id."""
    found = [one.session_id for one in engine.handed_over() if name and name in one.session_id]
    if name in found:
        return name
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(
            f"{len(found)} handed-over sessions have {name!r} in their id: say more of it"
        )
    raise Refused(f"no handed-over session {name!r}: `ai-assistant operator list` shows them")
