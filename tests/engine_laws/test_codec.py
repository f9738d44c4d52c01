"""The codec: what is read or refused, sealed or told, and how old forms are read."""

from base64 import b64encode
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import codec, upcast
from engine.errors import InvalidRecord
from engine.events import Event
from engine.limits import EVENT_BYTES_MAX
from engine.ports import DeadLetter
from tests.engine_laws.records import fields_of, records
from tests.engine_laws.strategies import Outcome, Play, Say, Wait
from tests.engine_laws.table_flow import TableFlow

DECODERS = (codec.decode_event, codec.decode_session, codec.decode_step)


def _play() -> Play:
    said = [Say("skill"), Wait(None), Say("hi"), Outcome(0), Say("hi"), Wait(None), Outcome(0)]
    return Play([TableFlow()]).play(said)


# ---- what is read ------------------------------------------------------------------------------

EVENT = codec.encode(_play().events[0])
JUNK = (
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b"\xff\xfe",
    b"[" * 60_000,
    b'{"x":' * 10_000,
    EVENT[:-1],
    EVENT.replace(b'"id"', b'"q":' + b"[" * 60_000 + b',"id"'),
    EVENT.replace(b'"skill"', b'"\\ud800"'),
    EVENT.replace(b'"skill"', b'"\xff"'),
    EVENT.replace(b'"at_ms":1', b'"at_ms":-1'),
    EVENT.replace(b'"at_ms":1', b'"at_ms":9' + b"9" * 40),
    EVENT.replace(b'"at_ms":1', b'"at_ms":1e'),
    EVENT.replace(b'"at_ms":1', b'"schema":2,"at_ms":1'),
    EVENT.replace(b'"at_ms":1', b'"schema":0,"at_ms":1'),
    EVENT.replace(b'"at_ms":1', b'"schema":[1],"at_ms":1'),
    EVENT.replace(b'"at_ms":1', b'"schema":true,"at_ms":1'),
    EVENT.replace(b"MessageReceived", b"MessageImagined"),
    EVENT.replace(b'"type":"MessageReceived"', b'"kind":"MessageReceived"'),
)


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("decode", DECODERS)
def test_junk_is_an_invalid_record(decode: Any, junk: bytes) -> None:
    with pytest.raises(InvalidRecord):
        decode(junk)
    with pytest.raises(InvalidRecord):
        decode(junk, lambda identity, path, text: text)


def test_an_event_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidRecord, match="at most"):
        codec.decode_event(b" " * EVENT_BYTES_MAX + EVENT)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
spoiled = st.dictionaries(
    st.sampled_from(["id", "session_id", "at_ms", "source", "body", "schema", "effect", "seen"]),
    plain,
)


@given(change=spoiled, cut=st.integers(0, 300))
def test_nothing_but_an_invalid_record_is_ever_raised(change: dict[str, Any], cut: int) -> None:
    play = _play()
    for decode, value in zip(
        DECODERS, (EVENT, play.steps[-1].encoded, play.steps[-1].encoded_record), strict=True
    ):
        spoilt = msgspec.json.encode({**msgspec.json.decode(value), **change})
        for candidate in (spoilt, value[:cut], spoilt[cut:]):
            try:
                record = decode(candidate)
            except InvalidRecord:
                continue
            codec.encode(record)


def test_a_session_is_a_line_of_json_and_what_rarely_changes() -> None:
    play = Play([TableFlow()])
    for _ in range(200):
        play.act(Say("refuse"))
        play.clock_ms += 1_000
    value = play.steps[-1].encoded
    line, _, older = value.partition(b"\n")
    assert msgspec.json.decode(line)["id"] == play.session.id
    assert older
    assert len(line) < len(value)
    session = codec.decode_session(value)
    assert session == play.session
    assert codec.encode(session) == value


# ---- old forms ---------------------------------------------------------------------------------


