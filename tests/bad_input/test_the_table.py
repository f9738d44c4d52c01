"""The table is whole: no group of wrong things is left out, none stands in it twice."""

from collections import Counter

from tests.bad_input import test_it_ends, test_it_is_stuck, test_it_lives

NAMES = [
    *(row.name for row in test_it_ends.ROWS),
    *(row.name for row in test_it_lives.ROWS),
    *test_it_is_stuck.ROWS,
]
GROUPS = (
    "settings",
    "flows",
    "skills",
    "frames",
    "http",
    "gguf",
    "storage",
    "clock",
    "text",
    "callbacks",
    "models",
)


def test_there_are_at_least_forty_wrong_things_and_three_of_each_group() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 40
    groups = Counter(name.partition(":")[0] for name in NAMES)
    assert set(groups) == set(GROUPS)
    assert min(groups.values()) >= 3
