"""Folds a data directory's log again, as nobody but the log would know it."""

from pathlib import Path

from adapters.logs.sqlite import SqliteLog
from engine import codec
from engine.errors import InvalidRecord
from engine.events import Event, FlowActivated
from engine.session import Session, StepRecord
from engine.step import new_session, step
from statemachines import registry
from streams.embedded import LOG_FILE
from streams.sessions import activation

MANY = 1_000_000


def opened(directory: Path) -> SqliteLog:
    """The directory's log for reading, beside whoever writes it."""
    return SqliteLog(directory / LOG_FILE, read_only=True)


def folds(directory: Path) -> int:
    """Every session's history folds to its stored bytes; how many steps that were.

    Each step must give the very digest that was recorded, and each event must have been stepped
    once, or be a dead letter.
    """
    log = opened(directory)
    try:
        controls = [_event(record.value) for record in log.history("")]
        flows = {c.body.flow: _flow(c) for c in controls if isinstance(c.body, FlowActivated)}
        letters = {letter.offset for letter in log.dead_letters()}
        names = [name for name, value in log.sessions(limit=MANY) if name]
        return sum(_folds_one(log, name, flows, letters) for name in names)
    finally:
        log.close()


def _flow(control: Event) -> tuple[object, Event]:
    assert isinstance(control.body, FlowActivated)
    return registry.build(control.body.flow, bytes(control.body.config)), control


def _folds_one(log: SqliteLog, name: str, flows: dict, letters: set[int]) -> int:
    events = {
        record.offset: _event(record.value)
        for record in log.history(name)
        if record.offset not in letters
    }
    rows = log.steps(name, after_seq=0, limit=MANY)
    assert {row.offset for row in rows if row.offset} == set(events), "an event without its step"
    session: Session | None = None
    for row in rows:
        recorded = codec.decode_step(row.value)
        flow, control = flows[recorded.flow]
        session = session or new_session(flow, name)
        event = events[row.offset] if row.offset else activation(control, session)
        done = step(flow, session, event)
        assert done.encoded_record == row.value, f"{event.type} at {row.offset}"
        session = done.session
    assert session is not None
    assert codec.encode(session) == log.get(name)
    return len(rows)


def steps_of(directory: Path, session_id: str) -> list[StepRecord]:
    """The session's step records, in order."""
    log = opened(directory)
    try:
        return [codec.decode_step(r.value) for r in log.steps(session_id, after_seq=0, limit=MANY)]
    finally:
        log.close()


def dispositions(directory: Path) -> list[str]:
    """How each message of the log ended, in order; one word for each."""
    log = opened(directory)
    try:
        names = [name for name, _ in log.sessions(limit=MANY) if name]
    finally:
        log.close()
    ended = [
        d for name in names for record in steps_of(directory, name) for d in record.dispositions
    ]
    assert len({d.message for d in ended}) == len(ended), "a message has two dispositions"
    return [d.how for d in ended]


def _event(value: bytes) -> Event:
    try:
        return codec.decode_event(value)
    except InvalidRecord as error:
        raise AssertionError(f"an event that cannot be read: {error}") from error
