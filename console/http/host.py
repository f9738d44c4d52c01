"""What the HTTP app asks of the host it runs in: a Protocol, implemented by the hosts.

Between `console.http.app` and `streams`. All coroutines; none blocks the loop.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.personal import Personal
from engine.ports import Line


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A session that a person has taken over, or is to take over, as operators see it.

    `waiting`: messages nobody has answered yet. `since_ms`: when it was handed over.
    """

    session_id: str
    channel: str
    account: str
    state: str
    since_ms: int
    last_ms: int
    last_text: Personal
    waiting: int


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """How the host is, in numbers: for the command line and for `/healthz`.

    `reason`: why it is not ready; empty where it is. `lag`: events appended and not yet stepped.
    """

    ready: bool
    reason: str
    version: str
    flow: str
    started_ms: int
    sessions: int
    events: int
    lag: int
    undelivered: int
    dead_letters: int


class Host(Protocol):
    """What operators, probes and the command line may ask of a running host."""

    def state(self) -> HostState:
        """How it is just now; from memory, in microseconds."""

    async def operator_sessions(self) -> Sequence[HandedOver]:
        """All sessions in a person's hands, the longest waiting first."""

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after; none for an unknown session."""

    async def operator_say(
        self, session_id: str, *, request_id: str, text: str, operator: str
    ) -> None:
        """Say something to the person; returns once that is durable.

        The same `request_id` again is not said twice. Raises Refused (unknown session, not handed
        over, too long) and Unavailable.
        """

    async def hand_back(self, session_id: str, *, request_id: str, operator: str) -> None:
        """Give the session back to the bot, once. Raises Refused and Unavailable."""
