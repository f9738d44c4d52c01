"""What a person means by a kind of leave or a day: pure parsing, in English and Chinese.

There is no clock here: `today` comes from the log's time. What it does not understand is None, and
the form asks again.
"""

import re
from datetime import date, timedelta

KINDS: dict[str, tuple[str, ...]] = {
    "annual": ("annual", "holiday", "vacation", "年假"),
    "sick": ("sick", "ill", "病假", "生病"),
    "personal": ("personal", "private", "事假"),
    "parental": ("parental", "maternity", "paternity", "产假", "陪产假", "育儿假"),
}
"""Each kind and the words that mean it."""

_RELATIVE = {
    0: ("today", "今天", "今日"),
    1: ("tomorrow", "明天", "明日"),
    2: ("the day after tomorrow", "day after tomorrow", "后天"),
}
_WEEKDAYS: tuple[tuple[str, ...], ...] = (
    ("monday", "mon", "周一", "星期一"),
    ("tuesday", "tue", "周二", "星期二"),
    ("wednesday", "wed", "周三", "星期三"),
    ("thursday", "thu", "周四", "星期四"),
    ("friday", "fri", "周五", "星期五"),
    ("saturday", "sat", "周六", "星期六"),
    ("sunday", "sun", "周日", "周天", "星期日", "星期天"),
)
_FULL = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
_SHORT = re.compile(r"(\d{1,2})[-/月](\d{1,2})[日号]?")
_YES = frozenset({"yes", "y", "ok", "okay", "confirm", "是", "是的", "确认", "好", "好的", "对"})
_NO = frozenset({"no", "n", "wrong", "change", "不", "不对", "不是", "重填"})


def kind_of(text: str) -> str | None:
    """The kind of leave that the text names."""
    said = text.casefold()
    words = set(re.findall(r"[a-z]+", said))
    for kind, names in KINDS.items():
        if any(name in words if name.isascii() else name in said for name in names):
            return kind
    return None


def day_of(text: str, *, today: date, since: date) -> date | None:
    """The day that the text names.

    A weekday, or a day without a year, is the first such day that is not before `since`.
    """
    said = text.strip().casefold().rstrip(".。!！")
    for days, names in _RELATIVE.items():
        if said in names:
            return today + timedelta(days=days)
    for weekday, words in enumerate(_WEEKDAYS):
        if said in words:
            return since + timedelta(days=(weekday - since.weekday()) % 7)
    if found := _FULL.fullmatch(said):
        return _day(*map(int, found.groups()))
    if found := _SHORT.fullmatch(said):
        month, day = map(int, found.groups())
        this_year = _day(since.year, month, day)
        if this_year is not None and this_year >= since:
            return this_year
        return _day(since.year + 1, month, day)
    return None


def agrees(text: str) -> bool | None:
    """Yes, no, or neither."""
    said = text.strip().casefold().rstrip(".。!！")
    if said in _YES:
        return True
    return False if said in _NO else None


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
