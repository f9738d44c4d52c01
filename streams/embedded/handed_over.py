"""Which sessions are in a person's hands: kept in memory beside the steps, for the operators' page.

Fed by the host with each stepped session, and after a restart with what the pipeline found among
the sessions that have something pending: a handed-over session always has its time-out.
"""

from engine.session import Session
from streams.host_state import HandedOver


class HandedOverSessions:
    """The handed-over sessions of one host."""

    def __init__(self) -> None:
        self._sessions: dict[str, HandedOver] = {}

    def put(self, session: Session, *, since_ms: int) -> None:
        """The session is in a person's hands; `since_ms` counts where it was not before."""
        before = self._sessions.get(session.id)
        channel, account = session.id.split(":", 2)[:2]
        last = session.transcript[-1] if session.transcript else None
        said = [bool(turn.bot) for turn in session.transcript]
        # Turns that were answered together have their answer in the last of them.
        waiting = said[::-1].index(True) if True in said else len(said)
        self._sessions[session.id] = HandedOver(
            session_id=session.id,
            channel=channel,
            account=account,
            state=session.state,
            since_ms=since_ms if before is None else before.since_ms,
            last_ms=session.now_ms,
            last_text=last.user if last is not None else "",
            waiting=waiting,
        )

    def drop(self, session_id: str) -> None:
        """The session is with the bot."""
        self._sessions.pop(session_id, None)

    def get(self, session_id: str) -> HandedOver | None:
        """The session, if it is in a person's hands."""
        return self._sessions.get(session_id)

    def all(self) -> list[HandedOver]:
        """All of them, the longest waiting first."""
        return sorted(self._sessions.values(), key=lambda s: (s.since_ms, s.session_id))
