"""The guide's snippets: run in order as one file, and printing what the guide shows."""

import contextlib
import importlib
import io
import re
from pathlib import Path
from types import ModuleType

import pytest

from statemachines.assistant import Assistant
from statemachines.leave_request import LeaveRequest

GUIDE = Path(__file__).parents[2] / "docs" / "flows.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, str]:
    """The guide's Python as a module, and what it printed."""
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("guide")
    code = "\n\n".join(code for kind, code in blocks if kind == "python")
    (folder / "flows_guide.py").write_text(code, encoding="utf-8")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.syspath_prepend(str(folder))
        module = importlib.import_module("flows_guide")
    return module, printed.getvalue()


def test_the_snippets_print_what_the_guide_shows(guide: tuple[ModuleType, str]) -> None:
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    assert guide[1] == "".join(text for kind, text in blocks if kind == "text")


def test_every_flow_of_the_guide_loads(guide: tuple[ModuleType, str]) -> None:
    for name in ("Echo", "Helper", "Polite"):
        assert getattr(guide[0], name)().report.warnings == ()
    polite = guide[0].Polite
    assert polite(polite.Config(greeting="Hello")).table.rows[0].before == ("greet", "answer")


def test_every_event_of_the_engine_is_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    triggers = {row.trigger for flow in (Assistant, LeaveRequest) for row in flow().table.rows}
    triggers -= {"idle", "nobody_came", "person_requested", "cancel_requested", "gave_up"}
    assert [trigger for trigger in sorted(triggers) if trigger not in text] == []
