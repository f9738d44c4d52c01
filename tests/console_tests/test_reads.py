"""A log's records, as `sessions`, `trace` and `dead-letters` tell them: hand-made, in memory."""

import msgspec
import pytest

from adapters.logs.memory import MemoryLog
from console import reads, tracing
from console.terminal import when
from console.transcript import entries
from engine import codec
from engine.effects import CallModel, CloseReply, Effect
from engine.errors import Refused
from engine.events import (
    Address,
    Body,
    Event,
    FlowRef,
    MadeBy,
    MessageReceived,
    ModelReplied,
)
from engine.ids import effect_id, message_event_id, outcome_event_id, reply_id
from engine.ports import Append, DeadLetter, Delivery, SessionRow, StepRow
from engine.session import (
    Disposition,
    Microstep,
    Pending,
    Session,
    StepRecord,
    TranscriptTurn,
    Unanswered,
)

SESSION = "webchat:web:k1:0123456789abcdef01234567"
ADDRESS = Address(channel="webchat", account="web", conversation="c", sender="s")
FLOW = FlowRef(name="assistant", version=1, digest="0" * 32)
ASKED = message_event_id(SESSION, "web", message_id="m1")
CALL = effect_id(SESSION, ASKED, index=0)
REPLY = reply_id(CALL)
ANSWERED = outcome_event_id(CALL)


def event(event_id: str, body: Body, *, at_ms: int, effect: str | None = None) -> Event:
    return Event(
        id=event_id, session_id=SESSION, at_ms=at_ms, source="webchat:web", body=body, effect=effect
    )


MESSAGE = event(
    ASKED,
    MessageReceived(message_id="m1", text="Why is the sky blue?", address=ADDRESS),
    at_ms=1_000,
)
OUTCOME = event(
    ANSWERED,
    ModelReplied(
        text="Because of Rayleigh scattering.",
        made_by=MadeBy(runner="llama.cpp", latency_ms=1_200, tokens=9),
    ),
    at_ms=2_300,
    effect=CALL,
)
CALL_MODEL = Effect(
    id=CALL,
    session_id=SESSION,
    epoch=1,
    cause=ASKED,
    scope="bot.answering",
    body=CallModel(
        reply_id=REPLY, prompt="Why?", first=1, last=0, digest="", stream=True, max_tokens=99
    ),
)
CLOSE = Effect(
    id=effect_id(SESSION, ANSWERED, index=0),
    session_id=SESSION,
    epoch=1,
    cause=ANSWERED,
    body=CloseReply(reply_id=REPLY, how="answered", text="Because of Rayleigh scattering."),
)
FIRST = StepRecord(
    session_id=SESSION,
    seq=1,
    event_id=ASKED,
    flow=FLOW,
    before="new",
    after="bot.answering",
    digest="",
    path=(Microstep(trigger="message_received", row=0, source="new", dest="bot.answering"),),
    effects=(CALL_MODEL,),
)
SECOND = StepRecord(
    session_id=SESSION,
    seq=2,
    event_id=ANSWERED,
    flow=FLOW,
    before="bot.answering",
    after="bot.listening",
    digest="",
    path=(Microstep(trigger="model_replied", row=3, source="bot.answering", dest="bot.listening"),),
    effects=(CLOSE,),
    dispositions=(Disposition(message=ASKED, how="answered"),),
)
SENT = Delivery(
    reply_id=REPLY,
    session_id=SESSION,
    cause=ANSWERED,
    kind="reply",
    address=ADDRESS,
    state="sent",
    text="Because of Rayleigh scattering.",
    queued_ms=2_302,
    sending_ms=2_303,
    receipted_ms=2_310,
)


def session(*, answered: bool) -> Session:
    awaits = Pending(
        effect_id=CALL,
        kind="CallModel",
        scope="bot.answering",
        due_ms=46_000,
        on_due="request_failed",
        turn=1,
    )
    return Session(
        id=SESSION,
        flow=FLOW,
        state="bot.listening" if answered else "bot.answering",
        data=msgspec.Raw(b"{}"),
        address=ADDRESS,
        seq=2 if answered else 1,
        now_ms=2_300 if answered else 1_000,
        turns=1,
        transcript=(TranscriptTurn(n=1, user="Why is the sky blue?", bot="x" if answered else ""),),
        unanswered=() if answered else (Unanswered(event_id=ASKED, turn=1),),
        pending=() if answered else (awaits,),
    )


