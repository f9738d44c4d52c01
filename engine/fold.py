"""Fold a history: step over its events in order, effects discarded.

Used by replays, tests and checks. Recovery does not fold: it reads sessions as they were stored.
"""

from collections.abc import Iterable

from engine.events import Event
from engine.flow import Flow
from engine.session import Session
from engine.step import new_session, step


def fold(flow: Flow, events: Iterable[Event], start: Session | None = None) -> Session | None:
    """The session after these events, all of one session; None where there are none.

    `start`: the session before them; without it the first event begins one.
    """
    session = start
    for event in events:
        if session is None:
            session = new_session(flow, event.session_id)
        session = step(flow, session, event).session
    return session
