"""Laws that need only the flow: whatever happens, no cell is missing and no message is lost."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.events import (
    FeedbackGiven,
    HandedBack,
    IntentFound,
    ModelFailed,
    ModelReplied,
    Outcome,
    ReplyUndelivered,
    SkillDone,
    SkillFailed,
    StopRequested,
)
from statemachines.assistant import Assistant
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest
from tests.flow_tests.dialog import Dialog
from tests.flow_tests.test_assistant import ALL

ASSISTANTS = [Assistant(config) for config in ALL]
TEXTS = [
    "hi",
    "摘要",
    "总结 a b",
    "x" * 300,
    "human",
    "转人工",
    "cancel",
    "sick",
    "today",
    "yes",
    "",
]
PEOPLE = [
    StopRequested(),
    HandedBack(operator="o"),
    FeedbackGiven(reply_id="s/r", verdict="down"),
    ReplyUndelivered(reply_id="s/r", state="unknown"),
]
OUTCOMES: dict[str, list[Outcome]] = {
    "model": [
        ModelReplied(text="hello"),
        ModelReplied(text="系统错误", fallback="escalate_to_human"),
        ModelFailed(reason="unavailable"),
    ],
    "skill": [
        SkillDone(text="short"),
        SkillDone(text="系统错误", fallback="escalate_to_human"),
        SkillFailed(reason="died"),
    ],
    "intent": [IntentFound(intent="文档摘要"), IntentFound(intent="other")],
}

happenings = st.lists(
    st.one_of(
        st.tuples(st.just("says"), st.sampled_from(TEXTS)),
        st.tuples(st.just("outcome"), st.integers(0, 5)),
        st.tuples(st.just("person"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("operator"), st.just("here")),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 3, 50, 1_000])),
    ),
    max_size=25,
)


def played(flow: Flow, what: list) -> Dialog:
    dialog = Dialog(flow)
    for kind, given_ in what:
        if kind == "says":
            dialog.says(given_)
        elif kind == "person":
            dialog.happens(given_)
        elif kind == "operator":
            dialog.operator_says(given_)
        elif kind == "wait":
            dialog.wait_through(given_)
        elif requests := dialog.requests():
            request = requests[given_ % len(requests)]
            outcomes = OUTCOMES[request.kind]
            dialog.happens(outcomes[given_ % len(outcomes)], request.effect_id)
    return dialog


def holds(flow: Flow, what: list) -> None:
    dialog = played(flow, what)
    dialog.wait_through(flow.report.bound_s)
    assert [record.error for record in dialog.records if record.error] == []
    assert set(dialog.dispositions()) == dialog.messages
    arrived = {(m.source, m.trigger) for record in dialog.records for m in record.path}
    assert not arrived & set(flow.report.impossible)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flow=st.sampled_from(ASSISTANTS), what=happenings)
def test_every_message_of_an_assistant_ends_once_within_b(flow: Flow, what: list) -> None:
    holds(flow, what)


@settings(max_examples=60, deadline=None)
@given(what=happenings)
def test_every_message_of_the_form_ends_once_within_b(what: list) -> None:
    holds(LeaveRequest(), what)


@settings(max_examples=40, deadline=None)
@given(flow=st.sampled_from(ASSISTANTS), what=happenings)
def test_the_same_happenings_lead_to_the_same_bytes(flow: Flow, what: list) -> None:
    again = type(flow)(flow.config)
    assert played(flow, what).records == played(again, what).records
