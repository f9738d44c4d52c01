"""What the kit found in the engine and in the flows: each test failed when it was written."""

from engine.crash_points import CrashPoint
from testkit.dialogs import dialogs
from testkit.laws import check
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus, Crash, Outcome, Platform, Say, Stop, Wait
from tests.mutants.tangled import Tangled
from tests.testkit_tests import lists


def test_a_reply_that_never_left_its_step_is_not_closed() -> None:
    # The settling ends with the very event by which the person stops: the call that it makes is
    # cancelled in the step that emitted it, so it never leaves the step, and nor may its reply.
    world = PureWorld(lists.FLOWS["merge"], script=lists.script("merge"))
    for stimulus in (Say(kind="chat"), Wait(1_998), Stop()):
        world.act(stimulus)
    world.rest()
    assert check(world.evidence()) == []


def test_who_only_names_a_skill_while_the_bot_thinks_is_answered() -> None:
    # Steered: the bot answers what it thinks about, and then asks for the text that the skill
    # needs. The question is for the message that came meanwhile: it waits for nothing more.
    world = PureWorld(lists.FLOWS["steer"], script=lists.script("steer"))
    for stimulus in (Say(kind="chat"), Say(kind="skill", variant=1), Outcome()):
        world.act(stimulus)
    (dialog,) = dialogs(world.evidence())
    assert [message.disposition for message in dialog.messages] == ["answered", "answered"]


def test_a_reply_whose_senders_die_is_marked_more_often_than_it_is_tried() -> None:
    # This one was the law's: it counted marks as attempts. A mark whose owner died before the call
    # is made again where the platform knows repetitions, and the platform has refused nothing yet.
    world = Simulator(
        lists.FLOWS["queue"], script=lists.script("queue"), seed=0, workers=1, partitions=1
    )
    crashes: list[AnyStimulus] = [Crash(CrashPoint.MARK_CALL) for _ in range(9)]
    for stimulus in [*crashes, Say(kind="human"), Wait(1)]:
        world.act(stimulus)
    world.rest()
    evidence = world.evidence()
    (dialog,) = dialogs(evidence)
    marks = [one.attempt for held in evidence.logs for one in held.deliveries_of(dialog.session_id)]
    assert max(marks) > 8
    assert check(evidence) == []


def test_an_outcome_is_late_where_a_timer_that_was_due_with_it_left_its_state() -> None:
    # Another law's: that timer is stepped before the event, and cancels the request. It ends once.
    script = Script(says={"chat": ("hi",)})
    world = Simulator(Tangled(), script=script, seed=65_092, partitions=1, workers=1)
    first: list[AnyStimulus] = [Say(user=1), Platform(), Say(), Wait(4_999), Wait(29_999), Wait()]
    for stimulus in [*first, Say(), Outcome(1)]:
        world.act(stimulus)
    world.rest()
    evidence = world.evidence()
    notes = {moment.record.note for dialog in dialogs(evidence) for moment in dialog.moments}
    assert "late" in notes
    assert check(evidence) == []
