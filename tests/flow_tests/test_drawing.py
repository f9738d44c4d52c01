"""Drawings show every state and every row, and are what their formats say they are."""

from xml.etree import ElementTree

import pytest

from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.drawing import FORMATS, draw, told
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest

SVG = "{http://www.w3.org/2000/svg}"
FLOWS = [
    Assistant(),
    Assistant(
        AssistantConfig(
            settle_s=2,
            skills=(SkillTrigger(name="s", trigger_words=("摘要",)),),
            recogniser=True,
            busy="merge",
        )
    ),
    LeaveRequest(),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.ref))
def test_every_state_and_every_row_is_shown(flow: Flow, form: str) -> None:
    drawn = draw(flow, form=form)
    for name in flow.table.states:
        assert name.rpartition(".")[2] in drawn
    for row in flow.table.rows:
        assert row.trigger in drawn


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.ref))
def test_a_picture_is_well_formed_and_no_states_overlap(flow: Flow) -> None:
    root = ElementTree.fromstring(draw(flow, form="svg"))
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("class", "").startswith("state")
    ]
    assert len(boxes) == len(flow.table.states)
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert _apart(one, other) or _inside(other, one)


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    beside = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
    above = one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
    return beside or above


def _inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    across = outer[0] <= inner[0] and inner[0] + inner[2] <= outer[0] + outer[2]
    along = outer[1] <= inner[1] and inner[1] + inner[3] <= outer[1] + outer[3]
    return across and along


def test_the_report_tells_what_a_person_asks() -> None:
    shown = told(Assistant().report)
    assert "A usual turn is 2 microsteps\n  message_received: bot.listening" in shown
    assert "bot.listening: feedback_given, handed_back, reply_undelivered, stop_requested" in shown
    assert "24705 s (6 h 51 min)" in shown


def test_text_shows_the_state_tree() -> None:
    lines = draw(LeaveRequest(), form="text").splitlines()
    assert "  │  ├─ since  (begins here)" in lines
    assert "  form  (after 30 min: gave_up)" in lines
