"""The order inside a step, and what belongs to which state."""

from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from engine import codec
from engine.effects import CallModel, Cancel, CloseReply, Forward, RunSkill, SendMessage, Withdraw
from engine.events import FlowActivated
from engine.session import Step
from engine.step import new_session, step
from engine.turn import Turn
from tests.engine_laws.strategies import (
    HOUR_MS,
    START_MS,
    Activate,
    Again,
    Feedback,
    Late,
    Lost,
    Operator,
    Outcome,
    Play,
    Redrive,
    Say,
    Stimulus,
    Stop,
    Wait,
)
from tests.engine_laws.table_flow import TableFlow


def _play(*stimuli: Stimulus, way_out: str = "none") -> Play:
    flows = [TableFlow(way_out=way_out), TableFlow(version=2, way_out=way_out)]
    return Play(flows).play(stimuli)


def _kinds(done: Step) -> list[str]:
    return [type(effect.body).__name__ for effect in done.record.effects]


def _triggers(done: Step) -> list[str]:
    return [micro.trigger for micro in done.record.path]


def _ends(play: Play) -> list[tuple[str, str]]:
    """(text of the message, how it ended), in the order in which they ended."""
    texts = {event.id: event.text for event in [*play.events, *play.lost]}
    return [(texts[d.message], d.how) for done in play.steps for d in done.record.dispositions]


# ---- what is due goes first --------------------------------------------------------------------


def test_what_is_due_fires_before_the_event_that_brings_the_time() -> None:
    play = _play(Say("hi"), Wait(5_000, wakes=False), Say("later"))
    assert _triggers(play.steps[-1]) == ["settled", "message_received"]


def test_several_that_are_due_fire_in_order_of_their_time_each_in_a_microstep() -> None:
    play = _play(Say("skill"), Wait(None), Say("also"), Wait(HOUR_MS))
    # The skill's ten seconds are over long before the half hour of `listening`.
    assert _triggers(play.steps[-1]) == ["request_failed"]
    play.act(Wait(HOUR_MS))
    assert _triggers(play.steps[-1]) == ["idle"]


def test_a_pending_fires_at_the_events_time_never_at_its_due_time() -> None:
    play = _play(Say("hi"), Wait(HOUR_MS))
    (call,) = play.waiting()
    assert call.due_ms == START_MS + HOUR_MS + 45_000


def test_a_timeout_of_nothing_is_a_microstep_of_the_same_step() -> None:
    play = _play(Say("x"), Wait(None), Outcome(0), Say("hop"))
    assert _triggers(play.steps[-1]) == ["message_received", "hopped"]
    assert play.session.state == "bot.answering"


def test_a_deadline_of_nothing_never_leaves_its_step() -> None:
    play = _play(Say("x"), Wait(None), Outcome(0), Say("at once"))
    assert _triggers(play.steps[-1]) == ["message_received", "request_failed"]
    assert _kinds(play.steps[-1]) == ["SendMessage"]
    assert play.session.open_replies == ()


def test_a_cycle_that_needs_no_time_ends_as_a_failure() -> None:
    play = _play(Say("x"), Wait(None), Outcome(0), Say("loop"))
    assert play.steps[-1].record.error == (
        "InvalidRecord in _microstep: more than 64 microsteps in one step"
    )
    assert play.session.state == "new"
    assert _ends(play)[-1] == ("loop", "failed")


# ---- scopes ------------------------------------------------------------------------------------


def test_a_request_belongs_to_the_leaf_that_holds_when_the_microstep_ends() -> None:
    play = _play(Say("hi"), Wait(None))
    (call,) = [e for e in play.steps[-1].record.effects if isinstance(e.body, CallModel)]
    assert call.scope == "bot.answering"
    assert play.session.open_replies[0].scope == "bot.answering"


def test_a_request_with_a_named_scope_outlives_the_leaf() -> None:
    play = _play(Say("skill"), Wait(None), Stop())
    assert play.session.state == "bot.listening"
    assert [p.scope for p in play.waiting()] == ["bot"]
    play.act(Wait(HOUR_MS))  # ten seconds later it fails, and nobody waits for it
    assert play.waiting() == []


