"""One question to an engine of this very process: `chat --once` where none runs on the directory.

The same engine, flow, model and log as `run`, without its web server; the conversation is one of
web chat, so that it can be gone on with later. It never stays behind when the answer is there.
"""

import asyncio
import time
from collections.abc import Mapping

import msgspec

from adapters.channels.webchat_cookie import PersonCookie
from adapters.logs.sqlite_lock import FileLock
from console.chat_client import QUIET_S, Identity, Said, new_conversation
from console.serving import running
from engine.errors import Refused, Unavailable
from engine.ports import Gateway, Incoming, Line
from streams.embedded import data_dir
from streams.settings import Settings

LOOK_EVERY_S = 0.05


def runs(settings: Settings) -> bool:
    """Whether an engine has this data directory just now."""
    file = settings.server.data_dir / data_dir.LOG_FILE
    if not file.exists():
        return False
    try:
        FileLock(file).release()
    except Refused:
        return True
    return False


def own_identity(settings: Settings) -> Identity:
    """A new person of this data directory, made without a server. Raises Refused."""
    data_dir.prepare(settings.server.data_dir)
    cookie = PersonCookie(data_dir.keys(settings.server.data_dir).cookies).new()
    return Identity(cookie=cookie, conversation=new_conversation())


async def ask(
    settings: Settings, who: Identity, *, text: str, env: Mapping[str, str], within_s: float
) -> list[Said]:
    """Start an engine, say `text`, stop the engine; what it said.

    Raises: Refused with what is wrong; Unavailable where there is no answer in time.
    """
    with_chat = msgspec.structs.replace(settings.webchat, enabled=True)
    settings = msgspec.structs.replace(settings, webchat=with_chat)
    try:
        async with asyncio.timeout(within_s), running(settings, env) as engine:
            gateway = engine.webchat.gateway
            session_id, message_id = await _say(gateway, settings, who, text)
            return await _answers(gateway, session_id, message_id)
    except TimeoutError:
        raise Unavailable(f"no answer within {within_s:.0f} s: ask again later") from None


async def _say(gateway: Gateway, settings: Settings, who: Identity, text: str) -> tuple[str, str]:
    message_id = new_conversation()
    incoming = Incoming(
        account=settings.webchat.account,
        conversation=who.conversation,
        sender=who.cookie.partition(".")[0],
        message_id=message_id,
        text=text,
    )
    return await gateway.accept(incoming), message_id


async def _answers(gateway: Gateway, session_id: str, message_id: str) -> list[Said]:
    """What was said after our message, once the session is not busy and has been quiet."""
    quiet_since = time.monotonic()
    answers: list[Line] = []
    while True:
        lines = await _all_lines(gateway, session_id)
        mine = next((line.n for line in lines if line.id == message_id), None)
        said = [line for line in lines if mine is not None and line.n > mine]
        view = await gateway.view(session_id)
        busy = view is None or view.busy
        if busy or len(said) != len(answers):
            quiet_since = time.monotonic()
        answers = said
        if answers and not busy and time.monotonic() - quiet_since >= QUIET_S:
            return [Said(author=a.author, text=a.text, at_ms=a.at_ms) for a in answers]
        await asyncio.sleep(LOOK_EVERY_S)


async def _all_lines(gateway: Gateway, session_id: str) -> list[Line]:
    lines: list[Line] = []
    while page := await gateway.lines(session_id, after=len(lines), limit=500):
        lines += page
    return lines