def test_an_old_schema_is_read_through_its_upcasters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it will be when `source` was once called `from`, and before that `origin`."""
    monkeypatch.setitem(upcast.NEWEST, "event", 3)
    monkeypatch.setattr(codec, "EVENT_SCHEMA", 3)
    monkeypatch.setitem(upcast.UPCASTERS, ("event", 1), lambda old: {**old, "from": old["origin"]})
    monkeypatch.setitem(upcast.UPCASTERS, ("event", 2), lambda old: {**old, "source": old["from"]})
    plain = msgspec.json.decode(EVENT)
    source = plain.pop("source")
    event = codec.decode_event(msgspec.json.encode({**plain, "origin": source}))
    assert (event.source, event.schema) == (source, 3)
    assert event.id == plain["id"]
    with pytest.raises(InvalidRecord, match="schema 1 is not one"):
        codec.decode_event(msgspec.json.encode(plain))
    with pytest.raises(InvalidRecord, match="newer version"):
        codec.decode_event(msgspec.json.encode({**plain, "schema": 4}))


def test_an_old_session_keeps_its_memory_and_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upcast.NEWEST, "session", 2)
    monkeypatch.setattr(codec, "SESSION_SCHEMA", 2)
    monkeypatch.setitem(upcast.UPCASTERS, ("session", 1), lambda old: old)
    play = Play([TableFlow()])
    for _ in range(100):
        play.act(Say("refuse"))
    session = codec.decode_session(play.steps[-1].encoded)
    assert session == msgspec.structs.replace(play.session, schema=2)


# ---- personal content --------------------------------------------------------------------------


SECRET = "ann@example.org says so"
WRITTEN = (SECRET.encode(), b64encode(SECRET.encode()))
"""As text, and in a record that was kept as it was read."""
PERSONAL = [r for r in records(SECRET) if any(form in codec.encode(r) for form in WRITTEN)]
PERSONAL_NAMES = {"text", "prompt", "user", "bot", "quoted", "sender", "conversation"}


def test_what_a_person_wrote_or_is_called_is_marked_wherever_it_stands() -> None:
    for record in records(SECRET):
        for name, marked in fields_of(type(record)):
            assert marked or name not in {*PERSONAL_NAMES, "reply_token"}, (record, name)


@pytest.mark.parametrize("record", PERSONAL, ids=lambda r: type(getattr(r, "body", r)).__name__)
def test_nothing_personal_is_left_in_a_masked_or_sealed_record(record: msgspec.Struct) -> None:
    for sealed in (codec.encode(record, _seal), codec.encode(record, lambda *_: "hidden")):
        assert not any(form in sealed for form in WRITTEN)


def test_a_dead_letter_and_its_value_are_marked_whole() -> None:
    assert DeadLetter in {type(record) for record in PERSONAL}
    letters = [
        DeadLetter(partition=0, offset=n, session_id="s", error="", value=EVENT[n:], at_ms=1)
        for n in (1, 2)
    ]
    identities: list[str] = []
    for letter in letters:
        codec.encode(letter, lambda identity, path, text: identities.append(identity) or text)
    assert len(set(identities)) == len(letters)


WRONG = tuple(
    msgspec.json.encode({**msgspec.json.decode(EVENT), **change})
    for change in (
        {"body": {"type": SECRET}},
        {"body": {"type": f"{SECRET}' - at `$.x"}},
        {"body": {"type": "ModelFailed", "reason": SECRET}},
        {"schema": SECRET},
        {"schema": [SECRET]},
        {"at_ms": SECRET},
        {SECRET: SECRET, "body": SECRET},
    )
)


@pytest.mark.parametrize("wrong", [*WRONG, SECRET.encode(), EVENT[:-1] + SECRET.encode()])
def test_an_error_quotes_nothing_of_the_record(wrong: bytes) -> None:
    for unseal in (None, lambda identity, path, text: text):
        with pytest.raises(InvalidRecord) as caught:
            codec.decode_event(wrong, unseal)
        assert "ann@" not in str(caught.value)
        assert len(str(caught.value)) > len("event: ")


def test_an_error_names_the_field_that_is_wrong() -> None:
    with pytest.raises(InvalidRecord, match=r"^event: Invalid value - at `\$\.body\.type`$"):
        codec.decode_event(WRONG[0])
    with pytest.raises(InvalidRecord, match=r"^event: Invalid enum value - at `\$\.body\.reason`$"):
        codec.decode_event(WRONG[2])


def test_what_was_sealed_can_be_opened_and_is_the_same_record() -> None:
    play = _play()
    for event, done in zip(play.events, play.steps, strict=True):
        assert codec.decode_event(codec.encode(event, _seal), _open) == event
        assert codec.decode_session(codec.encode(done.session, _seal), _open) == done.session
        assert codec.decode_step(codec.encode(done.record, _seal), _open) == done.record
        # Sealed, it is still a record: what is not personal can be read without the key.
        assert codec.decode_event(codec.encode(event, _seal)).id == event.id


def test_a_keystream_is_never_used_for_two_texts() -> None:
    used: dict[tuple[str, str], str] = {}

    def note(identity: str, path: str, text: str) -> str:
        assert used.setdefault((identity, path), text) == text
        return text

    play = _play()
    for event, done in zip(play.events, play.steps, strict=True):
        codec.encode(event, note)
        codec.encode(done.session, note)
        codec.encode(done.record, note)
        for effect in done.record.effects:
            codec.encode(effect, note)
    assert len(used) > 20


def test_every_record_round_trips() -> None:
    for record in records(SECRET):
        value = codec.encode(record)
        assert msgspec.json.decode(value, type=type(record)) == record
        if isinstance(record, Event):
            assert codec.decode_event(value) == record


def _keystream(identity: str, path: str, length: int) -> bytes:
    stream = b""
    while len(stream) < length:
        block = f"{identity}|{path}|{len(stream)}".encode()
        stream += blake2b(block, key=b"a subject's key!").digest()
    return stream[:length]


def _seal(identity: str, path: str, text: str) -> str:
    value = text.encode()
    stream = _keystream(identity, path, len(value))
    return bytes(a ^ b for a, b in zip(value, stream, strict=True)).hex()


def _open(identity: str, path: str, text: str) -> str:
    value = bytes.fromhex(text)
    stream = _keystream(identity, path, len(value))
    return bytes(a ^ b for a, b in zip(value, stream, strict=True)).decode()