def test_leaving_a_scope_cancels_its_request_and_closes_its_reply() -> None:
    play = _play(Say("hi"), Wait(None), Say("no, this"))
    cancel, close = play.steps[-1].record.effects
    assert isinstance(cancel.body, Cancel)
    assert close.body == CloseReply(reply_id=play.replies[1], how="cancelled")
    assert play.steps[-1].record.cancelled == (cancel.body.request,)


def test_equals_restarts_the_timer_and_none_keeps_it() -> None:
    play = _play(Say("hi"))
    before = play.session.pending
    play.clock_ms += 1_500
    play.say("more")
    assert [p.due_ms for p in play.session.pending] == [START_MS + 3_500]
    assert play.session.pending != before
    play.play([Wait(None), Outcome(0)])
    before = play.session.pending
    play.say("refuse")
    assert play.session.pending == before


def test_a_reply_with_the_scope_it_is_asked_in_is_not_closed_by_re_entering_it() -> None:
    flow = TableFlow()
    asks = [row for row in flow._rows if row.trigger == "message_received"]
    again = next(row for row in asks if row.source == "bot.settling")
    flow._at["bot.settling", "message_received"] = [
        (0, again._replace(do=lambda t: t.call_model("x", within_s=9, scope="bot.settling")))
    ]
    play = Play([flow]).play([Say("hi"), Say("more")])
    assert _kinds(play.steps[-1]) == ["CallModel"]
    assert len(play.session.open_replies) == 1


def test_a_scope_that_is_not_active_is_a_failed_step() -> None:
    play = _play(Say("hi"), Say("misplace"))
    assert play.steps[-1].record.error == "ValueError in settle_requests"


# ---- resolving once ----------------------------------------------------------------------------


def test_a_late_or_repeated_outcome_changes_nothing() -> None:
    play = _play(Say("hi"), Wait(None), Outcome(0))
    before = play.session
    play.play([Late(0), Again(2)])
    assert play.session == replace(before, seq=before.seq + 2)
    assert [done.record.note for done in play.steps[-2:]] == ["late", "late"]


def test_an_outcome_at_its_deadline_comes_late() -> None:
    play = _play(Say("hi"), Wait(None), Wait(None, wakes=False), Outcome(0))
    assert play.steps[-1].record.note == "late"
    assert _triggers(play.steps[-1]) == ["request_failed"]
    assert _ends(play) == [("hi", "failed")]


def test_a_request_over_its_deadline_is_cancelled_and_its_reply_closed() -> None:
    play = _play(Say("hi"), Wait(None), Wait(None))
    assert _kinds(play.steps[-1]) == ["Cancel", "CloseReply", "SendMessage"]
    assert play.session.open_replies == ()


def test_a_reply_that_its_outcome_did_not_fill_is_closed() -> None:
    flow = TableFlow()
    index, row = flow._at["bot.steering", "model_replied"][0]
    silent = row._replace(dest=None, do=lambda turn: turn.set(asked=()), when=None)
    flow._at["bot.steering", "model_replied"] = [(index, silent)]
    play = Play([flow]).play([Say("steer"), Wait(None), Outcome(0)])
    assert play.session.state == "bot.steering"
    assert _kinds(play.steps[-1]) == ["CloseReply"]
    assert play.session.open_replies == ()


# ---- what is said ------------------------------------------------------------------------------


def test_say_closes_the_streaming_reply_and_a_second_say_is_a_new_message() -> None:
    play = _play(Say("hi"), Wait(None), Outcome(0, "twice"))
    close, more = (effect.body for effect in play.steps[-1].record.effects)
    assert isinstance(close, CloseReply)
    assert (close.how, close.text) == ("answered", "twice")
    assert isinstance(more, SendMessage)
    assert more.reply_id != close.reply_id


def test_a_reply_that_did_not_stream_is_sent_whole_under_its_own_id() -> None:
    play = _play(Say("plain"), Wait(None))
    (call,) = play.waiting()
    assert play.session.open_replies == ()
    play.act(Outcome(0))
    (sent,) = play.steps[-1].record.effects
    assert isinstance(sent.body, SendMessage)
    assert sent.body.reply_id == call.reply_id