def letter(*, of: Event = MESSAGE, offset: int = 1) -> DeadLetter:
    return DeadLetter(
        partition=0,
        offset=offset,
        session_id=SESSION,
        error="the process died three times",
        value=codec.encode(of),
        at_ms=1_009,
    )


def set_aside(log: MemoryLog, one: DeadLetter) -> MemoryLog:
    with log.transaction(log.claim(0)) as batch:
        batch.put_dead_letters([one])
    return log


def log_of(*, stepped: int, delivery: Delivery | None = None) -> MemoryLog:
    """A log in which the message was appended, and `stepped` of the two events were stepped."""
    log = MemoryLog()
    owner = log.claim(0)
    with log.transaction(owner) as batch:
        batch.append([Append(SESSION, ASKED, codec.encode(MESSAGE))], at_ms=1_001)
    for n, (made, record) in enumerate(((MESSAGE, FIRST), (OUTCOME, SECOND))[:stepped], 1):
        with log.transaction(owner) as batch:
            if n == 2:
                batch.append([Append(SESSION, ANSWERED, codec.encode(OUTCOME))], at_ms=2_301)
            row = StepRow(SESSION, n, made.id, n, codec.encode(record))
            batch.put_steps([row], at_ms=made.at_ms + 2)
            batch.put_sessions([SessionRow(SESSION, codec.encode(session(answered=n == 2)), None)])
    if delivery is not None:
        with log.transaction(owner) as batch:
            batch.put_deliveries([delivery])
    return log


def test_a_whole_turn_is_traced_hop_by_hop() -> None:
    found = tracing.trace(log_of(stepped=2, delivery=SENT), ASKED)
    assert [(hop.what, hop.at_ms) for hop in found.hops] == [
        ("appended", 1_001),
        ("stepped", 1_002),
        ("effect", 1_002),
        ("outcome", 2_301),
        ("stepped", 2_302),
        ("effect", 2_302),
        ("marked", 2_303),
        ("receipted", 2_310),
    ]
    assert found.ended
    assert found.disposition == "answered"
    texts = " | ".join(hop.text for hop in found.hops)
    assert "new → bot.answering" in texts
    assert "the model answered, by llama.cpp in 1.2 s, 9 tokens" in texts
    assert "Rayleigh" not in texts


def test_a_message_that_was_not_stepped_stopped_there() -> None:
    found = tracing.trace(log_of(stepped=0), ASKED)
    assert not found.ended
    assert found.stopped == "appended and not yet stepped: is the engine running?"


def test_a_message_that_became_a_dead_letter_stopped_there() -> None:
    told = msgspec.structs.replace(SENT, cause=ASKED, kind="message", text="Sorry.")
    log = set_aside(log_of(stepped=0, delivery=told), letter())
    for name in (ASKED, ASKED.partition("/")[2], REPLY):
        assert tracing.find_message(log, name) == ASKED
    found = tracing.trace(log, ASKED)
    assert not found.ended
    assert [(hop.what, hop.at_ms) for hop in found.hops] == [
        ("appended", 1_001),
        ("set aside", 1_009),
        ("marked", 2_303),
        ("receipted", 2_310),
    ]
    assert found.stopped == (
        f"{when(1_009)} set aside as dead letter 0:1: the process died three times; "
        "never stepped; `ai-assistant dead-letters redrive 0:1` brings it back"
    )
    (row,) = reads.list_dead_letters(log)
    assert (row.number, row.redriven_ms) == ("0:1", None)


def test_a_message_that_awaits_the_model_says_until_when() -> None:
    found = tracing.trace(log_of(stepped=1), ASKED)
    assert not found.ended
    assert found.stopped.startswith("awaits CallModel until ")
    assert "then request_failed" in found.stopped


@pytest.mark.parametrize("state", ["queued", "sending", "failed", "unknown"])
def test_a_reply_that_did_not_arrive_is_where_it_stopped(state: str) -> None:
    delivery = msgspec.structs.replace(SENT, state=state, receipted_ms=None)
    found = tracing.trace(log_of(stepped=2, delivery=delivery), ASKED)
    assert not found.ended
    assert found.stopped.startswith(f"its reply is {state}")


@pytest.mark.parametrize("name", [ASKED, REPLY, ASKED.partition("/")[2], REPLY.partition("/")[2]])
def test_a_message_is_found_by_its_id_its_replys_or_the_digits_of_either(name: str) -> None:
    assert tracing.find_message(log_of(stepped=2, delivery=SENT), name) == ASKED


def test_a_message_that_is_not_there_is_refused_with_the_way_to_find_ids() -> None:
    with pytest.raises(Refused, match="sessions show SESSION"):
        tracing.find_message(log_of(stepped=0), "f" * 32)


