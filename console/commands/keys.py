"""`ai-assistant keys`: the keys that turn people's ids into pseudonyms, and a new one.

A key's secret is never shown.
"""

import click
import msgspec

from console.invocation import Invocation, as_json, with_settings
from console.terminal import print_json, print_table
from streams.embedded import data_dir


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key in a list. `current`: it makes the ids of new conversations."""

    id: str
    current: bool


@click.group()
def keys() -> None:
    """List the keys of people's pseudonyms, and rotate them.

    A session's id has a pseudonym of its person, made with the current key. Older keys are kept:
    they find the conversations that they named.
    """


@keys.command(name="list")
@with_settings
@as_json
def list_(at: Invocation, as_json: bool) -> None:
    """List the keys, newest first."""
    found = data_dir.kept_keys(at.settings().server.data_dir).pseudonyms
    rows = [KeyRow(id=key.id, current=n == 0) for n, key in enumerate(found)]
    if as_json:
        print_json(rows)
        return
    uses = {True: "makes the ids of new conversations", False: "finds the older ones it named"}
    print_table(("KEY", "USE"), [(row.id, uses[row.current]) for row in rows])


@keys.command()
@with_settings
def rotate(at: Invocation) -> None:
    """Make a new key; from the next start on it names new conversations.

    Conversations that there are go on under their ids. Copy keys.json to where your backups are:
    without a key, nobody finds the conversations that it named.
    """
    from console.chat_here import runs

    settings = at.settings()
    made, *_ = data_dir.rotate(settings.server.data_dir).pseudonyms
    click.echo(f"key {made.id} names new conversations from the next start on")
    if runs(settings):
        click.echo("the assistant runs with the keys that it began with: restart it", err=True)
