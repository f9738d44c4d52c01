"""The digest in a flow ref: equal digests mean that a history folds to equal bytes.

It covers the built table, the configuration's bytes, the token text of the flow's module and of the
project modules that it imports, and the engine's number for its own semantics. Not in it: comments,
whitespace, Python's version, and the machinery of this package, which `SEMANTICS` stands for.
"""

import ast
import importlib.util
import io
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path

from engine.flow import SEMANTICS
from statemachines.syntax import tree_of
from statemachines.table import Table

MACHINERY = frozenset(
    f"statemachines.{name}"
    for name in (
        "arrivals", "bounds", "callbacks", "checks", "data", "digest", "drawing", "flow",
        "machine", "purity", "registry", "svg", "table", "totality",
    )
)  # fmt: skip


def of(module: str, table: Table, *, config: bytes) -> str:
    """BLAKE2b-16 in hex, of a flow's module, built table and canonical configuration."""
    hashed = blake2b(digest_size=16)
    for name in sorted(modules(module)):
        hashed.update(f"{name}\x1e{_tokens(name)}\x1e".encode())
    hashed.update(repr((*table.states.values(), *table.rows)).encode())
    for declared in (table.ignore, table.postpone, table.commands):
        hashed.update(repr(sorted(declared.items())).encode())
    hashed.update(config)
    hashed.update(f"\x1esemantics {SEMANTICS}".encode())
    return hashed.hexdigest()


def modules(module: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """The module and the modules of its own project that it imports, except the machinery."""
    known |= {module}
    for name in _imports(module):
        if name not in known and name not in MACHINERY:
            known |= modules(name, known)
    return known


@cache
def source(module: str) -> str:
    """The text of a module's file, found and not imported; empty where it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        spec = importlib.util.find_spec(module)
        file = spec.origin if spec is not None else None
    return Path(file).read_text(encoding="utf-8") if file else ""


def token_text(text: str) -> str:
    """The source without comments, blank lines and spaces: the same under every Python."""
    lines = text.splitlines(keepends=True)
    parts: list[str] = []
    started: list[tuple[int, int]] = []  # of f-strings, which newer Pythons tokenise inside
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind in ("FSTRING_START", "TSTRING_START"):
            started.append(token.start)
        elif kind in ("FSTRING_END", "TSTRING_END"):
            start = started.pop()
            if not started:
                parts.append(_slice(lines, start, token.end))
        elif not started and kind in ("INDENT", "DEDENT", "NEWLINE"):
            parts.append(kind)
        elif not started and kind not in ("COMMENT", "NL", "ENDMARKER", "ENCODING"):
            parts.append(token.string)
    return "\x1f".join(parts)


def _slice(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


@cache
def _tokens(module: str) -> str:
    return token_text(source(module))


def _imports(module: str) -> Iterator[str]:
    """The modules of the project, or of this package, that the module's text imports anywhere."""
    project = module.partition(".")[0]
    for node in ast.walk(tree_of(source(module))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            # `from package import module` names a module, too.
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in (project, "statemachines") and _is_module(name):
                yield name


def _base(module: str, node: ast.ImportFrom) -> str:
    written = "." * node.level + (node.module or "")
    package = getattr(sys.modules.get(module), "__package__", None)
    return importlib.util.resolve_name(written, package) if node.level else written


def _is_module(name: str) -> bool:
    # Found, not imported: whether a lazy import has run yet must not change the digest.
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        return False
