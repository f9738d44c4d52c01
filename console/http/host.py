"""What the HTTP app asks of the host it runs in: a Protocol, implemented by the hosts.

Between `console.http.app` and `streams`. All coroutines; none blocks the loop.
"""

from collections.abc import Sequence
from typing import Protocol

from engine.ports import Line
from streams.host_state import HandedOver, HostState


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

    async def redrive(self, number: str, *, operator: str) -> None:
        """Take a dead letter's message again, once. Raises Refused and Unavailable."""
