"""A step is total: no readable record makes it raise, or write what cannot be read again."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import codec
from engine.events import Body, Event, FlowActivated
from engine.session import Session
from engine.step import new_session, step
from tests.engine_laws.flows import NAMES, flows
from tests.engine_laws.records import made
from tests.engine_laws.strategies import START_MS, TEXTS

# A record made from its types has the text in every personal field: long ones would not fit.
SHORT = [*(text for text in TEXTS if len(text) < 100), "", "\x00", "\u2028", "💥" * 50]
LAST_MS = 253_402_300_799_999
bodies = st.builds(
    lambda kind, text: made(kind, text),
    st.sampled_from([kind for kind in get_args(Body) if kind is not FlowActivated]),
    st.sampled_from(SHORT),
)
times = st.sampled_from([0, 1, START_MS, START_MS + 3_000, START_MS + 10**8, LAST_MS - 1, LAST_MS])
events = st.builds(
    Event,
    id=st.sampled_from([f"s/{n}" for n in range(8)]),
    session_id=st.just("s"),
    at_ms=times,
    source=st.just("anybody"),
    body=bodies,
    sent_ms=st.none() | times,
    effect=st.none() | st.sampled_from(["s/0", "pending 0", "pending 1", "pending 2"]),
)


@given(name=st.sampled_from(NAMES), strange=st.lists(events, max_size=25))
def test_no_record_makes_a_step_raise(name: str, strange: list[Event]) -> None:
    flow = flows(name)[0]
    session = new_session(flow, "s")
    for event in strange:
        event = codec.decode_event(codec.encode(_aimed(event, session)))
        done = step(flow, session, event)
        assert codec.decode_session(done.encoded) == done.session
        assert codec.decode_step(done.encoded_record) == done.record
        assert done.session.seq == session.seq + 1
        assert done.session.now_ms == max(session.now_ms, event.at_ms)
        session = done.session


def _aimed(event: Event, session: Session) -> Event:
    """An outcome of whatever kind, for whatever is really pending."""
    if event.effect is None or not event.effect.startswith("pending") or not session.pending:
        return event
    which = int(event.effect[-1]) % len(session.pending)
    return replace(event, effect=session.pending[which].effect_id)
