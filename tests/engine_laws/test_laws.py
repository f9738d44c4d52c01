"""The laws of the engine: what holds for every flow and every history."""

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import codec
from engine.effects import REQUESTS, Cancel, CloseReply
from engine.events import (
    OUTCOMES,
    ClockReached,
    FlowActivated,
    MessageReceived,
    Redriven,
    message_id,
)
from engine.flow import Flow
from engine.session import Step
from engine.step import new_session, step
from statemachines.flow import Flow as CheckedFlow
from tests.engine_laws.flows import NAMES, flows
from tests.engine_laws.strategies import (
    HOUR_MS,
    Again,
    Lost,
    Outcome,
    Play,
    Redrive,
    Say,
    Stimulus,
    Stop,
    Wait,
    fold_steps,
    histories,
)

names = st.sampled_from(NAMES)
answers = st.lists(st.sampled_from(["ok", "fail", "silence", "break"]), max_size=20)


def _bytes(steps: list[Step]) -> list[tuple[bytes, bytes]]:
    return [(done.encoded, done.encoded_record) for done in steps]


@given(name=names, history=histories)
def test_folding_a_history_twice_gives_equal_bytes(name: str, history: list[Stimulus]) -> None:
    play = Play(flows(name)).play(history)
    assert _bytes(fold_steps(play)) == _bytes(play.steps)


@given(name=names, history=histories, data=st.data())
def test_a_snapshot_at_any_point_and_then_the_rest_equals_all(
    name: str, history: list[Stimulus], data: st.DataObject
) -> None:
    play = Play(flows(name)).play(history)
    cut = data.draw(st.integers(0, len(play.steps)))
    session = (
        codec.decode_session(play.steps[cut - 1].encoded)
        if cut
        else new_session(flows(name)[0], play.session.id)
    )
    for event, flow, before in list(zip(play.events, play.flow_of, play.steps, strict=True))[cut:]:
        again = codec.decode_event(codec.encode(event))
        done = step(flow, session, again)
        assert (done.encoded, done.encoded_record) == (before.encoded, before.encoded_record)
        session = codec.decode_session(done.encoded)


@given(name=names, history=histories)
@example(
    name="table",
    history=[Say("hop"), Wait(None, wakes=False), Again(0), Wait(None, wakes=False), Again(0)],
)
@example(
    name="table", history=[Say("hi"), Wait(None), Wait(HOUR_MS, wakes=False), Stop(0), Stop(0)]
)
@example(name="table", history=[Lost("hi"), Redrive(0), Redrive(0), Again(-1)])
def test_a_repeated_or_late_event_does_what_a_clock_would_do(
    name: str, history: list[Stimulus]
) -> None:
    play = Play(flows(name)).play(history)
    session = new_session(flows(name)[0], play.session.id)
    for event, flow, before in zip(play.events, play.flow_of, play.steps, strict=True):
        if before.record.note in ("duplicate", "late"):
            event = replace(event, body=ClockReached(due_ms=0), effect=None)
        done = step(flow, session, event)
        assert done.encoded == before.encoded
        effects = [(e.id, e.body) for e in done.record.effects]
        assert effects == [(e.id, e.body) for e in before.record.effects]
        session = done.session


@given(name=names, history=histories)
def test_every_record_of_a_history_round_trips(name: str, history: list[Stimulus]) -> None:
    play = Play(flows(name)).play(history)
    for event, done in zip(play.events, play.steps, strict=True):
        assert codec.encode(codec.decode_event(codec.encode(event))) == codec.encode(event)
        assert codec.encode(codec.decode_session(done.encoded)) == done.encoded
        assert codec.encode(codec.decode_step(done.encoded_record)) == done.encoded_record
        assert done.record.digest == codec.digest(done.encoded)


@given(name=names, history=histories)
@example(
    name="table",
    history=[Say("hop"), Wait(None, wakes=False), Again(0), Wait(None, wakes=False), Again(0)],
)
def test_no_id_of_an_effect_or_a_pending_is_ever_used_twice(
    name: str, history: list[Stimulus]
) -> None:
    play = Play(flows(name)).play(history)
    ids = [effect.id for done in play.steps for effect in done.record.effects]
    assert [i for i, n in Counter(ids).items() if n > 1] == []
    for done in play.steps:
        pending = [p.effect_id for p in done.session.pending]
        assert len(pending) == len(set(pending))


@given(name=names, history=histories)
def test_each_request_resolves_exactly_once(name: str, history: list[Stimulus]) -> None:
    play = Play(flows(name)).play(history)
    rest(play)
    ends = request_ends(play)
    emitted = [
        effect.id
        for done in play.steps
        for effect in done.record.effects
        if isinstance(effect.body, REQUESTS)
    ]
    assert {identity: ends[identity] for identity in emitted} == dict.fromkeys(emitted, 1)


@given(name=names, history=histories)
def test_a_request_that_is_over_is_neither_pending_nor_cancelled_twice(
    name: str, history: list[Stimulus]
) -> None:
    play = Play(flows(name)).play(history)
    over: set[str] = set()
    for done in play.steps:
        cancels = [e.body.request for e in done.record.effects if isinstance(e.body, Cancel)]
        assert len(cancels) == len(set(cancels))
        assert over.isdisjoint(cancels)
        over |= set(cancels)
        assert over.isdisjoint(p.effect_id for p in done.session.pending)
        made = {e.id for e in done.record.effects}
        assert made.isdisjoint(cancels), "what is cancelled in its own step never leaves it"


