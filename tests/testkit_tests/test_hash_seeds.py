"""Folding under two hash seeds: of whole histories, up to where nobody awaits anything."""

from engine.turn import Turn
from statemachines.leave_request import LeaveRequest
from testkit import hash_seeds
from testkit.script import Script
from tests.testkit_tests.desk import Desk
from tests.testkit_tests.wordy import Restless


class Unordered(Desk):
    """Its answers, and nothing else, are in the order of a set."""

    name = "unordered"

    def answer(self, turn: Turn) -> None:
        turn.say(" ".join({f"word{n}" for n in range(20)}))


def test_what_comes_only_at_rest_is_folded_too() -> None:
    assert hash_seeds.difference(Desk(), Script()) == ""
    told = hash_seeds.difference(Unordered(), Script())
    assert "(ModelReplied, to open.listening) gives other bytes" in told


def test_a_flow_that_never_rests_is_folded_as_far_as_it_went() -> None:
    assert hash_seeds.difference(Restless(), Script()) == ""


FORM = Script(says={"chat": ("hi", "annual", "tomorrow", "2027-03-01", "because", "yes", "no")})


class UnorderedAtTheEnd(LeaveRequest):
    """Only who is neither for nor against it, at the very end of the form, is told so."""

    name = "unordered_at_the_end"

    def ask_yes_or_no(self, turn: Turn) -> None:
        turn.say(" ".join({f"word{n}" for n in range(20)}))


def test_what_is_said_deep_in_a_form_is_folded_too() -> None:
    assert hash_seeds.difference(LeaveRequest(), FORM) == ""
    told = hash_seeds.difference(UnorderedAtTheEnd(), FORM)
    assert "(MessageReceived, to form.confirm) gives other bytes" in told