def test_of_several_messages_the_last_is_answered_and_the_others_are_merged() -> None:
    play = _play(Say("one"), Say("two"), Say("three"), Wait(None), Outcome(0))
    assert _ends(play) == [("one", "merged"), ("two", "merged"), ("three", "answered")]


def test_steering_answers_only_what_was_there_when_the_request_was_made() -> None:
    play = _play(Say("steer"), Wait(None), Say("and this"), Outcome(0))
    assert _ends(play) == [("steer", "answered")]
    assert len(play.session.unanswered) == 1
    play.act(Outcome(0))
    assert _ends(play) == [("steer", "answered"), ("and this", "answered")]


def test_steering_knows_a_message_that_came_in_the_very_step_of_the_request() -> None:
    # The clock is late: the message brings the time at which the request is made, and comes after.
    play = _play(Say("steer"), Wait(None, wakes=False), Say("and this"))
    assert _triggers(play.steps[-1]) == ["settled", "message_received"]
    play.act(Outcome(0))
    assert _ends(play) == [("steer", "answered")]


def test_what_still_comes_after_a_stop_is_a_new_message() -> None:
    play = _play(Say("steer"), Wait(None), Say("go on"), Stop())
    stopped = [e.body for e in play.steps[-1].record.effects if isinstance(e.body, CloseReply)]
    assert [close.how for close in stopped] == ["stopped"]
    play.act(Outcome(0))
    (sent,) = play.steps[-1].record.effects
    assert isinstance(sent.body, SendMessage)
    assert sent.body.reply_id != stopped[0].reply_id


def test_stop_answers_what_waits_and_says_that_it_was_stopped() -> None:
    play = _play(Say("hi"), Wait(None), Stop())
    (ended,) = play.steps[-1].record.dispositions
    assert (ended.how, ended.note) == ("answered", "stopped")


def test_a_stop_of_a_reply_that_has_ended_stops_no_other() -> None:
    play = _play(Say("hi"), Wait(None), Outcome(0), Say("and this"), Wait(None), Stop(1))
    assert play.replies[1] != play.session.open_replies[0].reply_id
    assert play.steps[-1].record.note == "late"
    assert len(play.session.open_replies) == 1
    play.act(Again(-1))
    assert play.steps[-1].record.note == "late"
    play.act(Stop(-1))
    assert play.steps[-1].record.note == ""
    assert play.session.open_replies == ()
    assert _ends(play) == [("hi", "answered"), ("and this", "answered")]


def test_a_stop_of_a_reply_that_is_over_with_the_time_it_brings_is_late_and_not_remembered() -> (
    None
):
    play = _play(Say("hi"), Wait(None), Wait(None, wakes=False), Stop(1))
    assert _triggers(play.steps[-1]) == ["request_failed"]
    assert play.steps[-1].record.note == "late"
    assert play.session.seen == play.steps[-2].session.seen


# ---- the queue ---------------------------------------------------------------------------------


def test_a_queued_message_has_no_disposition_until_it_is_offered_again() -> None:
    play = _play(Say("skill"), Wait(None), Say("next"))
    assert play.steps[-1].record.note == "postponed"
    assert _ends(play) == []
    play.act(Outcome(0))
    assert _triggers(play.steps[-1]) == ["skill_done", "message_received"]
    play.play([Wait(None), Outcome(0)])
    assert _ends(play) == [("skill", "answered"), ("next", "answered")]


def test_the_ninth_that_waits_is_refused_and_told_so() -> None:
    play = _play(Say("skill"), Wait(None), *(Say(str(n)) for n in range(9)))
    assert _ends(play) == [("8", "refused")]
    (sent,) = play.steps[-1].record.effects
    assert sent.body == SendMessage(reply_id=play.replies[-1], text="too many at once")


def test_a_message_whose_rows_all_fail_keeps_its_place_in_the_queue() -> None:
    play = _play(Say("skill"), Wait(None), Say("a"), Say("b"), Feedback("up"))
    assert [event.text for event in play.session.postponed] == ["a", "b"]


