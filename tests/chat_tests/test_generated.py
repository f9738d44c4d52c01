"""Generated dialogs as `.chat` files: written, read and run again, they are the same dialogs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.crash_points import CrashPoint
from engine.errors import Refused
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from streams.chat import lines
from streams.chat.flows import build
from streams.chat.parse import parse
from streams.chat.run import run
from streams.chat.write import write
from testkit import stimuli
from testkit.chat import NAMES, from_chat, head_of, to_chat
from testkit.chat_reader import REASONS
from testkit.chat_world import talk_on_world, world_of
from testkit.dialogs import NAMES as NAMES_OF_DIALOGS
from testkit.script import FAILURES, Script
from testkit.stimuli import AnyStimulus
from testkit.surroundings import of_seed
from testkit.worlds import Evidence, World

FLOW = Assistant(
    AssistantConfig(
        busy="merge",
        recogniser=True,
        skills=(SkillTrigger(name="文档摘要", trigger_words=("总结", "sum")),),
    )
)
SCRIPT = Script(
    users=2,
    says={"chat": ("hi", "报销?", ""), "sum": ("总结 a b c",), "also": ("hi", "转人工")},
    intents={"chat": "chat", "sum": "文档摘要"},
    model=("ok", "", "长" * 30_000, "one\ntwo", "ok"),
    operator=("a person here", "another one"),
)
SMALL = st.integers(0, 5)
KINDS = st.sampled_from(["chat", "sum", "also"])
STIMULI = st.one_of(
    st.builds(stimuli.Say, SMALL, KINDS, SMALL, st.sampled_from([0, 1, 90_000_000])),
    st.builds(stimuli.Outcome, SMALL, st.sampled_from(["ok", "fail", "die"]), st.integers(0, 9)),
    st.builds(stimuli.Frame, SMALL, SMALL),
    st.builds(stimuli.Late, SMALL),
    st.builds(stimuli.Again, SMALL),
    st.builds(stimuli.Wait, st.none() | st.integers(0, 2_000_000)),
    st.builds(stimuli.Operator, SMALL, st.sampled_from(["say", "hand back"])),
    st.builds(stimuli.Stop, SMALL),
    st.builds(stimuli.Feedback, SMALL, st.sampled_from(["up", "down"])),
    st.builds(stimuli.Platform, st.sampled_from(["away", "refuses", "slow", "silent"])),
    st.just(stimuli.Disk()),
    st.builds(stimuli.Crash, st.sampled_from(CrashPoint)),
    st.builds(stimuli.Move, SMALL),
    st.builds(stimuli.Zombie, SMALL),
    st.builds(stimuli.Skew, SMALL, st.integers(-90_000, 90_000)),
    st.builds(stimuli.Redrive, SMALL),
)
WORLDS = st.sampled_from(["simulator", "pure"])


def ran(world: World, found: list[AnyStimulus] | tuple[AnyStimulus, ...]) -> object:
    for stimulus in found:
        world.act(stimulus)
    return shown(world.evidence())


def shown(evidence: Evidence) -> object:
    """All that a judge could see of a run."""
    sessions = [[tuple(row) for row in log.sessions(limit=100)] for log in evidence.logs]
    return sessions, list(evidence.seen)


@settings(max_examples=30)
@given(st.lists(STIMULI, max_size=14), st.integers(0, 99), WORLDS)
def test_a_generated_dialog_is_written_and_read_without_loss(
    found: list[AnyStimulus], seed: int, world: str
) -> None:
    head = head_of(FLOW, SCRIPT, world=world, seed=seed, around=of_seed(seed))
    chat = to_chat(found, SCRIPT, flow=FLOW, head=head)
    again = parse(write(chat))
    assert again == chat
    read = from_chat(again)
    assert len(read.stimuli) == len(found)
    assert [type(one) for one in read.stimuli] == [type(one) for one in found]
    flow = build(again.head)
    assert flow.ref == FLOW.ref
    at_first = ran(world_of(FLOW, SCRIPT, head=head), found)
    assert ran(world_of(flow, read.script, head=again.head), read.stimuli) == at_first
    talk = talk_on_world(flow, again.head, dialog=again.dialogs[0].lines)
    assert run(again.dialogs[0].lines, talk, people=again.head.users).failure is None
    assert shown(talk.world.evidence()) == at_first


def test_it_is_read_as_the_very_stimuli_that_it_was_written_from() -> None:
    found = (
        stimuli.Say(0, "chat"),
        stimuli.Say(1, "also", 0, 5_000),
        stimuli.Outcome(1),
        stimuli.Outcome(0),
        stimuli.Crash(CrashPoint.MARK_CALL),
        stimuli.Outcome(1, "ok", 3),
        stimuli.Late(3),
        stimuli.Outcome(0, "fail", 4),
        stimuli.Wait(1_500),
        stimuli.Wait(),
    )
    head = head_of(FLOW, SCRIPT)
    chat = to_chat(found, SCRIPT, flow=FLOW, head=head)
    read = from_chat(parse(write(chat)))
    assert read.stimuli == found
    assert read.script == SCRIPT
    kept = [line for line in chat.dialogs[0].lines if not isinstance(line, lines.Note)]
    assert kept[:3] == [
        lines.Says(who="ann", text="hi"),
        lines.Says(who="bob", text="hi", kind="also", age_ms=5_000),
        lines.Answers(kind="intent", text="chat", number=2),
    ]


def test_what_a_person_wrote_becomes_stimuli_and_what_they_expect_stands_beside() -> None:
    chat = parse(
        "flow: assistant\nann: hi\nbob: hello\nann: why?\nmodel 2: ok\nbot to bob: ok\n"
        "again: ann's message 2\n[ann: bot.answering]\n"
    )
    read = from_chat(chat)
    assert read.stimuli == (
        stimuli.Say(0, "hi"),
        stimuli.Say(1, "hello"),
        stimuli.Say(0, "why?"),
        stimuli.Outcome(1),
        stimuli.Again(2),
    )
    assert [at for at, _ in read.expectations] == [4, 5]
    assert read.script.model == ("ok",)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ann quotes: x\nann: sum", "only the pure step"),
        ("ann: hi\nmodel fails: deadline", "a runner fails with error"),
        ("ann: hi\nagain: ann's message 2", "has written 1 message so far"),
        ("ann: hi\nmodel for ann: ok", "by its number"),
        ("ann: hi\noperator: a\noperator: b", "say one text"),
    ],
)
def test_what_no_stimulus_says_is_refused_with_its_line(line: str, told: str) -> None:
    chat = parse(f"flow: assistant\n{line}")
    with pytest.raises(Refused, match=told):
        from_chat(chat)


def test_users_are_called_the_same_everywhere_and_fail_for_the_same_reasons() -> None:
    assert NAMES == NAMES_OF_DIALOGS
    assert REASONS == FAILURES
    assert set(REASONS) < set(lines.Reason.__args__)  # type: ignore[attr-defined]
