"""What one step costs, and where its time goes: `python -m bench.step_cost [--json]`.

A turn here is two steps: a message that leads to a model call, and its outcome that is said. Steps
are folded as a session worker does them: the session stays decoded, event and effects are encoded.
The table flow of the laws has no `transitions` in it, so its figure is the engine's own share.
It prints microseconds of CPU for each step; it never writes anything.
"""

import argparse
import cProfile
import io
import json
import pstats
from collections.abc import Callable, Sequence
from time import process_time_ns

from engine import codec
from engine.events import Event
from engine.flow import Flow
from engine.session import Session
from engine.step import new_session, step
from statemachines.assistant import Assistant
from tests.engine_laws.strategies import Outcome, Play, Say, Wait
from tests.engine_laws.table_flow import TableFlow

TURN_APART_MS = 60_000
REPEATS = 20


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=1_000)
    parser.add_argument("--profile", action="store_true", help="also show where the time goes")
    options = parser.parse_args()
    figures = measured(options.turns)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:52} {value:10.1f}")
    if options.profile:
        print(profile(options.turns))


def measured(turns: int) -> dict[str, float]:
    """The figures by name: microseconds for each step, bytes for the session."""
    figures: dict[str, float] = {}
    flows: dict[str, Flow] = {"table flow": TableFlow(), "assistant": Assistant()}
    for name, flow in flows.items():
        events = history(flow, turns)
        figures[f"{name}: step, us"] = per_step(flow, events, way=_step_only)
        figures[f"{name}: step, event decoded, us"] = per_step(flow, events, way=_warm)
        figures[f"{name}: step with codec both ways, us"] = per_step(flow, events, way=_with_codec)
        figures[f"{name}: session, bytes"] = float(len(codec.encode(folded(flow, events))))
    flow = flows["table flow"]
    for count in (10, 100, 1_500, 10_000):
        tail = history(flow, count + 100)
        share = len(tail) * 100 // (count + 100)
        start = folded(flow, tail[:-share])
        for name, way in (("in memory", _warm), ("decoded", _with_codec)):
            cost = per_step(flow, tail[-share:], way=way, start=start)
            figures[f"after {count} turns, session {name}: step, us"] = cost
    return figures


def history(flow: Flow, turns: int) -> list[Event]:
    """The events of a dialog of so many turns, a minute apart."""
    play = Play([flow])
    for _ in range(turns):
        play.act(Say("hi"))
        if not play.waiting():
            play.act(Wait(None))
        play.act(Outcome(0))
        play.clock_ms += TURN_APART_MS
    return play.events


def folded(flow: Flow, events: Sequence[Event]) -> Session:
    session = new_session(flow, events[0].session_id)
    for event in events:
        session = step(flow, session, event).session
    return session


Way = Callable[[Flow, Session, bytes, Event], Session]


def per_step(
    flow: Flow, events: Sequence[Event], *, way: Way, start: Session | None = None
) -> float:
    """Microseconds of CPU for each step; the best of many folds, since other work disturbs."""
    values = [codec.encode(event) for event in events]
    best = None
    for _ in range(REPEATS):
        session = start or new_session(flow, events[0].session_id)
        began = process_time_ns()
        for value, event in zip(values, events, strict=True):
            session = way(flow, session, value, event)
        spent = process_time_ns() - began
        best = spent if best is None else min(best, spent)
    assert best is not None
    return best / 1_000 / len(events)


def _step_only(flow: Flow, session: Session, value: bytes, event: Event) -> Session:
    return step(flow, session, event).session


def _warm(flow: Flow, session: Session, value: bytes, event: Event) -> Session:
    """As when the session is in memory: the event is decoded, session and record are encoded."""
    return step(flow, session, codec.decode_event(value)).session


def _with_codec(flow: Flow, session: Session, value: bytes, event: Event) -> Session:
    """As when the session is not in memory: event and session are decoded, too."""
    return codec.decode_session(step(flow, session, codec.decode_event(value)).encoded)


def profile(turns: int) -> str:
    """The twenty functions in which a fold with codec spends most."""
    flow = TableFlow()
    events = history(flow, turns)
    profiler = cProfile.Profile()
    profiler.enable()
    per_step(flow, events, way=_with_codec)
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(20)
    return text.getvalue()


if __name__ == "__main__":
    main()
