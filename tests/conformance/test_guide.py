"""The guide to adapters, followed to the letter: its files run, its tables name what there is."""

import re
from pathlib import Path

import pytest

import testkit.conformance as kit
from engine import ports

pytest_plugins = ("pytester",)

GUIDE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.M | re.S)


def test_the_files_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.plugins = []
    files = BLOCK.findall(GUIDE)
    assert len(files) == GUIDE.count("```python")
    for name, code in files:
        (pytester.path / name).write_text(code, encoding="utf-8")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    outcomes = done.parseoutcomes()
    assert set(outcomes) == {"passed"}, done.outlines[-40:]
    suites = [name for name in kit.__all__ if name.endswith("Suite") and f"({name})" in GUIDE]
    tests = sum(name.startswith("test_") for suite in suites for name in dir(getattr(kit, suite)))
    assert outcomes["passed"] == tests


def test_every_suite_and_every_port_is_in_the_guide() -> None:
    protocols = [
        name
        for name, one in vars(ports).items()
        if getattr(one, "_is_protocol", False) and one.__module__ == ports.__name__
    ]
    suites = [name for name in kit.__all__ if name.endswith("Suite")]
    assert [name for name in (*protocols, *suites) if f"`{name}`" not in GUIDE] == []
