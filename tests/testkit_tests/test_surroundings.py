"""What is around a simulated dialog: drawn, kept in saved dialogs, and the same from one seed."""

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from engine import codec
from engine.errors import Refused
from engine.events import FlowActivated
from statemachines.assistant import Assistant
from streams.chat.parse import parse
from streams.chat.write import write
from testkit import fuzz, laws, stimuli
from testkit.chat import from_chat, head_of, to_chat
from testkit.chat_world import around_of, world_of
from testkit.script import Script
from testkit.strategies import Plan, plans
from testkit.surroundings import SOME, Surroundings, alike, of_seed, simulator
from testkit.worlds import Called, Evidence, Read
from tests.testkit_tests import simulated

ACTS = (stimuli.Say(kind="chat"), stimuli.Move(0), stimuli.Outcome(), stimuli.Say(kind="chat"))
SAY_ALL = [stimuli.Say(user=user, kind="chat") for user in range(6)]


def ran(around: Surroundings) -> Evidence:
    made = simulator(Assistant(), Script(), seed=1, around=around)
    for act in ACTS:
        made.act(act)
    made.rest()
    return made.evidence()


def refs(evidence: Evidence) -> list[str]:
    """The flows that became the active one of the first partition, in order."""
    records = evidence.logs[0].read(0, after=0, limit=99)
    bodies = [codec.decode_event(record.value).body for record in records if not record.session_id]
    return [str(body.flow) for body in bodies if isinstance(body, FlowActivated)]


def test_plans_have_each_of_them_sometimes_and_shrink_to_none() -> None:
    drawn: set[Surroundings] = set()

    @settings(max_examples=150, phases=[Phase.generate], database=None, derandomize=True)
    @given(plan=plans(Assistant(), Script()))
    def draw(plan: Plan) -> None:
        drawn.add(plan.around)

    draw()
    assert drawn == set(SOME)
    assert find(st.sampled_from(SOME), lambda around: True) == Surroundings()


def test_a_flow_that_changes_goes_on_with_its_sessions() -> None:
    flow = Assistant()
    evidence = ran(Surroundings(changes_flow=True))
    assert laws.check(evidence) == []
    assert refs(evidence) == [str(alike(flow).ref), str(flow.ref)]
    assert alike(flow).ref != flow.ref
    assert refs(ran(Surroundings())) == [str(flow.ref)]


def test_a_limit_is_kept_and_judged() -> None:
    around = Surroundings(limit=(1, 500))
    made = simulator(Assistant(), Script(users=6), seed=1, around=around)
    made.act_at_once(list(SAY_ALL))
    made.rest()
    evidence = made.evidence()
    assert evidence.limit == (1, 500)
    assert laws.check(evidence) == []
    calls = [one.platform_ms or 0 for one in evidence.seen if isinstance(one, Called)]
    assert max(calls) - min(calls) >= 1_000


@pytest.mark.parametrize("around", dict.fromkeys(SOME), ids=str)
def test_a_saved_dialog_builds_the_same_world(around: Surroundings) -> None:
    flow, script = Assistant(), Script()
    head = head_of(flow, script, seed=1, around=around)
    text = write(to_chat(ACTS, script, flow=flow, head=head))
    read = parse(text)
    assert around_of(read.head) == around
    again = world_of(flow, script, head=read.head)
    for act in from_chat(read).stimuli:
        again.act(act)
    again.rest()
    assert simulated.digest(again.evidence()) == simulated.digest(ran(around))


def test_one_seed_of_a_search_has_one_world_and_all_are_tried() -> None:
    flow, script = Assistant(), Script()
    tried = [fuzz.run(flow, script, seed=seed, stimuli=ACTS) for seed in range(len(SOME))]
    assert all(run.violations == () for run in tried)
    assert {run.evidence.limit for run in tried} == {around.limit for around in SOME}
    assert {len(run.evidence.flows) for run in tried} == {1, 2}
    read = [any(isinstance(one, Read) for one in run.evidence.seen) for run in tried]
    assert read == [of_seed(seed).outbox for seed in range(len(SOME))]


@pytest.mark.parametrize("line", ["limit: 2", "limit: 0 in 5 ms", "flow changes: perhaps"])
def test_what_no_world_can_have_around_it_is_told(line: str) -> None:
    with pytest.raises(Refused, match=r"limit: 2 in 1000 ms|allowed are yes and no"):
        parse(f"flow: assistant\n{line}\n\nann: hi\n")
