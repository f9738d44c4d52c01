"""Records to bytes and back: the only place where a wire form is decided.

JSON, so that a person with a console consumer can read it; canonical, so that equal records give
equal bytes. A session with a long memory is one line of JSON, a line feed, and the older part of
`seen` as it is: twelve kilobytes that rarely change are neither encoded nor hashed. Reads every
schema that was ever written (`engine.upcast`), writes the newest. Has the seam to seal personal
fields with a per-subject key. What it never does: quote a record in an error.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import force_setattr, replace

from engine import upcast
from engine.effects import Effect, ModelRequest, RunnerRequest, SkillRequest
from engine.errors import InvalidRecord
from engine.events import EVENT_SCHEMA, Event
from engine.limits import EVENT_BYTES_MAX
from engine.ports import DeadLetter, Delivery
from engine.seen import newest_bytes
from engine.session import SESSION_SCHEMA, STEP_SCHEMA, Session, StepRecord

T = TypeVar("T")
Seal = Callable[[str, str, str], str]
"""(record id, field path, text) -> text: seals when encoding, opens when decoding.

One that keeps nothing of the text masks the record, which can then be shown to anybody.
"""

_encode = msgspec.json.Encoder().encode
_event = msgspec.json.Decoder(Event)
_session = msgspec.json.Decoder(Session)
_step = msgspec.json.Decoder(StepRecord)
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError)
# Of what msgspec says of a fault, only this quotes a value; where it stands, if told, comes last.
_QUOTES = re.compile(r"^(Invalid (?:enum )?value) .*?( - at (?:`key` in )?`[^`]*`)?$", re.DOTALL)


def encode(record: msgspec.Struct, seal: Seal | None = None) -> bytes:
    """Canonical bytes. With `seal`, personal fields go through it first."""
    if seal is None:
        return _encode(record) if type(record) is not Session else _encoded_session(record)
    plain = _plain(record)
    identity = _identity(plain)

    def sealed(path: str, text: str) -> str:
        return seal(identity, path, text)

    return _encode(_rewritten(plain, type(record), sealed, ""))


def decode_event(value: bytes, unseal: Seal | None = None) -> Event:
    """An event of any schema that was ever written. Raises InvalidRecord."""
    if len(value) > EVENT_BYTES_MAX:
        raise InvalidRecord(f"event of {len(value)} bytes: at most {EVENT_BYTES_MAX}")
    return _decoded(value, _event, EVENT_SCHEMA, "event", unseal)


def decode_session(value: bytes, unseal: Seal | None = None) -> Session:
    """A session of any schema that was ever written. Raises InvalidRecord."""
    line, _, older = value.partition(b"\n")
    session = _decoded(line, _session, SESSION_SCHEMA, "session", unseal)
    if older:
        # It was made just now, and nobody else holds it: filling it in is cheaper than a copy.
        force_setattr(session, "seen", session.seen + older)
    return session


def decode_step(value: bytes, unseal: Seal | None = None) -> StepRecord:
    """A step record of any schema that was ever written. Raises InvalidRecord."""
    return _decoded(value, _step, STEP_SCHEMA, "step", unseal)


def digest(value: bytes) -> str:
    """BLAKE2b-16 of canonical bytes, hex; of their line, where more follows it.

    The line names what follows by a digest of its own (`engine.seen`).
    """
    return blake2b(value.partition(b"\n")[0], digest_size=16).hexdigest()


def fault(error: Exception) -> str:
    """What is wrong with a record that was not decoded, without the value that msgspec quotes."""
    return _QUOTES.sub(r"\1\2", str(error))


def _encoded_session(session: Session) -> bytes:
    in_line = newest_bytes(session.seen)
    if in_line == len(session.seen):
        return _encode(session)
    line = _encode(replace(session, seen=session.seen[:in_line]))
    return b"".join((line, b"\n", session.seen[in_line:]))


def _decoded(
    value: bytes, decoder: msgspec.json.Decoder[T], schema: int, what: str, unseal: Seal | None
) -> T:
    if unseal is not None:
        return _unsealed(value, decoder, what, unseal)
    try:
        record = decoder.decode(value)
        if getattr(record, "schema", schema) == schema:
            return record
    except _UNREADABLE as error:
        wrong = fault(error)
    else:
        wrong = "older schema"
    return _upcasted(value, decoder, what, wrong)


def _upcasted(value: bytes, decoder: msgspec.json.Decoder[T], what: str, wrong: str) -> T:
    """The slow path: an old schema, or rubbish."""
    try:
        plain = msgspec.json.decode(value)
        if not isinstance(plain, dict):
            raise InvalidRecord(f"{what}: expected an object, found {type(plain).__name__}")
        newest = upcast.to_newest(what, plain)
        if newest is plain:
            raise InvalidRecord(f"{what}: {wrong}") from None
        return decoder.decode(_encode(newest))
    except _UNREADABLE as error:
        raise InvalidRecord(f"{what}: {fault(error)}") from None


def _unsealed(value: bytes, decoder: msgspec.json.Decoder[T], what: str, unseal: Seal) -> T:
    try:
        plain = msgspec.json.decode(value)
        if not isinstance(plain, dict):
            raise InvalidRecord(f"{what}: expected an object, found {type(plain).__name__}")
        plain = upcast.to_newest(what, plain)
        identity = _identity(plain)

        def opened(path: str, text: str) -> str:
            return unseal(identity, path, text)

        return decoder.decode(_encode(_rewritten(plain, decoder.type, opened, "")))
    except _UNREADABLE as error:
        raise InvalidRecord(f"{what}: {fault(error)}") from None


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(_encode(record))
    return plain


def _identity(plain: dict[str, Any]) -> str:
    """What seals are derived from, besides the field: never the same for two texts.

    A session and its step records keep their id while their text changes: their seq goes along.
    A session's dead letters have its id: their place does.
    """
    names = (plain.get(name) for name in ("id", "reply_id", "effect_id", "session_id"))
    identity = next((name for name in names if name), "")
    places = (plain[name] for name in ("seq", "topic", "partition", "offset") if name in plain)
    return "#".join(map(str, (identity, *places)))


# ---- personal fields ---------------------------------------------------------------------------


def _rewritten(value: Any, kind: Any, change: Callable[[str, str], str], path: str) -> Any:
    """A copy of plain values in which each field marked personal went through `change`."""
    if _is_personal(kind) and isinstance(value, str):
        opened = change(path, value)
        return msgspec.Raw(opened.encode()) if _is_raw(kind) else opened
    if _is_personal(kind) and _is_raw(kind):  # an object, which is not sealed yet
        return change(path, _encode(value).decode())
    if isinstance(value, list | tuple):
        inner = _item_type(kind)
        return [_rewritten(v, inner, change, f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        fields = _fields(_struct_for(value, kind))
        return {
            name: _rewritten(v, fields.get(name), change, f"{path}.{name}" if path else name)
            for name, v in value.items()
        }
    return value


def _is_personal(kind: Any) -> bool:
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("personal"):
            return True
    return any(_is_personal(part) for part in _union_parts(kind))


def _is_raw(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is msgspec.Raw


def _union_parts(kind: Any) -> tuple[Any, ...]:
    origin = get_origin(kind)
    is_union = origin is not None and getattr(origin, "__name__", "") in ("Union", "UnionType")
    return get_args(kind) if is_union or type(kind).__name__ == "UnionType" else ()


def _item_type(kind: Any) -> Any:
    for part in (kind, *_union_parts(kind)):
        if get_origin(part) in (tuple, list):
            return get_args(part)[0]
    return None


def _struct_for(value: dict[str, Any], kind: Any) -> Any:
    """The Struct that these plain values are of; a union's by its tag."""
    parts = [p for p in (kind, *_union_parts(kind)) if hasattr(p, "__struct_fields__")]
    tagged = {p.__struct_config__.tag: p for p in parts}
    return tagged.get(value.get("type")) or (parts[0] if parts else None)


_hints: dict[Any, dict[str, Any]] = {}


def _fields(struct: Any) -> dict[str, Any]:
    if struct is None:
        return {}
    if struct not in _hints:
        _hints[struct] = get_type_hints(struct, include_extras=True)
    return _hints[struct]


RECORDS = (
    Event, Effect, Session, StepRecord, Delivery, DeadLetter, ModelRequest, SkillRequest,
    RunnerRequest,
)  # fmt: skip
"""What is written somewhere: each round-trips, and its personal fields are marked."""
