"""`ai-assistant chat`: talk to the assistant in the terminal."""

import asyncio
import contextlib
import os
import sys
import time

import click
import msgspec

from console import chat_client
from console.chat_client import QUIET_S, Conversation, Identity, Said
from console.client import address
from console.exit_codes import ExitCode
from console.invocation import Invocation, as_json, with_settings
from console.screen import Screen, typed_lines
from console.terminal import plain, print_json
from streams.settings import Settings

IDENTITY_FILE = "terminal.json"


@click.command()
@with_settings
@click.option("--once", metavar="TEXT", help="Say TEXT, print the answer, and end.")
@click.option("--new", is_flag=True, help="Begin a new conversation.")
@click.option("--url", help="The engine's address (default: the setting server.bind).")
@click.option(
    "--within", default=180.0, show_default=True, help="Seconds that --once waits for its answer."
)
@as_json
def chat(
    at: Invocation, once: str | None, new: bool, url: str | None, within: float, as_json: bool
) -> None:
    """Talk to the assistant in this terminal; end with Ctrl-D.

    The conversation goes on where it was left, unless --new is given. If no assistant runs on the
    data directory, `chat --once` starts one for this one question, without a web page. It ends with
    8 where the answer is the assistant's apology. On a cluster, an ingress worker must be running.
    """
    settings = at.settings()
    if once is None:
        who = _identity(settings, url, new=new)
        asyncio.run(_talk(url or address(settings), who))
        return
    if not once.strip():
        raise click.UsageError("--once: say something")
    said = _ask(settings, url, once, new=new, within_s=within)
    if as_json:
        print_json(said)
    else:
        for line in said:
            click.echo(plain(line.text))
    if said and said[-1].text == _apology(settings):
        click.get_current_context().exit(int(ExitCode.UNANSWERED))


def _apology(settings: Settings) -> str:
    """What the configured flow says where it has no answer; its line looks like any other."""
    from statemachines import registry

    kind = registry.find(settings.flow.name).Config
    return str(msgspec.json.decode(settings.flow.config, type=kind).apology)


def _ask(
    settings: Settings, url: str | None, text: str, *, new: bool, within_s: float
) -> list[Said]:
    """The answer of the running engine, else of one that is started for it."""
    from console import chat_here

    if url is None and not settings.on_cluster and not chat_here.runs(settings):
        file = settings.server.data_dir / IDENTITY_FILE
        who = chat_client.identity(file, lambda: chat_here.own_identity(settings), new=new)
        asked = chat_here.ask(settings, who, text=text, env=os.environ, within_s=within_s)
        return asyncio.run(asked)
    there = url or address(settings)
    who = _identity(settings, url, new=new)
    return asyncio.run(chat_client.ask_once(there, who, text=text, within_s=within_s))


def _identity(settings: Settings, url: str | None, *, new: bool) -> Identity:
    there = url or address(settings)
    if url is not None:
        # Another engine does not know the person of this data directory.
        return chat_client.new_person(there)
    file = settings.server.data_dir / IDENTITY_FILE
    return chat_client.identity(file, lambda: chat_client.new_person(there), new=new)


async def _talk(url: str, who: Identity) -> None:
    person = sys.stdin.isatty()
    if person:
        click.echo("Write a message; Ctrl-D ends.")
    screen = Screen()
    talk = Conversation(url, who, seen=screen.see)
    running = asyncio.create_task(talk.run(give_up=False))
    typing = asyncio.create_task(_type(talk, screen))
    prompting = asyncio.create_task(_prompt(talk, screen)) if person else None
    try:
        await asyncio.wait({running, typing}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        typing.result()
    finally:
        for task in filter(None, (running, typing, prompting)):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _prompt(talk: Conversation, screen: Screen) -> None:
    """Show that it is the person's turn, whenever nothing more is being said."""
    await talk.welcomed.wait()
    while True:
        await asyncio.sleep(QUIET_S / 4)
        if not (screen.busy or talk.unsent) and time.monotonic() - screen.changed_s >= QUIET_S:
            screen.prompt()


async def _type(talk: Conversation, screen: Screen) -> None:
    """Send what is typed; at its end, wait until the answers are there."""
    await talk.welcomed.wait()
    lines = typed_lines()
    while (line := await lines.get()) is not None:
        screen.entered()
        if line.strip():
            screen.typed(await talk.say(line))
            screen.busy = True
    while screen.busy or talk.unsent or time.monotonic() - screen.changed_s < QUIET_S:
        await asyncio.sleep(QUIET_S / 4)
