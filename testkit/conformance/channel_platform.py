"""The platform's side of a channel, as its suite plays it: what an author writes for a test.

Facing the channel under test; `channel_gateway` is the host behind the channel. An author writes
one class: a stand-in for the platform's server, or a client of the channel's own server, by which
the suite hands messages over and sees what a person sees. What it never does: judge; the suites do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from engine.ports import Channel, Incoming
from testkit.conformance.channel_gateway import SuiteGateway
from testkit.conformance.loop import WITHIN_S, entered

SEEN_WITHIN_S = 5.0
"""From what a channel did to what a person sees: platforms here are on the same machine."""


class Wrote(NamedTuple):
    """What a person wrote. `id` names it: the same one handed over again is the same message."""

    id: str
    text: str
    person: str = "ann"


class Handed(NamedTuple):
    """How the channel answered the platform.

    `acknowledged`: the platform forgets it. `kept`: the channel did not answer, or said to come
    back, so it is handed over again. `refused`: it is not, and the person is `told` why.
    """

    how: Literal["acknowledged", "kept", "refused"]
    told: str = ""


class Sight(NamedTuple):
    """One message of the bot's on a person's screen.

    `id`: the platform's. `ended`: nothing says that it still grows. `changes`: how often the
    platform was given a text for it.
    """

    id: str
    text: str
    ended: bool = True
    changes: int = 1


class Platform(Protocol):
    """One account of the platform. Each person has one conversation with it, and looks at it."""

    async def connect(self) -> Channel:
        """A new channel for the account, not started. A second one comes after a restart."""

    async def hand_over(self, wrote: Wrote) -> Handed:
        """Hand a message over once, as the platform does, and wait for the channel's answer."""

    async def hand_over_raw(self, payload: bytes) -> Handed:
        """The same with a payload that is no message."""

    async def sights(self, person: str) -> list[Sight]:
        """All that the bot said to this person, the oldest first."""


Mood = Literal["well", "away", "busy", "refuses", "silent", "drops"]
"""How a platform treats a call: takes it; cannot be reached; says to come back in `BUSY_MS`; says
no for good; takes it and never answers; takes it and breaks the connection."""

BUSY_MS = 2_000


class CalledPlatform(Platform, Protocol):
    """A platform that a channel has to call."""

    def treat(self, mood: Mood) -> None:
        """How calls are treated from now on."""


class PlatformWithButtons(Platform, Protocol):
    """A platform on which a person can stop a reply and judge it."""

    async def press(
        self, person: str, button: Literal["stop", "up", "down"], *, reply_id: str, press_id: str
    ) -> Handed:
        """Hand a press over once; the same `press_id` again is the same press."""


P = TypeVar("P", bound=Platform)


class Connected(NamedTuple, Generic[P]):
    """A channel with its platform on one side and its host on the other."""

    platform: P
    gateway: SuiteGateway
    channel: Channel

    async def met(self, person: str = "ann") -> Incoming:
        """This person has written: whom to answer."""
        handed = await self.platform.hand_over(Wrote(f"hello-{person}", "hello", person))
        assert handed.how == "acknowledged", handed
        return self.gateway.taken[-1]

    async def seen(
        self, person: str, holds: Callable[[list[Sight]], bool], *, what: str
    ) -> list[Sight]:
        """What the person sees once it is so, or at the latest after `SEEN_WITHIN_S`."""
        ends_s = asyncio.get_running_loop().time() + SEEN_WITHIN_S
        while not holds(sights := await self.platform.sights(person)):
            late = asyncio.get_running_loop().time() > ends_s
            assert not late, f"{person} sees {_short(sights)}, not {what}"
            await asyncio.sleep(0.01)
        return sights

    async def seen_reply(self, person: str, text: str) -> Sight:
        """The bot's last message to this person, once it has ended with this text."""
        what = f"the reply {text[:40]!r}, ended"
        sights = await self.seen(
            person, lambda seen: bool(seen) and seen[-1][1:3] == (text, True), what=what
        )
        return sights[-1]


@asynccontextmanager
async def connected(given: P | AbstractAsyncContextManager[P]) -> AsyncIterator[Connected[P]]:
    """The platform that a fixture gave, and a started channel; afterwards nothing of it is left."""
    async with entered(given) as platform:
        gateway = SuiteGateway()
        channel = await platform.connect()
        await gateway.run(channel)
        try:
            yield Connected(platform, gateway, channel)
        finally:
            gateway.commits.set()
            await asyncio.wait_for(channel.close(), WITHIN_S)


@asynccontextmanager
async def restarted(before: Connected[P]) -> AsyncIterator[Connected[P]]:
    """The same account after a restart of its process: another channel, the same log."""
    await asyncio.wait_for(before.channel.close(), WITHIN_S)
    channel = await before.platform.connect()
    await before.gateway.run(channel)
    try:
        yield Connected(before.platform, before.gateway, channel)
    finally:
        await asyncio.wait_for(channel.close(), WITHIN_S)


def _short(sights: list[Sight]) -> str:
    return str([sight._replace(text=sight.text[:40]) for sight in sights[-3:]])
