"""The assistant, as a person, a model and an operator meet it."""

import itertools

import pytest

from engine.effects import Cancel, CloseReply, FallbackStrategy, Withdraw
from engine.errors import Refused
from engine.events import FeedbackGiven, HandedBack, StopRequested
from statemachines.assistant import Assistant
from statemachines.assistant_config import CHINESE, ENGLISH, AssistantConfig, SkillTrigger
from tests.flow_tests.dialog import Dialog, forwarded, prompts, requested, said, skills

SUMMARY = SkillTrigger(name="文档摘要", trigger_words=("摘要", "总结", "sum"))
ACTION = "escalate_to_human"
ALL = [
    AssistantConfig(
        busy=busy,
        settle_s=settle_s,
        skills=known,
        recogniser=recogniser,
        on_failure=on_failure,
        greeting="Hello!" if recogniser else "",
    )
    for busy, settle_s, known, recogniser, on_failure in itertools.product(
        ("queue", "merge", "interrupt", "steer"),
        (0, 2),
        ((), (SUMMARY,)),
        (False, True),
        ("apologise", "person"),
    )
]


def assistant(**given: object) -> Dialog:
    return Dialog(Assistant(AssistantConfig(**given)))


def test_a_usual_turn_is_two_microsteps() -> None:
    dialog = assistant()
    first = dialog.says("hi")
    answered = dialog.model_says("hello")
    assert [m.dest for m in first.path + answered.path] == ["bot.answering", "bot.listening"]
    again = dialog.says("and now?")
    assert [(m.source, m.dest) for m in again.path] == [("bot.listening", "bot.answering")]
    assert dialog.dispositions() == {"s/0": "answered"}
    assert said(answered) == ["hello"]
    assert len(dialog.flow.report.usual_turn) == 2


def test_the_greeting_comes_once_and_answers_nothing() -> None:
    dialog = assistant(greeting="Welcome!")
    first = dialog.says("hi")
    assert said(first) == ["Welcome!"]
    assert first.dispositions == ()
    dialog.model_says("hello")
    assert said(dialog.says("more")) == []


def test_queue_lets_a_second_message_wait_for_its_turn() -> None:
    dialog = assistant(busy="queue")
    dialog.says("one")
    assert dialog.says("two").note == "postponed"
    record = dialog.model_says("first answer")
    assert prompts(record) == ["two"]
    dialog.model_says("second answer")
    assert dialog.dispositions() == {"s/0": "answered", "s/1": "answered"}


def test_merge_asks_both_messages_anew_as_one_question() -> None:
    dialog = assistant(busy="merge")
    dialog.says("one")
    record = dialog.says("two")
    assert prompts(record) == ["one\ntwo"]
    assert [e.body.how for e in record.effects if isinstance(e.body, CloseReply)] == ["cancelled"]
    dialog.model_says("both")
    assert dialog.dispositions() == {"s/0": "merged", "s/1": "answered"}


def test_interrupt_asks_only_the_new_message() -> None:
    dialog = assistant(busy="interrupt")
    dialog.says("one")
    record = dialog.says("two")
    assert prompts(record) == ["two"]
    assert any(isinstance(e.body, Cancel) for e in record.effects)
    dialog.model_says("second")
    assert dialog.dispositions() == {"s/0": "merged", "s/1": "answered"}


def test_steer_goes_on_answering_and_asks_the_new_message_next() -> None:
    dialog = assistant(busy="steer")
    dialog.says("one")
    assert requested(dialog.says("two")) == []
    record = dialog.model_says("first")
    assert said(record) == ["first"]
    assert prompts(record) == ["two"]
    assert dialog.dispositions() == {"s/0": "answered"}
    dialog.model_says("second")
    assert dialog.dispositions() == {"s/0": "answered", "s/1": "answered"}
    assert dialog.state == "bot.listening"


def test_settling_joins_what_is_typed_in_pieces() -> None:
    dialog = assistant(settle_s=2)
    dialog.says("one")
    dialog.now_ms += 1_500
    dialog.says("two")
    assert dialog.state == "bot.settling"
    assert dialog.wait(1).path == ()  # the second message began the two seconds anew
    assert prompts(dialog.wait(1.5)) == ["one\ntwo"]


