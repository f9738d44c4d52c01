"""A conversation in a terminal: one question and its answer, or talk until Ctrl-D.

Between `ai-assistant chat` and the engine, which it reaches as web chat does. Imported only when
somebody chats: an HTTP client would be a tenth of the start of every worker.
"""

import asyncio
import contextlib
import os
import sys
import time

import click
import msgspec

from console import chat_client, chat_here
from console.chat_client import QUIET_S, Conversation, Identity, Said
from console.client import address
from console.screen import Screen, typed_lines
from statemachines import registry
from streams.settings import Settings

IDENTITY_FILE = "terminal.json"


def talk(settings: Settings, url: str | None, *, new: bool) -> None:
    """Talk until the input ends."""
    who = _identity(settings, url, new=new)
    asyncio.run(_talk(url or address(settings), who))


def apology(settings: Settings) -> str:
    """What the configured flow says where it has no answer; its line looks like any other."""
    kind = registry.find(settings.flow.name).Config
    return str(msgspec.json.decode(settings.flow.config, type=kind).apology)


def ask(
    settings: Settings, url: str | None, *, text: str, new: bool, within_s: float
) -> list[Said]:
    """The answer of the running engine, else of one that is started for it."""
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
