"""Which sessions are in a person's hands: beside the steps, for the operators' page.

Fed by the hosts with each stepped session, and after a restart with what they found among the
sessions that have something pending: a handed-over session always has its time-out. Plain code.
"""

from engine.flow import Flow
from engine.ids import account_of
from engine.session import Session
from streams.host_state import HandedOver


def in_a_persons_hands(flow: Flow, state: str) -> bool:
    """Whether a person has taken over in this state; no for a state that the flow does not have."""
    try:
        return not flow.hands_over.isdisjoint(flow.path(state))
    except KeyError:
        return False


def handed_over(session: Session, *, since_ms: int) -> HandedOver:
    """A session in a person's hands, as operators see it."""
    channel, account = account_of(session.id)
    last = session.transcript[-1] if session.transcript else None
    said = [bool(turn.bot) for turn in session.transcript]
    # Turns that were answered together have their answer in the last of them.
    waiting = said[::-1].index(True) if True in said else len(said)
    return HandedOver(
        session_id=session.id,
        channel=channel,
        account=account,
        state=session.state,
        since_ms=since_ms,
        last_ms=session.now_ms,
        last_text=last.user if last is not None else "",
        waiting=waiting,
    )


class HandedOverSessions:
    """The handed-over sessions of one host."""

    def __init__(self) -> None:
        self._sessions: dict[str, HandedOver] = {}

    def put(self, session: Session, *, since_ms: int) -> None:
        """The session is in a person's hands; `since_ms` counts where it was not before."""
        before = self._sessions.get(session.id)
        since_ms = since_ms if before is None else before.since_ms
        self._sessions[session.id] = handed_over(session, since_ms=since_ms)

    def drop(self, session_id: str) -> None:
        """The session is with the bot."""
        self._sessions.pop(session_id, None)

    def get(self, session_id: str) -> HandedOver | None:
        """The session, if it is in a person's hands."""
        return self._sessions.get(session_id)

    def all(self) -> list[HandedOver]:
        """All of them, the longest waiting first."""
        return sorted(self._sessions.values(), key=lambda s: (s.since_ms, s.session_id))