def test_a_session_reads_as_a_conversation_with_the_engine_beside_it() -> None:
    log = log_of(stepped=2, delivery=SENT)
    shown = entries(reads.read_session(log, SESSION))
    said = [(entry.author, entry.text) for entry in shown if entry.author]
    assert said == [
        ("person", "Why is the sky blue?"),
        ("bot", "Because of Rayleigh scattering."),
    ]
    assert shown[0].notes[0] == "new → bot.answering, 1 ms after the append"
    assert any(note.startswith("CallModel") for note in shown[0].notes)
    assert any(note.startswith("answered: ") for note in shown[1].notes)
    assert shown[2].notes[0].startswith("sent to webchat:web")


def test_what_was_not_stepped_yet_stands_in_the_conversation() -> None:
    log = log_of(stepped=1)
    late = message_event_id(SESSION, "web", message_id="m2")
    body = MessageReceived(message_id="m2", text="Hello?", address=ADDRESS)
    with log.transaction(log.claim(0)) as batch:
        value = codec.encode(event(late, body, at_ms=3_000))
        batch.append([Append(SESSION, late, value)], at_ms=3_000)
    last = entries(reads.read_session(log, SESSION))[-1]
    assert (last.author, last.text, last.notes[-1]) == (
        "person",
        "Hello?",
        "appended, not yet stepped",
    )


def test_a_session_of_which_all_was_set_aside_is_shown_with_the_way_back() -> None:
    log = set_aside(log_of(stepped=0), letter())
    assert reads.find_session(log, "234567") == SESSION
    view = reads.read_session(log, SESSION)
    assert view.session is None
    (entry,) = entries(view)
    assert (entry.author, entry.text, entry.id) == ("person", "Why is the sky blue?", ASKED)
    assert entry.notes == (
        f"{when(1_009)} set aside as dead letter 0:1: the process died three times",
        "never stepped; `ai-assistant dead-letters redrive 0:1` brings it back",
    )


def test_what_was_set_aside_in_a_living_session_does_not_look_as_if_it_waits() -> None:
    log = log_of(stepped=2)
    late = event(
        message_event_id(SESSION, "web", message_id="m2"),
        MessageReceived(message_id="m2", text="Hello?", address=ADDRESS),
        at_ms=3_000,
    )
    with log.transaction(log.claim(0)) as batch:
        (offset,) = batch.append([Append(SESSION, late.id, codec.encode(late))], at_ms=3_000)
    taken_again = msgspec.structs.replace(letter(of=late, offset=offset), redriven_ms=4_000)
    set_aside(log, taken_again)
    last = entries(reads.read_session(log, SESSION))[-1]
    assert (last.text, last.notes[-1]) == ("Hello?", f"taken again at {when(4_000)}")


def test_a_dead_letter_that_cannot_be_read_stands_in_its_session() -> None:
    rubbish = msgspec.structs.replace(letter(), value=b"{")
    (entry,) = entries(reads.read_session(set_aside(log_of(stepped=0), rubbish), SESSION))
    assert (entry.author, entry.text, entry.at_ms) == ("", "", 1_009)
    assert entry.notes[-1].startswith("it cannot be taken again")


def test_sessions_are_listed_with_what_was_said_last() -> None:
    rows, more = reads.list_sessions(log_of(stepped=1), limit=10)
    assert not more
    (row,) = rows
    assert (row.state, row.unanswered, row.busy, row.last_ms) == ("bot.answering", 1, 1, 1_000)
    assert row.last_text == "Why is the sky blue?"


def test_a_session_is_found_by_a_part_of_its_id_that_no_other_has() -> None:
    log = log_of(stepped=1)
    assert reads.find_session(log, "234567") == SESSION
    other = SESSION.replace("0123", "9123")
    with log.transaction(log.claim(0)) as batch:
        batch.put_sessions([SessionRow(other, codec.encode(session(answered=True)), None)])
    with pytest.raises(Refused, match="2 sessions have"):
        reads.find_session(log, "234567")
    assert reads.find_session(log, "9123") == other


def test_an_unreadable_session_does_not_hide_the_others() -> None:
    log = log_of(stepped=1)
    with log.transaction(log.claim(0)) as batch:
        batch.put_sessions([SessionRow("webchat:web:k1:ff", b"{", None)])
    rows, _ = reads.list_sessions(log, limit=10)
    assert [row.session_id for row in rows] == [SESSION, "webchat:web:k1:ff"]
    assert rows[1].state.startswith("unreadable")
