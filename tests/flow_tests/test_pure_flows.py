"""What would make a step differ from its recording is found in a flow's text when it is loaded."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statemachines import purity
from statemachines.flow import FlowError

LINE = 9
"""Where the spoiling statement of `FLOW` stands."""
FLOW = """\
from engine.turn import Turn
from statemachines.flow import Flow

QUIET = ["operator_said", "handed_back", "stop_requested", "feedback_given", "reply_undelivered"]
HELLO = "hello"
{head}
class Spoilt(Flow):
    def answer(self, turn: Turn) -> None:
        {line}
        turn.say(HELLO)

    name, version, initial = "spoilt", 1, "new"
    states = ["new"]
    transitions = [dict(trigger="message_received", source="new", dest=None, before="answer")]
    ignore = {{"new": QUIET}}
"""

Load = Callable[..., None]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Makes a package of these modules and loads the flow of its module `flow`."""
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def _load(line: str = "pass", *, head: str = "", **modules: str) -> None:
        package = f"spoilt_{len(list(tmp_path.iterdir()))}_{tmp_path.name}"
        (tmp_path / package).mkdir()
        written = {"__init__": "", "flow": FLOW.format(head=head, line=line), **modules}
        for name, text in written.items():
            (tmp_path / package / f"{name}.py").write_text(text)
        names.append(package)
        __import__(f"{package}.flow")
        sys.modules[f"{package}.flow"].Spoilt()

    yield _load
    for name in [one for one in sys.modules if one.partition(".")[0] in names]:
        del sys.modules[name]


IMPURE = {
    "a clock": ("import time", "imports time", "turn.now_ms"),
    "a clock's function": ("from time import monotonic as now", "imports time", "turn.now_ms"),
    "chance": ("import random", "imports random", "turn.event.id"),
    "secrets": ("from secrets import token_hex", "imports secrets", "turn.event.id"),
    "a new id": ("from uuid import uuid4", "imports uuid", "turn.event.id"),
    "the environment": ("from os import environ", "imports os", "Config"),
    "a module below": ("import os.path as paths", "imports os", "Config"),
    "a socket": ("import socket", "imports socket", "turn.run_skill"),
    "a request": ("import requests", "imports requests", "turn.run_skill"),
    "one of two modules": ("from urllib import parse, request", "urllib.request", "turn.run_skill"),
    "a loop": ("import asyncio", "imports asyncio", "turn.run_skill"),
    "a thread": ("import json, threading", "imports threading", "turn.run_skill"),
    "a process": ("import subprocess", "imports subprocess", "turn.run_skill"),
    "a file": ("open('words.txt')", "uses open()", "turn.run_skill"),
    "a file's function": ("load = open", "uses open()", "turn.run_skill"),
    "an address": ("key = id(turn.text)", "uses id()", "the value itself"),
    "a hash": ("key = [hash(turn.text)]", "uses hash()", "the value itself"),
    "an import by name": ("__import__('os')", "uses __import__()", "must see it"),
    "a file by another name": ("import io; io.open('words')", "uses io.open()", "turn.run_skill"),
    "chance for arrays": ("from numpy import random", "imports numpy.random", "turn.event.id"),
    "a text as code": ("eval('1')", "uses eval()", "must see it"),
}


@pytest.mark.parametrize(("line", "problem", "fix"), IMPURE.values(), ids=IMPURE)
def test_what_is_impure_is_refused_with_its_line_and_a_fix(
    load: Load, line: str, problem: str, fix: str
) -> None:
    with pytest.raises(FlowError) as caught:
        load(line)
    assert str(caught.value).startswith("flow 'spoilt' cannot be loaded, 1 found:")
    (finding,) = caught.value.findings
    assert finding.where.endswith(f".flow, line {LINE}")
    assert problem in finding.problem
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("head", "line", "called"),
    [
        ("import datetime", "datetime.datetime.now()", "datetime.datetime.now()"),
        ("import datetime as dt", "dt.date.today()", "datetime.date.today()"),
        ("from datetime import datetime", "datetime.now()", "datetime.datetime.now()"),
        ("from datetime import UTC, datetime as D", "D.now(UTC)", "datetime.datetime.now()"),
        ("from datetime import datetime", "datetime.today()", "datetime.datetime.today()"),
        ("from datetime import datetime", "datetime.utcnow()", "datetime.datetime.utcnow()"),
        ("from datetime import date", "date.today()", "datetime.date.today()"),
        ("from datetime import date", "today = date.today", "datetime.date.today()"),
    ],
)
def test_today_is_the_events_and_not_the_machines(
    load: Load, head: str, line: str, called: str
) -> None:
    with pytest.raises(FlowError) as caught:
        load(line, head=head)
    (finding,) = caught.value.findings
    assert finding.where.endswith(f".flow, line {LINE}")
    assert finding.problem == f"uses {called}"
    assert "turn.now_ms" in finding.fix


