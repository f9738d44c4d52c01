"""How ids, deliveries and lines look in a row, and how they are read back.

Place in the data path: between `adapters.logs.sqlite*` and the tables of `sqlite_schema`. Values
that only this log reads are MessagePack. What it never does: touch a database.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from engine.events import Address
from engine.ids import ID_BYTES
from engine.ports import DeadLetter, Delivery, DeliveryState, Line, LogRecord, StepRow

Key = bytes | str
Row = tuple[Any, ...]  # what SQLite takes and gives: int, str, bytes or None, column by column

_HEX_CHARS = 2 * ID_BYTES
_packed = msgspec.msgpack.Encoder().encode


class _Delivery(NamedTuple):
    """A delivery in its row, without its ids."""

    state: DeliveryState
    text: str | None
    queued_ms: int
    sending_ms: int | None
    receipted_ms: int | None
    platform_ids: tuple[str, ...]
    kind: Literal["message", "reply"]
    cause: Any  # a Key: msgspec decodes no union of bytes and str
    address: Address
    how: str
    author: str
    attempt: int
    error: str
    withdrawn_ms: int | None = None


class _Line(NamedTuple):
    """A line in its row, without its ids and its number."""

    author: str
    text: str
    at_ms: int
    how: str


_delivery = msgspec.msgpack.Decoder(_Delivery)
_line = msgspec.msgpack.Decoder(_Line)


def key_of(session_id: str, record_id: str) -> Key:
    """An id without its session: 16 bytes where that is all there is to it, else as it is."""
    start = len(session_id)
    if len(record_id) == start + 1 + _HEX_CHARS and record_id.startswith(session_id):
        tail = record_id[start + 1 :]
        try:
            key = bytes.fromhex(tail)
        except ValueError:
            return record_id
        # Capitals and spaces are hex too, for Python, but would not come back as they were.
        if record_id[start] == "/" and key.hex() == tail:
            return key
    return record_id


def id_of(session_id: str, key: Key) -> str:
    """The id that `key_of` made this key from."""
    return key if isinstance(key, str) else f"{session_id}/{key.hex()}"


def packed_delivery(one: Delivery) -> bytes:
    """All of it but its own id and its session's."""
    cause = key_of(one.session_id, one.cause)
    times = (one.queued_ms, one.sending_ms, one.receipted_ms)
    rest = (one.address, one.how, one.author, one.attempt, one.error, one.withdrawn_ms)
    return _packed((one.state, one.text, *times, one.platform_ids, one.kind, cause, *rest))


def delivery_of(row: Row) -> Delivery:
    """From (session id, key, value)."""
    session_id, key, value = row
    one = _delivery.decode(value)
    return Delivery(
        reply_id=id_of(session_id, key),
        session_id=session_id,
        cause=id_of(session_id, one.cause),
        kind=one.kind,
        address=one.address,
        state=one.state,
        text=one.text,
        how=one.how,
        author=one.author,
        attempt=one.attempt,
        queued_ms=one.queued_ms,
        sending_ms=one.sending_ms,
        receipted_ms=one.receipted_ms,
        platform_ids=one.platform_ids,
        error=one.error,
        withdrawn_ms=one.withdrawn_ms,
    )


def packed_line(one: Line) -> bytes:
    """All of it but its ids and its number."""
    return _packed((one.author, one.text, one.at_ms, one.how))


def line_of(session_id: str, row: Row) -> Line:
    """From (n, key, value)."""
    n, key, value = row
    one = _line.decode(value)
    return Line(
        session_id=session_id,
        id=id_of(session_id, key),
        author=one.author,
        text=one.text,
        at_ms=one.at_ms,
        n=n,
        how=one.how,
    )


def step_of(session_id: str, row: Row) -> StepRow:
    """From (place, seq, key, value)."""
    place, seq, key, value = row
    return StepRow(session_id, seq, id_of(session_id, key), max(place, 0), value)


def dead_letter_of(row: Row) -> DeadLetter:
    """From (offset, session_id, error, at_ms, redriven_ms, value)."""
    offset, session_id, error, at_ms, redriven_ms, value = row
    return DeadLetter(
        partition=0,
        offset=offset,
        session_id=session_id,
        error=error,
        value=value,
        at_ms=at_ms,
        redriven_ms=redriven_ms,
    )


def record_of(row: Row) -> LogRecord:
    """From (offset, session id, value, appended_ms)."""
    return LogRecord(*row)