def test_a_trigger_word_runs_the_skill_on_the_text_after_it() -> None:
    dialog = assistant(skills=(SUMMARY,))
    record = dialog.says("总结：很长的一段话")
    assert skills(record) == [("文档摘要", "很长的一段话")]
    assert said(dialog.skill_says("短")) == ["短"]
    assert dialog.dispositions() == {"s/0": "answered"}


def test_a_word_that_only_begins_like_a_trigger_word_is_no_trigger() -> None:
    dialog = assistant(skills=(SUMMARY,))
    assert prompts(dialog.says("summer is nice")) == ["summer is nice"]


def test_a_skill_without_a_text_takes_the_quoted_one() -> None:
    dialog = assistant(skills=(SUMMARY,))
    assert skills(dialog.says("摘要", quoted="what was quoted")) == [
        ("文档摘要", "what was quoted")
    ]


def test_a_skill_without_a_text_takes_the_last_long_message() -> None:
    dialog = assistant(skills=(SUMMARY,))
    dialog.says("x" * 201)
    dialog.model_says("ok")
    dialog.says("short")
    dialog.model_says("ok")
    assert skills(dialog.says("摘要")) == [("文档摘要", "x" * 201)]


def test_a_skill_without_any_text_asks_for_one_and_takes_the_next_message() -> None:
    dialog = assistant(skills=(SUMMARY,), language="zh")
    assert said(dialog.says("摘要")) == [CHINESE.ask_for_text]
    assert dialog.state == "bot.listening"
    assert skills(dialog.says("这是正文")) == [("文档摘要", "这是正文")]


def test_without_a_recogniser_no_intent_is_looked_for() -> None:
    kinds = {e.body for config in ALL if not config.recogniser for e in _asked(config)}
    assert not any(type(body).__name__ == "FindIntent" for body in kinds)


def _asked(config: AssistantConfig) -> list:
    dialog = Dialog(Assistant(config))
    return [*requested(dialog.says("hi")), *requested(dialog.wait(config.settle_s))]


def test_a_recogniser_leads_to_a_skill_or_to_the_model() -> None:
    dialog = assistant(skills=(SUMMARY,), recogniser=True)
    dialog.says("make this shorter: a b c")
    assert skills(dialog.intent_is("文档摘要")) == [("文档摘要", "make this shorter: a b c")]
    dialog.skill_says("abc")
    dialog.says("what is a b c?")
    assert prompts(dialog.intent_is("small talk")) == ["what is a b c?"]


def test_a_recogniser_that_does_not_answer_leads_to_the_model() -> None:
    dialog = assistant(recogniser=True)
    dialog.says("hi")
    assert prompts(dialog.wait(3)) == ["hi"]


def test_a_failed_answer_is_apologised_for_and_the_next_one_works() -> None:
    dialog = assistant()
    dialog.says("hi")
    record = dialog.model_fails()
    assert said(record) == [ENGLISH.apology]
    assert dialog.dispositions() == {"s/0": "failed"}
    dialog.says("again")
    dialog.model_says("hello")
    assert dialog.dispositions()["s/2"] == "answered"


def test_a_model_that_never_answers_fails_at_its_deadline() -> None:
    dialog = assistant(model_within_s=10)
    dialog.says("hi")
    assert dialog.wait(9).dispositions == ()
    assert [d.how for d in dialog.wait(1).dispositions] == ["failed"]


def test_failures_in_a_row_can_bring_a_person() -> None:
    dialog = assistant(on_failure="person", failures_max=2)
    dialog.says("hi")
    dialog.model_fails()
    assert dialog.state == "bot.listening"
    dialog.says("again")
    dialog.model_fails()
    assert dialog.state == "person"
    assert dialog.dispositions() == {"s/0": "failed", "s/2": "forwarded"}


@pytest.mark.parametrize("words", ["转人工", " Human "])
def test_a_person_is_asked_for_by_a_command(words: str) -> None:
    dialog = assistant()
    dialog.says("hi")
    record = dialog.says(words)  # while an answer is made: a command is never postponed
    assert dialog.state == "person"
    assert forwarded(record) == ["hi", words]
    assert said(record) == [ENGLISH.person_asked_for]
    assert any(isinstance(e.body, Withdraw) for e in record.effects)


