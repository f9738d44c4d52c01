"""The pytest plugin of this distribution: what pytest needs to show of `DialogTests`.

Loaded by pytest in every run, so it imports nothing of the kit until a test does. The tests
themselves are made by `testkit.dialog_tests`; here a failure becomes a chat, is saved as a `.chat`
file, and the names of the laws become words for `-k`.
"""

import os
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testkit.predicates import Told

FOLDER = "dialogs"
"""Where failing dialogs are saved, beside the test's own file."""
SAVED = "__testkit_saved__"
"""On the test of a saved dialog: its path."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """The test of all laws answers to each law's name, too: `-k resolved_once`."""
    tests = sys.modules.get("testkit.dialog_tests")
    kind = getattr(item, "cls", None)
    if tests is None or not isinstance(kind, type) or not issubclass(kind, tests.DialogTests):
        return
    if item.name.startswith("test_laws["):
        laws = sys.modules["testkit.laws"].LAWS
        item.extra_keyword_matches.update(law.replace(" ", "_") for law in laws)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A saved dialog is a test of the class that found it; on its own only where that is gone."""
    saved = {_path_of(item) for item in items} - {None}
    if saved:
        items[:] = [one for one in items if _path_of(one) or one.path.resolve() not in saved]


def _path_of(item: pytest.Item) -> Path | None:
    """The saved dialog that this is the test of."""
    path: Path | None = getattr(getattr(item, "function", None), SAVED, None)
    return path and path.resolve()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A broken law or predicate is shown as a chat, whatever else is told without a traceback."""
    report = yield
    if call.excinfo is None:
        return report
    told = list(_told(call.excinfo.value))
    if told:
        shown = [f"{one}\n{_saved(item, one)}".rstrip() for one in told]
        report.longrepr = "\n\n".join(shown)
    return report


def _told(error: BaseException) -> Iterator["Told"]:
    """What of the kit's is in an error; Hypothesis puts several into a group."""
    predicates = sys.modules.get("testkit.predicates")
    if predicates is None:
        return
    if isinstance(error, predicates.Told):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _told(one)


def _saved(item: pytest.Item, told: "Told") -> str:
    """Save a dialog beside the test; where it lies, in words."""
    from testkit.judging import Broken
    from testkit.saved import begins, place, write

    kind = getattr(item, "cls", None)
    if not isinstance(told, Broken) or kind is None or item.name.startswith("test_saved["):
        return ""
    name = re.sub(r"[^\w-]+", "-", item.name.removeprefix("test_")).strip("-")
    # The class may have been imported by the file that this item is of.
    file = Path(getattr(sys.modules.get(kind.__module__), "__file__", None) or item.path)
    found_by = "::".join([file.name, *kind.__qualname__.split("."), item.name])
    try:
        path = place(file.parent / FOLDER, begins(kind, file) + name, told=told)
        write(path, told, found_by=found_by)
    except Exception as error:  # a folder that nobody may write, say: the finding is told even so
        return f"not saved: {type(error).__name__}: {error}"
    return f"saved: {os.path.relpath(path)}, which is a test of its own from now on"
