"""What one channel account may ask of the embedded host: the `Gateway` port.

Between a channel and `EmbeddedHost`: each ask becomes an event by way of ingress, and returns once
that is durable. It keeps nothing.
"""

from typing import TYPE_CHECKING, Literal, cast

from engine.errors import Refused
from engine.ports import Incoming, Line, SessionView
from streams import ingress
from streams.ingress import Ingress

if TYPE_CHECKING:
    from streams.embedded.host import EmbeddedHost


class ChannelGateway:
    """What one channel account may ask of the host: the `Gateway` port."""

    def __init__(self, host: "EmbeddedHost", routes: Ingress) -> None:
        self._host = host
        self._ingress = routes

    async def accept(self, incoming: Incoming) -> str:
        """Append the message's event; its session id, once that is durable."""
        taken = self._ingress.message(incoming, now_ms=self._host.now_ms())
        await self._host.submit(taken)
        return taken.append.session_id

    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        """The person pressed stop. Raises Refused where nobody has written yet."""
        self._require_known(session_id)
        await self._host.submit(
            ingress.stop_requested(
                session_id, reply_id, request_id=request_id, now_ms=self._host.now_ms()
            )
        )

    async def feedback(
        self, session_id: str, *, reply_id: str, verdict: str, text: str, request_id: str = ""
    ) -> None:
        """The person judged a reply. Raises Refused where nobody has written yet."""
        self._require_known(session_id)
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

    def _require_known(self, session_id: str) -> None:
        self._host.require_running()
        # Its event would make a session, and whoever has a cookie may name any conversation.
        if not self._host.knows(session_id):
            raise Refused("nobody has written in this conversation yet: send a message first")

    def now_ms(self) -> int:
        """The log's time."""
        return self._host.now_ms()

    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        """The session that these platform ids lead to."""
        return self._ingress.session_id(conversation, sender)

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after."""
        return await self._host.lines(session_id, after=after, limit=limit)

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it."""
        return await self._host.view(session_id)
