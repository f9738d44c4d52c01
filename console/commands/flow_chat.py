"""`ai-assistant flow chat`: run conversations that somebody wrote down, as tests of a flow."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from console.invocation import Stopped
from console.terminal import plain
from engine.errors import Refused


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, path_type=Path),
)
@click.option("-q", "--quiet", is_flag=True, help="Print only what went another way.")
def chat(files: tuple[Path, ...], quiet: bool) -> None:
    """Run the conversations in each `.chat` FILE (or folder of them).

    Prints each dialog's title; where one goes another way than it is written, the conversation up
    to there, what was expected and what came. Ends with 1 if one did. The format is described in
    docs/chat-format.md; pytest runs such files, too. What a test has found is judged by that test.
    """
    importable_here()
    ran = wrong = 0
    for path in _files(files):
        for title, told in _reports(path):
            ran += 1
            wrong += bool(told)
            if told:
                click.echo(f"{plain(told)}\n")
            elif not quiet:
                click.echo(f"fine  {path.name}: {plain(title)}")
    dialogs = "1 conversation" if ran == 1 else f"{ran} conversations"
    if wrong:
        raise Stopped(f"{wrong} of {dialogs} went another way, or cannot be read")
    click.echo(f"{dialogs}, all as they are written")


def _reports(path: Path) -> Iterator[tuple[str, str]]:
    """Of each dialog its title, and what is wrong with it, if anything is."""
    from testkit.chat_files import read_file, run_dialog

    try:
        source = read_file(path, str(path))
    except Refused as error:
        yield "", str(error)
        return
    for number, dialog in enumerate(source.chat.dialogs):
        try:
            yield dialog.title or path.stem, run_dialog(source, number, path=path)
        except Refused as error:
            yield dialog.title, str(error)


def importable_here() -> None:
    """Let Python find the modules of the working directory, behind all that is installed."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _files(given: tuple[Path, ...]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        inside = sorted(path.rglob("*.chat")) if path.is_dir() else [path]
        if not inside:
            raise Stopped(f"{path}: there is no .chat file in it")
        found += inside
    return found
