"""What a session's step records tell of what still stands: requests, and a person's taking over.

For a restart of the embedded host, and for a promotion of its log to a cluster: the session itself
knows what it awaits, and only its steps hold what it asked for.
"""

from engine import codec
from engine.effects import Effect, RunnerRequest
from engine.flow import Flow
from engine.session import Session
from engine.transcript import expand
from streams.embedded.store import Store
from streams.handed_over import in_a_persons_hands

STEPS_BACK = (8, 128, 1_000_000)
"""How far to look back for a request that is pending: it is nearly always the last."""
HANDED_OVER_BACK = 200
"""Steps to look back for when a person took a session over."""


def pending_requests(store: Store, session: Session) -> list[RunnerRequest]:
    """The pending requests, oldest first, as runners take them.

    One that is not found in the steps is left to its deadline.
    """
    wanted = {p.effect_id for p in session.pending if p.kind != "timer"}
    found: dict[str, Effect] = {}
    for back in STEPS_BACK:
        if len(found) == len(wanted):
            break
        rows = store.steps(session.id, after_seq=session.seq - back, limit=back)
        effects = [e for row in rows for e in codec.decode_step(row.value).effects]
        found = {e.id: e for e in effects if e.id in wanted}
    return [expand(session, effect) for effect in found.values()]


def handed_over_ms(store: Store, session: Session, *, flow: Flow) -> int:
    """When a session that is in a person's hands came there; roughly, if that is long ago."""
    after, limit = session.seq - HANDED_OVER_BACK, HANDED_OVER_BACK
    rows = store.steps(session.id, after_seq=after, limit=limit)
    times = dict(store.step_times(session.id, after_seq=after, limit=limit))
    since_ms = session.now_ms
    for row in reversed(rows):
        if not in_a_persons_hands(flow, codec.decode_step(row.value).after):
            break
        since_ms = times.get(row.seq, since_ms)
    return since_ms
