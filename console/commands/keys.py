"""`ai-assistant keys`: the keys that turn people's ids into pseudonyms, and a new one.

A key's secret is never shown.
"""

from pathlib import Path

import click
import msgspec

from console.invocation import Invocation, as_json, with_settings
from console.terminal import print_json, print_table
from engine.errors import Refused
from streams.embedded import data_dir
from streams.settings import Settings


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key in a list. `current`: it makes the ids of new conversations. `announced`: it will."""

    id: str
    current: bool
    announced: bool


@click.group()
def keys() -> None:
    """List the keys of people's pseudonyms, and rotate them.

    A session's id has a pseudonym of its person, made with the current key. Older keys are kept:
    they find the conversations that they named.
    """


def _file(settings: Settings) -> Path:
    """Where the keys are: a cluster's processes share a file, else they are in the data directory.

    Raises: Refused where a cluster has none.
    """
    if not settings.on_cluster:
        return settings.server.data_dir / data_dir.KEYS_FILE
    if settings.kafka.keys_file is None:
        raise Refused(
            "on a cluster, set kafka.keys_file: `ai-assistant keys create` makes the file"
        )
    return settings.kafka.keys_file


@keys.command(short_help="Make the keys that a cluster's processes share.")
@click.argument("file", type=click.Path(path_type=Path))
def create(file: Path) -> None:
    """Make new keys in FILE, for a cluster: the setting kafka.keys_file names it.

    All processes that take messages in need the same ones. Keep a copy where your secrets are:
    without them nobody finds their conversations again. One data directory makes its own.
    """
    # A folder that is made for keys is their owner's alone.
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (made,) = data_dir.make(file).pseudonyms
    click.echo(f"key {made.id} in {file}: set kafka.keys_file for all that take messages in")


@keys.command(name="list")
@with_settings
@as_json
def list_(at: Invocation, as_json: bool) -> None:
    """List the keys, newest first."""
    kept = data_dir.kept_keys(_file(at.settings()))
    next_one = data_dir.announced(kept)
    rows = [
        KeyRow(id=key.id, current=n == 0, announced=key == next_one)
        for n, key in enumerate(kept.pseudonyms)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(("KEY", "USE"), [(row.id, _use(row)) for row in rows])


def _use(row: KeyRow) -> str:
    if row.announced:
        return "announced: makes no ids before `keys rotate`"
    return "makes the ids of new conversations" if row.current else "finds the older ones it named"


@keys.command(short_help="On a cluster: make the next key known first.")
@with_settings
def announce(at: Invocation) -> None:
    """On a cluster: make the next key known, before `keys rotate` takes it up.

    Give the file to all processes that take messages in, and restart them, then rotate and do the
    same again: so at no time one of them misses a key that another makes ids with.
    """
    settings = at.settings()
    if not settings.on_cluster:
        raise Refused("only processes that share their keys need this: `keys rotate` is enough")
    *_, made = data_dir.announce(_file(settings)).pseudonyms
    click.echo(f"key {made.id} is announced: restart all that take messages in, then keys rotate")


@keys.command()
@with_settings
def rotate(at: Invocation) -> None:
    """Make a new key; from the next start on it names new conversations.

    Conversations that there are go on under their ids. Copy keys.json to where your backups are:
    without a key, nobody finds the conversations that it named. On a cluster the key is the one
    that `keys announce` made.
    """
    from console.chat_here import runs

    settings = at.settings()
    file = _file(settings)
    rotated = data_dir.take_up(file) if settings.on_cluster else data_dir.rotate(file)
    click.echo(f"key {rotated.pseudonyms[0].id} names new conversations from the next start on")
    if settings.on_cluster:
        click.echo("give the file to all that take messages in, and restart them", err=True)
    elif runs(settings):
        click.echo("the assistant runs with the keys that it began with: restart it", err=True)
