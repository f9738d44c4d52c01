"""Every history that was ever recorded still folds to the very steps that were recorded."""

import os
import subprocess
import sys

import pytest
from msgspec.structs import replace

from engine import codec
from engine.events import FlowActivated
from engine.session import Session, StepRecord
from engine.step import new_session, step
from tests.histories.files import flows_of, names, read

_FOLD_ALL = """
from tests.histories.test_histories import folded
from tests.histories.files import names
print(*(folded(name) for name in names()))
"""


def folded(name: str) -> str:
    """The digest of the session after the whole history."""
    history = read(name)
    session: Session | None = None
    value = b""
    for event, flow in zip(history.events, flows_of(history), strict=True):
        session = session or new_session(flow, event.session_id)
        done = step(flow, session, event)
        session, value = done.session, done.encoded
    return codec.digest(value)


@pytest.mark.parametrize("name", names())
def test_a_recorded_history_folds_to_its_recorded_steps(name: str) -> None:
    history = read(name)
    session: Session | None = None
    for event, flow, written in zip(
        history.events, flows_of(history), history.records, strict=True
    ):
        recorded = codec.decode_step(written)
        session = session or new_session(flow, event.session_id)
        done = step(flow, session, event)
        assert _told(done.record) == _told(recorded), (
            f"{name} took another step at seq {recorded.seq}. If that is meant, raise the flow's "
            "version (or SEMANTICS, for the engine) and record a new history beside this one"
        )
        session = done.session


def _told(record: StepRecord) -> StepRecord:
    """The record, with an error's wording left out: it names functions, which may be renamed."""
    return record if record.error is None else replace(record, error="failed")


def test_two_hash_seeds_fold_to_equal_bytes() -> None:
    out = [
        subprocess.run(
            [sys.executable, "-c", _FOLD_ALL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "271828")
    ]
    assert out[0] == out[1]
    assert out[0].split() == [folded(name) for name in names()]


def test_histories_reach_what_they_are_for() -> None:
    notes, hows, triggers, errors, versions = set(), set(), set(), 0, set()
    for name in names():
        history = read(name)
        for event, written in zip(history.events, history.records, strict=True):
            record = codec.decode_step(written)
            notes.add(record.note)
            hows |= {ended.how for ended in record.dispositions}
            triggers |= {micro.trigger for micro in record.path}
            errors += record.error is not None
            if isinstance(event.body, FlowActivated):
                versions.add(record.flow.version)
    assert notes >= {"", "duplicate", "late", "expired", "ignored", "postponed", "refused"}
    assert hows >= {"answered", "merged", "forwarded", "refused", "expired", "failed"}
    assert triggers >= {"message_received", "model_replied", "skill_done", "request_failed"}
    assert triggers >= {"escalated", "person_requested", "operator_said", "handed_back", "idle"}
    assert errors >= 5
    assert versions == {1, 2}
