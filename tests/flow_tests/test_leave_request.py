"""The leave request form: a dialog's state tree, walked through."""

from datetime import date

import pytest

from statemachines.leave_request import LeaveRequest
from statemachines.leave_slots import agrees, day_of, kind_of
from tests.flow_tests.dialog import Dialog, said

TODAY = date(2027, 1, 15)  # the log's day in these dialogs, a Friday


def walked(*texts: str, **config: object) -> Dialog:
    dialog = Dialog(LeaveRequest(LeaveRequest.Config(**config)))
    for text in texts:
        dialog.says(text)
    return dialog


def test_a_form_is_filled_and_confirmed() -> None:
    dialog = walked("hi", "sick leave", "tomorrow", "monday", "flu {and} more")
    assert dialog.state == "form.confirm"
    assert said(dialog.records[-1]) == [
        "sick leave from 2027-01-16 until 2027-01-18, 3 day(s). Reason: flu {and} more. "
        "Is that right?"
    ]
    assert said(dialog.says("yes")) == ["Noted: sick leave, 2027-01-16 to 2027-01-18."]
    assert (dialog.state, dialog.session.epoch) == ("new", 2)
    assert set(dialog.dispositions().values()) == {"answered"}


def test_a_form_in_chinese() -> None:
    dialog = walked("请假", "年假", "12月24日", "12月25日", "休息", language="zh")
    assert "共 2 天" in said(dialog.records[-1])[0]


@pytest.mark.parametrize("steps", range(6))
def test_it_can_be_cancelled_anywhere(steps: int) -> None:
    dialog = walked(*["hi", "sick", "today", "today", "flu"][:steps])
    record = dialog.says("Cancel")
    assert dialog.state == "new"
    expected = "Cancelled. Nothing was requested." if steps else "There is nothing to cancel."
    assert said(record) == [expected]


def test_what_is_not_understood_is_asked_again() -> None:
    dialog = walked("hi", "some leave", "sick", "someday", "today", "yesterday")
    assert dialog.state == "form.dates.until"
    dialog.says("2020-01-01")
    assert said(dialog.records[-1]) == [
        "That is before the first day, 2027-01-15. Until which day?"
    ]


def test_a_no_begins_the_form_anew() -> None:
    dialog = walked("hi", "sick", "today", "today", "flu", "hm", "no")
    assert dialog.state == "form.kind"
    assert bytes(dialog.session.data) == LeaveRequest().encode_data(LeaveRequest.Data())


def test_half_an_hour_ends_the_form_wherever_it_stands() -> None:
    dialog = walked("hi", "sick", "today")
    dialog.wait(1_799)
    assert dialog.state == "form.dates.until"
    dialog.wait(1)
    assert dialog.state == "new"


def test_today_is_the_configured_time_zones() -> None:
    late = walked("hi", "sick", "today", utc_offset_min=60 * 14)  # the log stands at 08:00 UTC
    early = walked("hi", "sick", "today", utc_offset_min=-60 * 12)
    days = [bytes(d.session.data).decode().split('"since":"')[1][:10] for d in (late, early)]
    assert days == ["2027-01-15", "2027-01-14"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", TODAY),
        ("后天", date(2027, 1, 17)),
        ("Friday", TODAY),
        ("周四", date(2027, 1, 21)),
        ("2027-2-3", date(2027, 2, 3)),
        ("2027年2月3日", date(2027, 2, 3)),
        ("1/14", date(2028, 1, 14)),
        ("2月3号", date(2027, 2, 3)),
        ("2/30", None),
        ("soon", None),
    ],
)
def test_days_are_understood(text: str, day: date | None) -> None:
    assert day_of(text, today=TODAY, since=TODAY) == day


def test_kinds_and_answers_are_understood() -> None:
    assert [kind_of(t) for t in ("I am ill", "请病假", "still", "")] == ["sick", "sick", None, None]
    assert [agrees(t) for t in ("OK.", "不对", "maybe")] == [True, False, None]
