"""Runs one test of a suite on an adapter, and says whether it failed.

For the tests that give a suite something broken. What it never does: take a skip for a
failure.
"""

import inspect
from typing import Any

import pytest


def names_of(suite: type) -> list[str]:
    """The names of a suite's tests, without the word that each begins with."""
    return [name.removeprefix("test_") for name in dir(suite) if name.startswith("test_")]


def fails(suite: Any, test: str, **fixtures: Any) -> bool:
    """Whether the suite's test fails, given those of these fixtures that it asks for."""
    body = getattr(suite, f"test_{test}")
    wanted = inspect.signature(body).parameters
    given = {name: fixtures[name] for name in wanted}
    try:
        body(**given)
    except (Exception, pytest.fail.Exception):
        return True
    return False
