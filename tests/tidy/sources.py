"""What the tidy tests look at: the files of this repository, and the Python among them.

Files are those that git tracks or would track, so that a new file is judged before its commit.
"""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files() -> tuple[Path, ...]:
    """Return all files of the repository, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = (Path(name) for name in sorted(set(listed.split("\0"))) if name)
    return tuple(path for path in paths if (ROOT / path).is_file())


@cache
def text_of(path: Path) -> str | None:
    """Return the text of a file, or None for a picture or another binary."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse((ROOT / path).read_bytes(), filename=str(path))


def python_files() -> tuple[Path, ...]:
    """Return all Python files of the repository."""
    return tuple(path for path in files() if path.suffix == ".py")


def in_tests(path: Path) -> bool:
    """Tell whether a file belongs to the tests."""
    return path.parts[0] == "tests"


@cache
def pyproject() -> dict[str, Any]:
    """Return pyproject.toml, parsed."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages() -> tuple[str, ...]:
    """Return the packages that the wheel ships."""
    return tuple(pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


@dataclass(frozen=True, kw_only=True)
class Body:
    """One function: where it stands, what it is called, and the class that it is in, if any."""

    path: Path
    node: Function
    owner: str | None

    @property
    def name(self) -> str:
        """Path, class and name, as an exception in a list would be written."""
        inside = f"{self.owner}.{self.node.name}" if self.owner else self.node.name
        return f"{self.path}::{inside}"

    @property
    def place(self) -> str:
        """Path and line, as an editor opens it."""
        return f"{self.path}:{self.node.lineno} {self.node.name}"


def functions(path: Path) -> Iterator[Body]:
    """Yield all functions of a file, nested ones too."""

    def below(node: ast.AST, owner: str | None) -> Iterator[Body]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield Body(path=path, node=child, owner=owner)
                yield from below(child, None)
            else:
                yield from below(child, child.name if isinstance(child, ast.ClassDef) else owner)

    yield from below(tree_of(path), None)


def report(findings: list[str], *, fix: str) -> str:
    """Return the text of a failure: what to do, then one line for each place."""
    return "\n  ".join([fix, *findings])
