"""What callbacks may ask for, found by looking at their source: never by running them.

The load check needs to know in which states an outcome can arrive, so it must know which rows make
a request. It follows the flow's own methods and plain functions as far as the turn is handed on,
and reports where it cannot follow.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import Any

from statemachines.syntax import tree_of

REQUESTS = {"call_model": "model", "run_skill": "skill", "find_intent": "intent"}
DISPOSES = frozenset({"say", "apologise", "refuse", "forward", "stop"})
CHANGES = frozenset({"set", "withdraw", *REQUESTS, *DISPOSES})
READS = frozenset(
    {
        "address", "config", "data", "epoch", "event", "failure", "message", "now_ms", "state",
        "text", "transcript", "turns", "unanswered",
    }
)  # fmt: skip
"""What a callback may look at; the rest of a turn is the engine's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request that a callback may make. `within`: seconds, or a Config field's name."""

    kind: str
    within: int | str
    scope: str | None = None


@dataclass(kw_only=True, slots=True)
class Seen:
    """All that was seen in a callback, and in what it calls with the turn."""

    asked: set[Asked] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    answers: bool = False
    """Whether it may end the messages that wait."""
    doubts: list[tuple[str, str]] = field(default_factory=list)
    """(problem, fix): where the look ended."""


def look(flow: type, name: str) -> Seen:
    """What the flow's method may ask of the turn."""
    return _look(flow, name)


@cache
def _look(flow: Hashable, name: str) -> Seen:
    assert isinstance(flow, type)
    seen = Seen()
    method = inspect.getattr_static(flow, name, None)
    if isinstance(method, FunctionType):
        _look_into(method, 1, flow, seen, set())
    return seen


def _look_into(
    function: FunctionType, position: int, flow: type, seen: Seen, done: set[object]
) -> None:
    """`position`: which of the function's parameters is the turn."""
    if function in done:
        return
    done.add(function)
    tree = _parsed(function)
    if tree is None or len(tree.args.args) <= position:
        problem = f"{function.__qualname__} has no source to look into"
        seen.doubts.append((problem, "write it as a plain method or function in a file"))
        return
    turn = tree.args.args[position].arg
    own = tree.args.args[0].arg if position == 1 else None
    allowed: set[ast.Name] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _call(node, turn, seen)
            for called, place, argument in _handed_on(node, turn, own, function, flow):
                if called is None:
                    problem = f"{function.__name__} hands the turn to {ast.unparse(node.func)}"
                    fix = "call only methods of the flow and plain functions with the turn"
                    seen.doubts.append((problem, fix))
                else:
                    _look_into(called, place, flow, seen, done)
                allowed.add(argument)
        elif isinstance(node, ast.Attribute) and _is(node.value, turn):
            allowed.add(node.value)  # type: ignore[arg-type]
            if isinstance(node.ctx, ast.Store | ast.Del):
                problem = f"{function.__name__} changes turn.{node.attr} itself"
                seen.doubts.append((problem, "change the data with turn.set(field=…)"))
            elif node.attr not in CHANGES | READS:
                problem = f"{function.__name__} uses turn.{node.attr}, which is the engine's"
                fix = f"one of: {', '.join(sorted(CHANGES | READS))}"
                seen.doubts.append((problem, fix))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == turn and node not in allowed:
            problem = f"{function.__name__} keeps the turn under another name"
            seen.doubts.append((problem, "use the turn directly: the load check must see it"))
    for taken in _taken_methods(tree, turn):
        problem = f"{function.__name__} takes turn.{taken} without calling it"
        seen.doubts.append((problem, "call it where it is named"))


def _call(node: ast.Call, turn: str, seen: Seen) -> None:
    """A method of the turn itself."""
    if not isinstance(node.func, ast.Attribute) or not _is(node.func.value, turn):
        return
    name = node.func.attr
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in CHANGES:
        seen.changes.add(name)
    if name in DISPOSES:
        silent = name == "say" and _constant(given.get("answers")) is False
        seen.answers = seen.answers or not silent
    if name not in REQUESTS:
        return
    within = _seconds(given.get("within_s"))
    scope = given.get("scope")
    if within is None:
        fix = "within_s is a whole number from 1, or turn.config.<field>: B is computed from it"
        seen.doubts.append((f"turn.{name} has no within_s that can be read", fix))
    elif scope is not None and not isinstance(_constant(scope), str | None):
        fix = "write the state's full name there, in quotes"
        seen.doubts.append((f"turn.{name} has a scope that is computed", fix))
    else:
        where = _constant(scope)
        asked = Asked(
            kind=REQUESTS[name], within=within, scope=where if isinstance(where, str) else None
        )
        seen.asked.add(asked)


def _handed_on(
    node: ast.Call, turn: str, own: str | None, function: FunctionType, flow: type
) -> Iterator[tuple[FunctionType | None, int, ast.Name]]:
    """The functions that get the turn in this call, and as which of their parameters."""
    arguments = [
        *enumerate(node.args),
        *((keyword.arg, keyword.value) for keyword in node.keywords),
    ]
    for place, argument in arguments:
        if not (isinstance(argument, ast.Name) and argument.id == turn):
            continue
        called: Any = None
        shift = 0
        if isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
        elif isinstance(node.func, ast.Attribute) and _is(node.func.value, own):
            called, shift = inspect.getattr_static(flow, node.func.attr, None), 1
        if not isinstance(called, FunctionType):
            yield None, 0, argument
            continue
        position = _position(called, place, shift)
        yield (called if position is not None else None), position or 0, argument


def _position(called: Callable[..., Any], place: int | str | None, shift: int) -> int | None:
    if isinstance(place, int):
        return place + shift
    names = list(inspect.signature(called).parameters)
    return names.index(place) if place in names else None


def _taken_methods(tree: ast.FunctionDef, turn: str) -> list[str]:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and _is(node.value, turn)
        and node.attr in CHANGES
        and id(node) not in called
    ]


def _seconds(value: ast.expr | None) -> int | str | None:
    constant = _constant(value)
    if isinstance(constant, int) and not isinstance(constant, bool):
        return constant
    # `turn.config.model_within_s` or `self.config.model_within_s`
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Attribute):
        return value.attr if value.value.attr == "config" else None
    return None


def _constant(value: ast.expr | None) -> object:
    if value is None:
        return None
    return value.value if isinstance(value, ast.Constant) else value


def _is(value: ast.expr, name: str | None) -> bool:
    return isinstance(value, ast.Name) and value.id == name


@cache
def _parsed(function: FunctionType) -> ast.FunctionDef | None:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    found = tree_of(source).body[0]
    return found if isinstance(found, ast.FunctionDef) else None