@given(name=names, history=histories)
def test_each_streaming_reply_is_opened_once_and_closed_once(
    name: str, history: list[Stimulus]
) -> None:
    play = Play(flows(name)).play(history)
    rest(play)
    opened: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for done in play.steps:
        for effect in done.record.effects:
            kind = type(effect.body).__name__
            if kind == "CallModel" and effect.body.stream:
                opened[effect.body.reply_id] += 1
            elif isinstance(effect.body, CloseReply):
                closed[effect.body.reply_id] += 1
            elif kind == "SendMessage":
                sent[effect.body.reply_id] += 1
        waiting = {p.effect_id for p in done.session.pending}
        assert {reply.effect_id for reply in done.session.open_replies} <= waiting
    assert opened == closed
    assert not (sent.keys() & closed.keys()), "a closed reply is never sent anew"
    assert all(n == 1 for n in (*opened.values(), *closed.values(), *sent.values()))


@given(name=names, first=histories, second=histories, data=st.data())
def test_interleaving_two_sessions_equals_folding_each_alone(
    name: str, first: list[Stimulus], second: list[Stimulus], data: st.DataObject
) -> None:
    alone = [
        Play(flows(name), "web:main:k1:0001").play(first),
        Play(flows(name), "web:main:k1:0002").play(second),
    ]
    queues = [list(zip(p.events, p.flow_of, p.steps, strict=True)) for p in alone]
    sessions = [new_session(flows(name)[0], p.session.id) for p in alone]
    while any(queues):
        i = data.draw(st.integers(0, 1)) if all(queues) else int(not queues[0])
        event, flow, before = queues[i].pop(0)
        done = step(flow, sessions[i], event)
        assert done.encoded == before.encoded
        sessions[i] = done.session


@given(
    name=names,
    history=histories,
    answers=st.lists(st.sampled_from(["ok", "fail", "silence", "break"])),
)
@example(name="table", history=[Say("steer"), Wait(None), Say("hi"), Stop()], answers=[])
@example(name="table", history=[Lost("hi"), Redrive(0), Again(-1), Redrive(0)], answers=[])
@example(name="table", history=[Lost("hi"), Again(-1), Wait(None), Redrive(0)], answers=["ok"])
@example(
    name="table",
    history=[Say("skill"), Wait(None), *(Say("raise") for _ in range(14)), Outcome(0, "break")],
    answers=["break"],
)
def test_every_message_has_exactly_one_disposition_in_the_end(
    name: str, history: list[Stimulus], answers: list[str]
) -> None:
    play = Play(flows(name)).play(history)
    rest(play, answers)
    messages = {
        message_id(event)
        for event in play.events
        if isinstance(event.body, MessageReceived | Redriven)
    }
    ended = Counter(d.message for done in play.steps for d in done.record.dispositions)
    assert ended == dict.fromkeys(messages, 1)


# ---- what the laws are about -------------------------------------------------------------------

QUIET_MS = 3 * HOUR_MS
"""For a flow without a load check: more than nine messages take that all time out in turn."""


def _bound_ms(flow: Flow) -> int:
    """B, as the flow's load check computed it."""
    return flow.report.bound_s * 1_000 if isinstance(flow, CheckedFlow) else QUIET_MS


def rest(play: Play, answers: list[str] | None = None) -> None:
    """Let the world answer (or be silent) until no message waits; in bounded log time."""
    play.clock_ms = max(play.clock_ms, play.session.now_ms)
    begun_ms = play.clock_ms
    bound_ms = max(_bound_ms(flow) for flow in play.flows)
    answers = list(answers or [])
    while play.session.unanswered or play.session.postponed or play.waiting():
        how = answers.pop(0) if answers else "silence"
        waiting = play.waiting()
        if waiting and how != "silence":
            play.end(waiting[0], how)
        else:
            play.act(Wait(None))
        assert play.clock_ms - begun_ms <= bound_ms, play.session
        assert play.session.pending or not play.session.unanswered, play.session


def request_ends(play: Play) -> Counter[str]:
    """How often each request ended: by its outcome, by its deadline, or by being cancelled."""
    ends: Counter[str] = Counter()
    pending: set[str] = set()
    for event, done in zip(play.events, play.steps, strict=True):
        now = {p.effect_id for p in done.session.pending if p.kind != "timer"}
        cancels = {e.body.request for e in done.record.effects if isinstance(e.body, Cancel)}
        gone = (pending | {e.id for e in done.record.effects}) & (pending - now)
        for identity in gone:
            # An outcome that comes with the deadline comes late: what is due goes first.
            ended = isinstance(event.body, OUTCOMES) and event.effect == identity
            ends[identity] += int(ended or identity in cancels)
        assert cancels <= gone
        pending = now
    assert not pending
    return ends


def test_an_activation_is_recorded_with_the_new_ref() -> None:
    play = Play(flows("table")).play([Say("hi")])
    play.activate()
    assert play.session.flow == flows("table")[1].ref
    assert isinstance(play.events[-1].body, FlowActivated)