def test_a_command_is_never_queued() -> None:
    play = _play(Say("skill"), Wait(None), Say("HUMAN "))
    assert play.session.state == "person"
    assert _ends(play) == [("skill", "forwarded"), ("HUMAN ", "forwarded")]


def test_a_message_that_no_row_wants_leaves_the_transcript_as_it_was() -> None:
    play = _play(*(Say("refuse") for _ in range(25)), Say("skill"), Wait(None))
    before = play.session.transcript
    assert len(before) == 20
    play.act(Say("not now"))
    assert play.steps[-1].record.note == "postponed"
    assert play.session.transcript == before


# ---- people ------------------------------------------------------------------------------------


def test_a_hand_over_withdraws_what_is_not_sent_yet_but_an_operators_next_line_does_not() -> None:
    play = _play(Say("hi"), Say("human"))
    assert play.steps[-1].record.effects[-1].body == Withdraw()
    play.play([Operator("I am Ann"), Operator("how can I help?")])
    assert [_kinds(done) for done in play.steps[-2:]] == [["SendMessage"], ["SendMessage"]]


def test_an_operator_who_speaks_keeps_the_person_waiting_time_going() -> None:
    play = _play(Say("human"))
    due = play.session.pending[0].due_ms
    play.play([Wait(60_000), Operator("one moment")])
    assert play.session.pending[0].due_ms == due + 60_000


def test_who_takes_over_reads_what_waits_though_its_turn_left_the_transcript() -> None:
    texts = ["steer", *(f"text {n}" for n in range(25))]
    play = _play(Say("steer"), Wait(None), *(Say(text) for text in texts[1:]))
    assert len(play.session.transcript) == 20
    assert [bool(waiting.text) for waiting in play.session.unanswered] == [True] * 6 + [False] * 20
    play.act(Say("human"))
    shown = [e.body for e in play.steps[-1].record.effects if isinstance(e.body, Forward)]
    assert [forward.text for forward in shown] == [*texts, "human"]


# ---- dialogs, versions, failures ---------------------------------------------------------------


def test_entering_initial_ends_the_dialog() -> None:
    play = _play(Say("hi"), Wait(None), Outcome(0), Wait(HOUR_MS))
    session = play.session
    assert (session.state, session.epoch, session.turns, session.transcript) == ("new", 2, 0, ())
    assert session.seen


def test_a_leaf_that_the_new_version_lacks_ends_the_dialog() -> None:
    play = _play(Say("steer"), Wait(None), Activate())
    assert play.session.state == "new"
    assert _ends(play) == [("steer", "failed")]
    assert _kinds(play.steps[-1]) == ["Cancel", "CloseReply"]


def test_the_new_version_starts_its_own_timers() -> None:
    play = _play(Say("hi"), Activate())
    assert [p.due_ms for p in play.session.pending] == [START_MS + 4_000]


def test_a_session_of_another_flow_is_begun_anew_with_an_apology() -> None:
    play = _play(Say("skill"), Wait(None))
    stranger = replace(play.session, flow=replace(play.session.flow, name="unknown"))
    control = FlowActivated(flow=TableFlow().ref)
    done = step(TableFlow(way_out="works"), stranger, play.event("s/activation", control))
    assert (done.session.state, done.session.pending) == ("new", ())
    assert [d.how for d in done.record.dispositions] == ["failed"]


def test_a_step_for_a_flow_that_the_session_does_not_run_is_the_hosts_mistake() -> None:
    session = new_session(TableFlow(), "s")
    event = Play([TableFlow()], "s").event("s/1", FlowActivated(flow=TableFlow().ref))
    with pytest.raises(ValueError, match="the host gave"):
        step(TableFlow(version=2), session, replace(event, body=_play(Say("x")).events[0].body))


@pytest.mark.parametrize("text", ["raise", "grow", "shout", "misplace"])
@pytest.mark.parametrize("way_out", ["none", "works", "broken"])
def test_whatever_a_callback_does_wrong_the_message_ends_as_failed(text: str, way_out: str) -> None:
    play = _play(Say("hi"), Say(text), way_out=way_out)
    assert play.steps[-1].record.error is not None
    assert _ends(play) == [("hi", "failed"), (text, "failed")]
    assert _triggers(play.steps[-1]) == (["step_failed"] if way_out == "works" else [])
    play.play([Say("again"), Wait(None), Outcome(0)])
    assert _ends(play)[-1] == ("again", "answered")