def test_a_fallback_strategy_brings_a_person_and_shows_nothing_of_the_answer() -> None:
    dialog = assistant()
    dialog.says("hi")
    record = dialog.model_says("系统错误 17", fallback="escalate_to_human")
    assert dialog.state == "person"
    assert said(record) == [ENGLISH.handed_over]
    assert dialog.dispositions() == {"s/0": "forwarded"}


def test_a_person_talks_and_hands_back() -> None:
    dialog = assistant()
    dialog.says("human")
    assert forwarded(dialog.says("are you there?")) == ["are you there?"]
    assert said(dialog.operator_says("yes")) == ["yes"]
    assert said(dialog.happens(HandedBack(operator="o"))) == [ENGLISH.handed_back]
    assert prompts(dialog.says("thanks")) == ["thanks"]


def test_nobody_comes_for_a_quarter_of_an_hour_after_the_last_word() -> None:
    dialog = assistant()
    dialog.says("human")
    dialog.now_ms += 600_000
    dialog.operator_says("a moment")
    assert dialog.wait(600).path == ()
    assert said(dialog.wait(300)) == [ENGLISH.nobody_came]
    assert dialog.state == "bot.listening"


def test_an_operator_may_speak_up_unasked() -> None:
    dialog = assistant()
    dialog.says("hi")
    record = dialog.operator_says("I take this")
    assert dialog.state == "person"
    assert said(record) == ["I take this"]
    assert dialog.dispositions() == {"s/0": "forwarded"}


def test_stop_ends_the_answer_and_what_waits_goes_on() -> None:
    dialog = assistant()
    dialog.says("one")
    dialog.says("two")
    record = dialog.happens(StopRequested())
    assert [e.body.how for e in record.effects if isinstance(e.body, CloseReply)] == ["stopped"]
    assert prompts(record) == ["two"]


def test_feedback_changes_nothing() -> None:
    dialog = assistant()
    dialog.says("hi")
    before = dialog.session
    assert dialog.happens(FeedbackGiven(reply_id="s/x", verdict="up")).note == "ignored"
    assert (dialog.session.state, dialog.session.data) == (before.state, before.data)


def test_half_an_hour_of_silence_begins_a_new_dialog() -> None:
    dialog = assistant()
    dialog.says("hi")
    dialog.model_says("hello")
    dialog.wait(1_800)
    assert (dialog.state, dialog.session.epoch, dialog.session.transcript) == ("new", 2, ())


@pytest.mark.parametrize(("pattern", "action"), [("(a+)+", ACTION), ("", ACTION), ("a", "laugh")])
def test_a_fallback_strategy_that_could_hang_or_is_unknown_is_refused(
    pattern: str, action: str
) -> None:
    strategy = FallbackStrategy(pattern=pattern, action=action)
    with pytest.raises(Refused, match="fallback strategy"):
        assistant(fallback_strategies=(strategy,))


def test_a_model_call_carries_the_fallback_strategies_and_the_limits() -> None:
    strategy = FallbackStrategy(pattern="^系统错误", action=ACTION)
    dialog = assistant(fallback_strategies=(strategy,), system_prompt="Be kind.", max_tokens=7)
    (request,) = requested(dialog.says("hi"))
    assert (request.body.fallbacks, request.body.system) == ((strategy,), "Be kind.")
    assert request.body.max_tokens == 7


def test_texts_can_be_set_one_by_one() -> None:
    flow = Assistant(AssistantConfig(language="zh"))
    assert (flow.apology, flow.queue_full) == (CHINESE.apology, CHINESE.queue_full)


@pytest.mark.parametrize(
    "config",
    ALL,
    ids=lambda c: f"{c.busy}-{c.settle_s}-{len(c.skills)}-{c.recogniser}-{c.on_failure}",
)
def test_every_configuration_loads_and_leads_a_dialog(config: AssistantConfig) -> None:
    flow = Assistant(config)
    assert flow.report.warnings == ()
    dialog = Dialog(flow)
    for words in ("hi", "摘要 abc", "and"):
        dialog.says(words)
    dialog.wait_through(flow.report.bound_s)
    assert set(dialog.dispositions()) == {"s/0", "s/1", "s/2"}
    assert [record.error for record in dialog.records if record.error] == []
