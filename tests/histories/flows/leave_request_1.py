"""A small form as a dialog's state tree: kind, from, until, reason; confirm; cancel anywhere.

    new ──► form ┬ kind ──► dates ┬ since ──► until ──► reason ──► confirm ──► new
                 └────────────────┴──────── cancel, or half an hour without an end ──► new

It shows what nested states are for: one row and one timer on `form` hold in all its steps.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from engine.personal import Personal
from engine.turn import Turn
from statemachines.flow import Flow, FlowConfig, FlowData, Seconds
from tests.histories.flows.leave_slots_1 import agrees, day_of, kind_of

REASON_CHARS_MAX = 500

_EVERYBODY = ["operator_said", "handed_back", "feedback_given", "reply_undelivered"]
_TEXTS: Mapping[str, tuple[str, str]] = {
    "kind": (
        "Which kind of leave: annual, sick, personal or parental? (Say cancel at any time.)",
        "请问是哪种假：年假、病假、事假还是产假/陪产假？（随时可以说“取消”）",
    ),
    "since": (
        "From which day? For example tomorrow or 2026-12-24.",
        "从哪天开始？例如：明天，12月24日。",
    ),
    "until": ("Until which day, inclusive?", "到哪天为止（含当天）？"),
    "early": (
        "That is before the first day, {since}. Until which day?",
        "早于开始日期 {since}。到哪天为止？",
    ),
    "reason": ("What is the reason?", "请假事由是什么？"),
    "confirm": (
        "{kind} leave from {since} until {until}, {days} day(s). Reason: {reason}. Is that right?",
        "{kind}，{since} 至 {until}，共 {days} 天。事由：{reason}。确认吗？",
    ),
    "again": ("Please answer yes or no.", "请回答“是”或“不是”。"),
    "done": ("Noted: {kind} leave, {since} to {until}.", "已记录：{kind}，{since} 至 {until}。"),
    "cancelled": ("Cancelled. Nothing was requested.", "已取消，没有提交任何申请。"),
    "nothing": ("There is nothing to cancel.", "现在没有可取消的申请。"),
}
_KINDS_ZH = {"annual": "年假", "sick": "病假", "personal": "事假", "parental": "产假/陪产假"}


class LeaveRequest(Flow):
    """Asks for what a leave request needs, one thing after the other."""

    name, version, initial = "leave_request", 1, "new"

    class Data(FlowData, frozen=True, kw_only=True):
        """Days are ISO dates; empty means: not said yet."""

        kind: str = ""
        since: str = ""
        until: str = ""
        reason: Personal = ""

    class Config(FlowConfig, frozen=True, kw_only=True):
        """`utc_offset_min`: minutes east of UTC, for what `today` means."""

        language: Literal["en", "zh"] = "en"
        utc_offset_min: Annotated[int, msgspec.Meta(ge=-720, le=840)] = 0
        form_s: Seconds = 1_800

    commands = {"cancel_requested": "cancel|取消"}
    states = [
        "new",
        dict(
            name="form",
            initial="kind",
            timeout="form_s",
            on_timeout="gave_up",
            children=[
                "kind",
                dict(name="dates", initial="since", children=["since", "until"]),
                "reason",
                "confirm",
            ],
        ),
    ]
    transitions = [
        dict(trigger="message_received", source="new", dest="form", before="ask_kind"),
        dict(
            trigger="message_received",
            source="form.kind",
            dest="form.dates",
            conditions="names_a_kind",
            before=["take_kind", "ask_since"],
        ),
        dict(trigger="message_received", source="form.kind", dest=None, before="ask_kind"),
        dict(
            trigger="message_received",
            source="form.dates.since",
            dest="form.dates.until",
            conditions="names_a_day",
            before=["take_since", "ask_until"],
        ),
        dict(trigger="message_received", source="form.dates.since", dest=None, before="ask_since"),
        dict(
            trigger="message_received",
            source="form.dates.until",
            dest=None,
            conditions="ends_too_early",
            before="ask_later_day",
        ),
        dict(
            trigger="message_received",
            source="form.dates.until",
            dest="form.reason",
            conditions="names_a_day",
            before=["take_until", "ask_reason"],
        ),
        dict(trigger="message_received", source="form.dates.until", dest=None, before="ask_until"),
        dict(
            trigger="message_received",
            source="form.reason",
            dest="form.confirm",
            before=["take_reason", "ask_to_confirm"],
        ),
        dict(
            trigger="message_received",
            source="form.confirm",
            dest="new",
            conditions="says_yes",
            before="finish",
        ),
        dict(
            trigger="message_received",
            source="form.confirm",
            dest="form",
            restart=True,
            conditions="says_no",
            before=["forget", "ask_kind"],
        ),
        dict(trigger="message_received", source="form.confirm", dest=None, before="ask_yes_or_no"),
        dict(trigger="cancel_requested", source="form", dest="new", before="cancel"),
        dict(trigger="cancel_requested", source="new", dest=None, before="say_nothing_to_cancel"),
        dict(trigger="stop_requested", source="form", dest="new", before="cancel"),
        dict(trigger="gave_up", source="form", dest="new", before="cancel"),
    ]
    ignore = {"new": [*_EVERYBODY, "stop_requested"], "form": _EVERYBODY}

    # ---- conditions --------------------------------------------------------------------------

    def names_a_kind(self, turn: Turn) -> bool:
        return kind_of(turn.text) is not None

    def names_a_day(self, turn: Turn) -> bool:
        return _day(turn) is not None

    def ends_too_early(self, turn: Turn) -> bool:
        day = _day(turn)
        return day is not None and day.isoformat() < turn.data.since

    def says_yes(self, turn: Turn) -> bool:
        return agrees(turn.text) is True

    def says_no(self, turn: Turn) -> bool:
        return agrees(turn.text) is False

    # ---- what is taken -----------------------------------------------------------------------

    def take_kind(self, turn: Turn) -> None:
        turn.set(kind=kind_of(turn.text))

    def take_since(self, turn: Turn) -> None:
        turn.set(since=_iso(turn))

    def take_until(self, turn: Turn) -> None:
        turn.set(until=_iso(turn))

    def take_reason(self, turn: Turn) -> None:
        turn.set(reason=turn.text.strip()[:REASON_CHARS_MAX])

    def forget(self, turn: Turn) -> None:
        turn.set(kind="", since="", until="", reason="")

    # ---- what is said ------------------------------------------------------------------------

    def ask_kind(self, turn: Turn) -> None:
        turn.say(_text(turn, "kind"))

    def ask_since(self, turn: Turn) -> None:
        turn.say(_text(turn, "since"))

    def ask_until(self, turn: Turn) -> None:
        turn.say(_text(turn, "until"))

    def ask_later_day(self, turn: Turn) -> None:
        turn.say(_text(turn, "early"))

    def ask_reason(self, turn: Turn) -> None:
        turn.say(_text(turn, "reason"))

    def ask_to_confirm(self, turn: Turn) -> None:
        turn.say(_text(turn, "confirm"))

    def ask_yes_or_no(self, turn: Turn) -> None:
        turn.say(_text(turn, "again"))

    def finish(self, turn: Turn) -> None:
        turn.say(_text(turn, "done"))

    def cancel(self, turn: Turn) -> None:
        turn.say(_text(turn, "cancelled"))

    def say_nothing_to_cancel(self, turn: Turn) -> None:
        turn.say(_text(turn, "nothing"))


def _day(turn: Turn) -> date | None:
    """The day that the message names, in the configured time zone."""
    offset = timedelta(minutes=turn.config.utc_offset_min)
    today = (datetime.fromtimestamp(turn.now_ms // 1_000, UTC) + offset).date()
    since = date.fromisoformat(turn.data.since) if turn.data.since else today
    return day_of(turn.text, today=today, since=since)


def _iso(turn: Turn) -> str:
    day = _day(turn)
    return day.isoformat() if day is not None else ""


def _text(turn: Turn, name: str) -> str:
    """What to say, with what is known so far."""
    english, chinese = _TEXTS[name]
    data, in_chinese = turn.data, turn.config.language == "zh"
    days = 0
    if data.since and data.until:
        days = (date.fromisoformat(data.until) - date.fromisoformat(data.since)).days + 1
    kind = _KINDS_ZH.get(data.kind, "") if in_chinese else data.kind
    return (chinese if in_chinese else english).format(
        kind=kind, since=data.since, until=data.until, reason=data.reason, days=days
    )
