"""A flow's code is read again where Python itself stumbled, and refused where it is wrong."""

import ast
from typing import Any

import pytest

from statemachines import syntax


def test_a_parse_that_python_itself_broke_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, calls = ast.parse, 0

    def stumbles(source: str, *args: Any, **more: Any) -> ast.AST:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=201, after=254)")
        return parse(source, *args, **more)

    monkeypatch.setattr(ast, "parse", stumbles)
    assert isinstance(syntax.tree_of("x = 1").body[0], ast.Assign)
    assert calls == 2


def test_what_is_no_python_is_told_at_once() -> None:
    with pytest.raises(SyntaxError):
        syntax.tree_of("x = = 1")
