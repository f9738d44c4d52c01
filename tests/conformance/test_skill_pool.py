"""The pool of skill processes passes the suite of its port."""

import pytest

from adapters.skills.runner import SkillPool, SkillSettings
from engine.ports import SkillRunner
from testkit.conformance import SkillRunnerSuite
from tests.skill_tests.pools import card


class TestSkillPool(SkillRunnerSuite):
    good, fails, hangs = "Echo", ("Raises", "Dies", "Declines", "Exits"), "Starts"

    @pytest.fixture
    def runner(self) -> SkillRunner:
        names = (self.good, *self.fails, self.hangs)
        cards = tuple(card(name) for name in names)
        return SkillPool(SkillSettings(cards=cards, workers=2, spare=1))
