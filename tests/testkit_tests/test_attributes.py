"""What a class of dialog tests is given is looked at when it is made: a wrong attribute is told
with its class, its name, what was found and what is allowed."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from statemachines.assistant import Assistant
from testkit.dialog_tests import DialogTests, always, by_class, texts, within
from testkit.dialogs import Dialog
from testkit.predicates import Told


def made(**attributes: object) -> type[DialogTests]:
    return type("Mine", (DialogTests,), {"flow": Assistant, "__test__": False, **attributes})


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"users": 0}, "Mine.users is 0; allowed is a whole number from 1"),
        ({"users": -1}, "Mine.users is -1; allowed is a whole number from 1"),
        ({"users": "2"}, "Mine.users is '2'; allowed is a whole number from 1"),
        ({"users": True}, "Mine.users is True; allowed is a whole number"),
        ({"says": {"chat": []}}, "Mine.says is {'chat': []}; allowed is texts by class"),
        ({"says": {"chat": "hi"}}, "Mine.says is {'chat': 'hi'}; allowed is texts by class"),
        ({"says": {"": ["hi"]}}, "Mine.says is {'': ['hi']}; allowed is texts by class"),
        ({"says": {"chat": ["\ud800"]}}, "Mine.says is "),
        ({"says": ["hi"]}, "Mine.says is ['hi']; allowed is texts by class"),
        ({"intent": ["chat"]}, "Mine.intent is ['chat']; allowed is an intent by class"),
        ({"model": "ok"}, "Mine.model is 'ok'; allowed is a list of at least one text"),
        ({"model": []}, "Mine.model is []; allowed is a list of at least one text"),
        ({"skill": [1]}, "Mine.skill is [1]; allowed is a list of at least one text"),
        ({"operator": []}, "Mine.operator is []; allowed is a list of at least one text"),
        ({"rests": "person"}, "Mine.rests is 'person'; allowed is a list of names of states"),
        ({"flow": []}, "Mine.flow is []; allowed is a Flow class, an instance, or a list"),
        ({"flow": [Assistant, "assistant"]}, "allowed is a Flow class, an instance, or a list"),
        ({"settings": 5}, "Mine.settings is 5; allowed is hypothesis.settings"),
    ],
)
def test_a_wrong_attribute_is_told(attributes: dict[str, object], told: str) -> None:
    with pytest.raises(TypeError) as error:
        made(**attributes)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: texts(chat="hi"), 'chat must be a list of at least one text: chat=["hi"]'),
        (lambda: texts(chat=[]), "chat must be a list of at least one text"),
        (lambda: texts(chat=[1]), "chat holds what is no text: [1]"),
        (lambda: texts(**{" ": ["hi"]}), "a class has a name"),
        (lambda: by_class(chat=1), "an intent is a text"),
        (lambda: within(math.nan), "more than 0: @within(120); found nan"),
        (lambda: within(math.inf), "more than 0: @within(120); found inf"),
        (lambda: within(0), "more than 0: @within(120); found 0"),
    ],
)
def test_a_wrong_argument_is_told(make: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError) as error:
        make()
    assert told in str(error.value)


async def later(self: object, d: Dialog) -> bool:
    return False


def bit_by_bit(self: object, d: Dialog) -> Any:
    yield False


@pytest.mark.parametrize(
    ("marked", "told"),
    [
        (later, "@always: later is async, and nobody would await it"),
        (bit_by_bit, "@always: bit_by_bit has a yield in it"),
        (staticmethod(lambda d: False), "is a staticmethod; write a method"),
    ],
)
def test_what_gives_no_answer_is_no_predicate(marked: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        always(marked)


def test_a_predicate_that_is_made_static_is_told() -> None:
    @always
    def it_holds(d: Dialog) -> bool:
        return False

    with pytest.raises(
        TypeError, match=r"Mine\.it_holds is a staticmethod: a predicate is a method"
    ):
        made(it_holds=staticmethod(it_holds))


def test_a_predicate_may_not_be_called_as_one_of_the_tests() -> None:
    @always
    def laws(self: object, d: Dialog) -> bool:
        return True

    with pytest.raises(TypeError, match=r"Mine\.laws: a predicate's name must not begin so"):
        made(laws=laws)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"rests": ["persn"]}, "Mine.rests: there is no state 'persn'; there are: .*person"),
        ({"intent": {"chta": "chat"}}, "Mine.intent: 'chta' is no class of `says`.* chat"),
        (
            {"says": {"person_requested": ["humann"]}},
            "Mine.says: person_requested is a command of the flow, and none of its words is there",
        ),
    ],
)
def test_a_name_that_the_flow_does_not_have_is_told(
    attributes: dict[str, object], told: str
) -> None:
    tests: Any = made(**attributes)
    of = "test_states_are_left_without_a_user" if "rests" in attributes else "test_laws[pure]"
    with pytest.raises(Told, match=told):
        getattr(tests(), of)()


def test_a_misspelt_attribute_is_told_and_a_value_of_ones_own_is_not() -> None:
    with pytest.raises(TypeError, match=r"Mine\.say: there is no such attribute; .* mean says\?"):
        made(say={"chat": ["hi"]})
    made(greeting="hi")


class Unbuilt(Assistant):
    name = "unbuilt"

    def build(self, config: object) -> Any:
        raise RuntimeError("no such server")


@pytest.mark.parametrize("of", ["flow_loads", "laws[pure]", "states_are_left_without_a_user"])
def test_a_flow_that_raises_while_it_is_built_is_told_in_all_tests(of: str) -> None:
    tests: Any = made(flow=Unbuilt)
    told = r"^the flow does not load: RuntimeError: no such server \(test_attributes\.py:\d+\)$"
    with pytest.raises(Told, match=told):
        getattr(tests(), f"test_{of}")()
