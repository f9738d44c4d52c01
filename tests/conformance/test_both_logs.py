"""The SQLite log and its specification, side by side: whatever is written, they read the same."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.logs.memory import MemoryLog
from adapters.logs.sqlite import SqliteLog
from engine.ports import Owner, SessionRow
from testkit.conformance.storage import (
    A,
    B,
    Storage,
    a_delivery,
    a_letter,
    a_line,
    a_step,
    all_of,
    an_event,
)

sessions = st.sampled_from([A, B])
few = st.integers(0, 5)
states = st.sampled_from(["queued", "sending", "sent", "failed", "closed"])
calls = st.one_of(
    st.tuples(st.just("event"), st.sampled_from([A, B, ""]), few),
    st.tuples(st.just("stepped"), sessions, few),
    st.tuples(st.just("materialised"), sessions, few),
    st.tuples(st.just("session"), sessions, few),
    st.tuples(st.just("delivery"), sessions, few, states),
    st.tuples(st.just("line"), sessions, few),
    st.tuples(st.just("letter"), sessions, few),
    st.tuples(st.just("watermark"), sessions, few),
    st.tuples(st.just("claim"), sessions, few),
)
blocks = st.lists(st.tuples(st.lists(calls, max_size=12), st.booleans()), max_size=8)


class Stop(Exception):
    """Ends a block early."""


def run(log: Storage, owner: Owner, block: list[Any], *, stop: bool) -> list[Any]:
    """What the calls of one batch returned, and how it ended."""
    said: list[Any] = []
    try:
        with log.transaction(owner) as batch:
            for what, session_id, n, *rest in block:
                said.append(one_call(log, batch, (what, session_id, n, *rest)))
            if stop:
                raise Stop
    except Exception as error:
        said.append(type(error))
    return said


def one_call(log: Storage, batch: Any, call: tuple[Any, ...]) -> Any:
    what, session_id, n, *rest = call
    match what:
        case "event":
            return batch.append([an_event(session_id, n)], at_ms=n)
        case "stepped":
            offset = batch.append([an_event(session_id, n)], at_ms=n)[0]
            return batch.put_steps([a_step(session_id, n, seq=offset, offset=offset)], at_ms=n)
        case "materialised":
            return batch.put_steps([a_step(session_id, n + 50, seq=1_000 + n, offset=0)], at_ms=n)
        case "session":
            return batch.put_sessions([SessionRow(session_id, b"%d" % n, n > 0)])
        case "delivery":
            one = a_delivery(session_id, n, state=rest[0])
            old = log.delivery(one.reply_id)
            has_ended = old is not None and old.state not in ("queued", "sending")
            return batch.put_deliveries([] if has_ended else [one])
        case "line":
            return batch.put_lines([a_line(session_id, f"m{n}", text=f"by {what}")])
        case "letter":
            return batch.put_dead_letters([a_letter(n)])
        case "watermark":
            return batch.put_watermark(n)
        case "claim":
            return log.claim(0).token


def one_by_one(log: Storage) -> list[Any]:
    """All that is found by an id."""
    events = [an_event(one, n).event_id for one in (A, B, "") for n in (*range(6), *range(50, 56))]
    replies = [a_delivery(one, n).reply_id for one in (A, B) for n in range(6)]
    return [
        *map(log.find_event, events),
        *map(log.step_of, events),
        *map(log.delivery, replies),
        *map(log.get, (A, B, "")),
    ]


@given(blocks)
@settings(max_examples=40, deadline=None)
def test_both_logs_return_and_show_the_same(blocks: list[tuple[list[Any], bool]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.db"
        memory, sqlite = MemoryLog(), SqliteLog(path)
        owners = memory.claim(0), sqlite.claim(0)
        for block, stop in blocks:
            assert run(memory, owners[0], block, stop=stop) == run(
                sqlite, owners[1], block, stop=stop
            )
            assert all_of(memory) == all_of(sqlite)
            assert one_by_one(memory) == one_by_one(sqlite)
            if any(call[0] == "claim" for call in block):
                owners = memory.claim(0), sqlite.claim(0)
        sqlite.close()
        sqlite = SqliteLog(path)
        assert all_of(memory) == all_of(sqlite)
        sqlite.close()
