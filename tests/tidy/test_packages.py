"""Packages: one list of them in pyproject.toml, the same for the wheel, the types and the imports.

import-linter checks who imports whom; what it cannot say is here.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

from tests.tidy import sources

# These have modules at the root, but the wheel ships none of them.
NOT_SHIPPED = frozenset({"tests", "bench", "docs", "deploy"})

# Parts of the standard library that touch nothing outside the process and draw nothing by chance.
ENGINE_MAY_IMPORT = frozenset(
    {
        *("__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib"),
        *("copy", "dataclasses", "enum", "functools", "hashlib", "heapq", "hmac", "itertools"),
        *("json", "math", "operator", "re", "string", "struct", "types", "typing", "unicodedata"),
        *("engine", "msgspec"),
    }
)


def test_every_package_is_in_the_wheel_the_types_and_the_import_rules() -> None:
    there = {path.parts[0] for path in sources.python_files() if len(path.parts) > 1} - NOT_SHIPPED
    tool = sources.pyproject()["tool"]
    build = tool["hatch"]["build"]["targets"]
    lists = {
        "tool.hatch.build.targets.wheel packages": set(build["wheel"]["packages"]),
        "tool.hatch.build.targets.sdist only-include": _folders(build["sdist"]["only-include"]),
        "tool.mypy files": _folders(tool["mypy"]["files"]),
        "tool.importlinter root_packages": set(tool["importlinter"]["root_packages"]),
    }
    found = [
        f"{name}: missing {sorted(there - listed)}, not there {sorted(listed - there)}"
        for name, listed in lists.items()
        if listed != there
    ]
    assert not found, sources.report(found, fix="Correct these lists in pyproject.toml:")


def _folders(names: list[str]) -> set[str]:
    """The packages among names: folders at the root that the wheel could ship."""
    roots = {name.split("/")[0] for name in names if "." not in name and name != "LICENSE"}
    return roots - NOT_SHIPPED


def test_every_folder_with_modules_is_a_package() -> None:
    shipped = (*sources.packages(), "tests", "bench")
    folders = {path.parent for path in sources.python_files() if path.parts[0] in shipped}
    found = sorted(
        str(path) for path in folders if not (sources.ROOT / path / "__init__.py").exists()
    )
    assert not found, sources.report(found, fix="Add an __init__.py with a docstring to:")


def test_no_test_folder_is_named_like_a_package() -> None:
    taken = {*sources.packages(), "replay", "testkit", *sys.stdlib_module_names}
    folders = {
        part for path in sources.files() if sources.in_tests(path) for part in path.parts[1:-1]
    }
    found = sorted(folders & taken)
    assert not found, sources.report(found, fix="Rename in tests/, it would shadow a package:")


def test_test_files_are_found_by_pytest() -> None:
    named = defaultdict(list)
    for path in sources.python_files():
        if sources.in_tests(path) and not path.name.startswith("test_"):
            tests = [
                node.name
                for node in sources.tree_of(path).body
                if isinstance(node, sources.Function) and node.name.startswith("test_")
            ]
            if tests:
                named[str(path)] = tests
    found = [f"{path}: {', '.join(tests)}" for path, tests in named.items()]
    assert not found, sources.report(found, fix="pytest collects test_*.py only; rename:")


def test_the_engine_imports_only_what_is_pure() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path in sources.python_files()
        if path.parts[0] == "engine"
        for name, line in _imports(path)
        if name not in ENGINE_MAY_IMPORT
    ]
    assert not found, sources.report(
        found, fix="A step is pure: pass it in, or do it in a host. If the module is pure, list it:"
    )


def _imports(path: Path) -> list[tuple[str, int]]:
    """Top-level name and line of each import in a file, lazy ones too."""
    found = []
    for node in ast.walk(sources.tree_of(path)):
        match node:
            case ast.Import(names=names):
                found += [(alias.name.split(".")[0], node.lineno) for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                found.append((module.split(".")[0], node.lineno))
            case ast.ImportFrom(level=level) if level > 0:
                found.append((path.parts[0], node.lineno))
    return found