def test_a_queued_message_that_breaks_is_not_tried_again() -> None:
    play = _play(Say("skill"), Wait(None), Say("raise"), Outcome(0), way_out="works")
    assert play.session.postponed == ()
    assert _ends(play) == [("skill", "failed"), ("raise", "failed")]


def test_a_due_request_that_breaks_is_over_and_its_runner_is_told() -> None:
    flow = TableFlow(way_out="works")
    index, row = flow._at["bot", "request_failed"][0]
    flow._at["bot", "request_failed"] = [(index, row._replace(do=lambda turn: 1 / 0))]
    play = Play([flow]).play([Say("hi"), Wait(None), Wait(None)])
    assert play.steps[-1].record.error == "ZeroDivisionError in <lambda>"
    assert _kinds(play.steps[-1]) == ["Cancel", "CloseReply", "SendMessage"]
    assert play.waiting() == []
    assert play.session.open_replies == ()


def test_an_error_is_described_without_what_a_person_wrote() -> None:
    play = _play(Say("hi"), Say("raise"))
    assert play.steps[-1].record.error == "KeyError in _obey"


# ---- limits ------------------------------------------------------------------------------------


def test_more_than_4_000_messages_are_refused_until_their_hours_have_passed() -> None:
    play = _play()
    for _ in range(4_001):
        play.say("refuse")
    assert _ends(play)[-1] == ("refuse", "refused")
    assert play.steps[-1].record.note == "refused"
    assert play.steps[-2].record.note == ""
    play.act(Wait(27 * HOUR_MS))
    play.play([Say("hi"), Wait(None), Outcome(0)])
    assert _ends(play)[-1] == ("hi", "answered")


def test_who_writes_too_much_is_told_once_an_hour_and_a_refused_message_is_refused_once() -> None:
    play = _play(*(Feedback("up") for _ in range(4_000)), Say("one"))
    assert _kinds(play.steps[-1]) == ["SendMessage"]
    assert play.steps[-1].record.effects[0].body.text == "too many at once"  # type: ignore[union-attr]
    play.play([Say("two"), Again(4_000), Again(4_001)])
    assert [done.record.note for done in play.steps[-3:]] == ["refused", "duplicate", "duplicate"]
    assert [_kinds(done) for done in play.steps[-3:]] == [[], [], []]
    play.play([Wait(HOUR_MS), Say("three"), Say("four")])
    assert [_kinds(done) for done in play.steps[-2:]] == [["SendMessage"], []]
    assert _ends(play) == [(text, "refused") for text in ("one", "two", "three", "four")]
    assert play.session.address is not None


def test_a_flood_never_fills_a_session_and_what_is_no_message_is_still_taken() -> None:
    play = _play(Say("human"))
    for _ in range(8_200):
        play.act(Say("flood"))
    assert _ends(play)[-1] == ("flood", "refused")
    play.act(Again(-1))
    assert play.steps[-1].record.note == "duplicate"
    play.play([Operator("please stop"), Operator(""), Stop()])
    assert [done.record.note for done in play.steps[-3:]] == ["", "", ""]
    assert len(play.steps[-1].encoded) < 128 * 1024
    assert max(Counter(d.message for s in play.steps for d in s.record.dispositions).values()) == 1


def test_a_message_older_than_a_day_is_expired_and_not_answered() -> None:
    play = _play(Say("old", age_ms=24 * HOUR_MS + 1), Say("just in time", age_ms=24 * HOUR_MS))
    assert _ends(play) == [("old", "expired")]
    assert play.session.turns == 1


def test_a_message_that_was_set_aside_can_be_taken_by_a_person_whatever_its_age() -> None:
    play = _play(Lost("hi"), Wait(30 * HOUR_MS), Redrive(0), Wait(None), Outcome(0))
    assert _ends(play) == [("hi", "answered")]


