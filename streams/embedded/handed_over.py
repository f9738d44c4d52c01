"""Which sessions are in a person's hands: kept in memory beside the steps, for the operators' page.

Fed by the host with each stepped session. After a restart it is filled from the sessions that have
something pending: a handed-over session always has its time-out.
"""

from engine.flow import Flow
from engine.session import Session
from streams.host_state import HandedOver


class HandedOverSessions:
    """The handed-over sessions of one host."""

    def __init__(self) -> None:
        self._sessions: dict[str, HandedOver] = {}

    def put(self, flow: Flow, session: Session) -> None:
        """A session has been stepped."""
        if not is_handed_over(flow, session):
            self._sessions.pop(session.id, None)
            return
        before = self._sessions.get(session.id)
        channel, account = session.id.split(":", 2)[:2]
        last = session.transcript[-1] if session.transcript else None
        answered = last is None or bool(last.bot)
        waiting = 0 if answered else sum(1 for turn in session.transcript if not turn.bot)
        self._sessions[session.id] = HandedOver(
            session_id=session.id,
            channel=channel,
            account=account,
            state=session.state,
            since_ms=session.now_ms if before is None else before.since_ms,
            last_ms=session.now_ms,
            last_text=last.user if last is not None else "",
            waiting=waiting,
        )

    def get(self, session_id: str) -> HandedOver | None:
        """The session, if it is in a person's hands."""
        return self._sessions.get(session_id)

    def all(self) -> list[HandedOver]:
        """All of them, the longest waiting first."""
        return sorted(self._sessions.values(), key=lambda s: (s.since_ms, s.session_id))


def is_handed_over(flow: Flow, session: Session) -> bool:
    """Whether a person has taken the session over."""
    try:
        path = flow.path(session.state)
    except KeyError:
        # Its next event takes it over into this flow, which does not have the state it stands in.
        return False
    return not flow.hands_over.isdisjoint(path)
