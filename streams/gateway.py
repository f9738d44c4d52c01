"""What one channel account may ask of its host: the `Gateway` port, the same on every host.

Between a channel and its host: each ask becomes an event by way of ingress, and returns once that
is durable. It keeps nothing.
"""

from typing import Literal, Protocol, cast

from engine.errors import Refused
from engine.ports import Incoming, Line, SessionView
from streams import ingress
from streams.ingress import Ingress, Taken


class Conversations(Protocol):
    """What a host does for the gateways of its channels."""

    def now_ms(self) -> int:
        """Log time."""

    async def submit(self, taken: Taken) -> None:
        """Return once the event is durable. Raises Unavailable."""

    async def require_known(self, session_id: str) -> None:
        """Raises Refused where nobody has written in the session, Unavailable where it may be."""

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after."""

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it."""


NOT_KNOWN = "nobody has written in this conversation yet: send a message first"
"""Said by hosts: a stop or a verdict would make a session, and whoever has a cookie may name any
conversation."""


class ChannelGateway:
    """What one channel account may ask of the host: the `Gateway` port."""

    def __init__(self, host: Conversations, routes: Ingress) -> None:
        self._host = host
        self._ingress = routes

    async def accept(self, incoming: Incoming) -> str:
        """Append the message's event; its session id, once that is durable."""
        taken = self._ingress.message(incoming, now_ms=self._host.now_ms())
        await self._host.submit(taken)
        return taken.append.session_id

    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        """The person pressed stop. Raises Refused where nobody has written yet."""
        await self._require_known(session_id)
        await self._host.submit(
            ingress.stop_requested(
                session_id, reply_id, request_id=request_id, now_ms=self._host.now_ms()
            )
        )

    async def feedback(
        self, session_id: str, *, reply_id: str, verdict: str, text: str, request_id: str = ""
    ) -> None:
        """The person judged a reply. Raises Refused where nobody has written yet."""
        await self._require_known(session_id)
        if verdict not in ("up", "down"):
            raise Refused(f"verdict {verdict!r}: it is `up` or `down`")
        judged = cast('Literal["up", "down"]', verdict)
        await self._host.submit(
            ingress.feedback_given(
                session_id,
                reply_id,
                verdict=judged,
                text=text,
                now_ms=self._host.now_ms(),
                request_id=request_id,
            )
        )

    def now_ms(self) -> int:
        """The log's time."""
        return self._host.now_ms()

    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        """The session that these platform ids lead to. Raises Refused for another account."""
        self._ingress.require_ours(account)
        return self._ingress.session_id(conversation, sender)

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after; none of another account's sessions."""
        if not self._ingress.is_ours(session_id):
            return []
        return await self._host.lines(session_id, after=after, limit=limit)

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it; None for one of another account."""
        if not self._ingress.is_ours(session_id):
            return None
        return await self._host.view(session_id)

    async def _require_known(self, session_id: str) -> None:
        if not self._ingress.is_ours(session_id):
            raise Refused(NOT_KNOWN)
        await self._host.require_known(session_id)