def test_a_redrive_and_its_message_are_one_message_whichever_comes_first() -> None:
    play = _play(Lost("hi"), Redrive(0), Again(-1), Redrive(0), Wait(None), Outcome(0))
    assert [done.record.note for done in play.steps[:3]] == ["", "duplicate", "duplicate"]
    assert _ends(play) == [("hi", "answered")]
    play = _play(Say("hi"), Redrive(0), Wait(None), Outcome(0, "fail"), Redrive(0))
    assert _ends(play) == [("hi", "failed")]
    assert play.steps[-1].record.note == "duplicate"


@pytest.mark.parametrize(
    ("before", "how"),
    [
        ((Say("human"),), "forwarded"),
        ((Say("skill"), Wait(None), *(Say("more") for _ in range(8))), "refused"),
        ((Say("skill"), Wait(None), Say("raise"), Outcome(0)), "failed"),
    ],
)
def test_however_a_redriven_message_ends_its_disposition_names_the_message(
    before: tuple[Stimulus, ...], how: str
) -> None:
    play = _play(*before, Lost("lost"), Redrive(0), *(Wait(None) for _ in range(3)))
    assert ("lost", how) in _ends(play)
    for effect in (e for done in play.steps for e in done.record.effects):
        if isinstance(effect.body, Forward) and effect.body.text == "lost":
            assert effect.body.message == play.lost[0].id


def test_a_redriven_message_can_be_the_first_of_its_session() -> None:
    taken = _play(Say("hi"), Redrive(0)).events[1]
    done = step(TableFlow(), new_session(TableFlow(), taken.session_id), taken)
    assert done.session.address == taken.body.message.address  # type: ignore[union-attr]


def test_log_time_never_goes_back() -> None:
    play = _play(Say("hi"), Wait(-HOUR_MS, wakes=False), Say("more"))
    assert play.session.now_ms == START_MS


def test_a_skill_gets_the_text_and_its_deadline() -> None:
    play = _play(Say("skill"), Wait(None))
    (run,) = play.steps[-1].record.effects
    assert isinstance(run.body, RunSkill)
    assert run.expires_ms == play.session.now_ms + 10_000


# ---- what a callback may write -----------------------------------------------------------------

WRONG: tuple[Callable[[Turn], None], ...] = (
    lambda turn: turn.say(None),  # type: ignore[arg-type]
    lambda turn: turn.apologise(17),  # type: ignore[arg-type]
    lambda turn: turn.call_model(b"bytes", within_s=1),  # type: ignore[arg-type]
    lambda turn: turn.call_model("x", within_s=0.5),  # type: ignore[arg-type]
    lambda turn: turn.run_skill(None, "x", within_s=1),  # type: ignore[arg-type]
    lambda turn: turn.find_intent(["x"], within_s=1),  # type: ignore[arg-type]
    lambda turn: turn.say("half a character: \ud800"),
    lambda turn: turn.set(asked=["a list"]),
    lambda turn: turn.set(asked={"a", "set"}),
    lambda turn: turn.set(asked=None),
    lambda turn: turn.set(asked=(1,)),
    lambda turn: turn.set(unheard_of=1),
    lambda turn: turn.data.asked.append("x"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_what_could_not_be_read_again_fails_the_step_that_wrote_it(
    wrong: Callable[[Turn], None],
) -> None:
    flow = TableFlow()
    index, row = flow._at["bot.settling", "message_received"][0]
    flow._at["bot.settling", "message_received"] = [(index, row._replace(do=wrong))]
    play = Play([flow]).play([Say("hi"), Say("wrong")])
    done = play.steps[-1]
    assert done.record.error is not None
    assert _ends(play) == [("hi", "failed"), ("wrong", "failed")]
    assert codec.decode_session(done.encoded) == done.session
    assert codec.decode_step(done.encoded_record) == done.record


def test_a_condition_cannot_change_the_turn() -> None:
    flow = TableFlow()
    index, row = flow._at["bot.settling", "message_received"][0]
    changing = row._replace(when=lambda turn: turn.set(asked=()))  # type: ignore[arg-type, return-value]
    flow._at["bot.settling", "message_received"] = [(index, changing)]
    play = Play([flow]).play([Say("hi"), Say("more")])
    assert play.steps[-1].record.error == "TurnIsReadOnly in _writable"