@pytest.mark.parametrize(
    "line",
    [
        "SEEN.append(turn.text)",
        "SEEN[0] = turn.text",
        "del SEEN[:]",
        "(lambda: SEEN.clear())()",
        "[SEEN.extend(turn.text) for _ in SEEN]",
        "Spoilt.states[0].update(name=turn.text)",
    ],
)
def test_what_the_module_holds_is_changed_by_no_step(load: Load, line: str) -> None:
    with pytest.raises(FlowError) as caught:
        load(line, head="SEEN = [1]")
    problems = {finding.problem for finding in caught.value.findings}
    assert len(problems) == 1
    assert problems <= {f"changes {n}, which the module holds" for n in ("SEEN", "Spoilt")}


def test_a_name_of_the_modules_is_not_bound_anew(load: Load) -> None:
    with pytest.raises(FlowError, match="changes COUNT, which the module holds"):
        load("global COUNT; COUNT = 1", head="COUNT = 0")


def test_whatever_a_module_has_is_not_imported_unnamed(load: Load) -> None:
    with pytest.raises(FlowError, match=r"imports \*"):
        load(head="from datetime import *")


def test_a_moment_without_a_zone_is_the_machines(load: Load) -> None:
    with pytest.raises(FlowError, match=r"fromtimestamp.*without a time zone"):
        load("datetime.fromtimestamp(0)", head="from datetime import datetime")


def test_the_modules_that_a_flow_imports_from_its_project_are_looked_at_too(load: Load) -> None:
    with pytest.raises(FlowError) as caught:
        load(
            head="from . import words",
            words="from .chance import pick\n",
            chance="import re\nimport random\n\npick = random.choice\n",
        )
    (finding,) = caught.value.findings
    assert finding.where.endswith(".chance, line 2")
    assert finding.problem == "imports random"


def test_everything_impure_comes_at_once_with_what_is_wrong_with_the_table(load: Load) -> None:
    with pytest.raises(FlowError) as caught:
        load("import time; import random; self.misspelt = open", head="initial = open")
    problems = [finding.problem for finding in caught.value.findings]
    assert problems == ["uses open()", "imports random", "imports time", "uses open()"]


PURE = """\
import json, math, re
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from http import HTTPStatus
from io import StringIO
from pathlib import PurePosixPath
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import time


class Form:
    id: int = 0
    hash = ""

    def open(self) -> "Form":
        return self

    async def input(self) -> "time.struct_time":
        raise NotImplementedError

    def now(self) -> str:
        return str(self.id) + self.hash


def rank(id: str, hash: int) -> str:
    return id * hash


def shown(row: object) -> str:
    try:
        match row:
            case {"id": id, **hash}:
                return f"{id} {hash}"
            case [open, *input]:
                return f"{open} {input}"
    except ValueError as eval:
        return str(eval)
    datetime.fromtimestamp(0, tz=UTC)
    return str(PurePosixPath("a") / "b")


SEEN = [1]
SEEN.append(2)


def told(text: str) -> date:
    open = text.strip()
    seen = list(SEEN)
    seen.append(3)
    "".join(str(n) for n in seen).partition("2")
    datetime.fromisoformat(open).replace(tzinfo=UTC) + timedelta(days=1)
    Form().open().now()
    return date.fromisoformat(open)
"""


def test_what_only_looks_impure_is_not_found(load: Load) -> None:
    load(head="from .words import rank, shown, told", words=PURE)


def test_a_member_of_a_class_hides_no_builtin(load: Load) -> None:
    with pytest.raises(FlowError, match=r"uses id\(\)"):
        load(
            "key = id(turn.text)", head=textwrap.dedent("class Row:\n    id: int = 0\n    hash = 1")
        )


@pytest.mark.parametrize("module", ["statemachines.assistant", "statemachines.leave_request"])
def test_the_products_own_flows_are_pure(module: str) -> None:
    assert list(purity.check(module)) == []
