"""Folding under two hash seeds: of whole histories, up to where nobody awaits anything."""

from hypothesis import strategies as st

from engine.turn import Turn
from testkit import hash_seeds
from testkit.script import Script
from testkit.stimuli import Say
from testkit.strategies import Plan
from tests.testkit_tests.desk import Desk
from tests.testkit_tests.wordy import Restless

SAID_ONLY = st.just(Plan(stimuli=(Say(kind="chat"),)))


class Unordered(Desk):
    """Its answers, and nothing else, are in the order of a set."""

    name = "unordered"

    def answer(self, turn: Turn) -> None:
        turn.say(" ".join({f"word{n}" for n in range(20)}))


def test_what_comes_only_at_rest_is_folded_too() -> None:
    assert hash_seeds.difference(Desk(), Script(), plans=SAID_ONLY) == ""
    told = hash_seeds.difference(Unordered(), Script(), plans=SAID_ONLY)
    assert "(ModelReplied, to open.listening) gives other bytes" in told


def test_a_flow_that_never_rests_is_folded_as_far_as_it_went() -> None:
    assert hash_seeds.difference(Restless(), Script(), plans=SAID_ONLY) == ""
