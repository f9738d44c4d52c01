"""The host of a gateway, as its suite sees it: what an author writes for a test.

Behind the gateway under test: something that steps sessions, or a log alone. The suite asks the
gateway as a channel does, and looks here at what became of it. A host may be shared by all tests of
a suite: each of them writes to conversations of its own. What it never does: judge; the suites do.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol
from uuid import uuid4

from engine.ports import Gateway, Incoming


class Took(NamedTuple):
    """Something durable that counts. `of`: the message's id, or that of the reply."""

    what: Literal["message", "stop", "up", "down"]
    of: str
    text: str = ""


class GatewayHost(Protocol):
    """The host of one channel account whose sessions are keyed by conversation and sender."""

    account: str

    @property
    def gateway(self) -> Gateway:
        """The account's gateway, taking people in."""

    async def took(self, session_id: str) -> Sequence[Took]:
        """What is durable of a session, in order, read from where it is durable.

        What its id shows to be a repetition counts once: a log may hold it twice.
        """


class RestartedGatewayHost(GatewayHost, Protocol):
    """A host that can end, and begin again over what is durable."""

    async def restart(self) -> None:
        """End at once, with nothing brought to an end, and begin again with another `gateway`."""


class FailingGatewayHost(GatewayHost, Protocol):
    """A host whose log can be made to fail: a full disk, a broker that is away."""

    async def fail(self) -> None:
        """Nothing becomes durable from now on; what is asked from now on cannot know."""

    async def mend(self) -> None:
        """Return once everything does again. `took` is only asked while nothing fails."""


class Person(NamedTuple):
    """Somebody in a conversation that no other test knows."""

    account: str
    conversation: str
    sender: str

    def says(self, message_id: str, text: str = "hello") -> Incoming:
        """A message, as a channel passes it on."""
        return Incoming(
            account=self.account,
            conversation=self.conversation,
            sender=self.sender,
            message_id=message_id,
            text=text,
        )

    def session_at(self, gateway: Gateway) -> str:
        """Their session."""
        return gateway.session_id(self.account, conversation=self.conversation, sender=self.sender)


def somebody(host: GatewayHost) -> Person:
    """A person who never wrote before."""
    return Person(host.account, f"room-{uuid4().hex}", f"ann-{uuid4().hex}")


def is_well_formed(text: str) -> bool:
    """No control characters but tab and line feed, no halves of a character."""
    return not any(
        (one < " " and one not in "\t\n") or "\x7f" <= one <= "\x9f" or "\ud800" <= one <= "\udfff"
        for one in text
    )
