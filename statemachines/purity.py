"""What a flow's own code must not do: look at a clock, leave it to chance, or touch the world.

Stage of the load check, beside the table's: it reads the text of the flow's module and of the
project modules that it imports, and runs none of it. A step that is folded again must give the same
bytes on any machine, years later; what this finds would not. It is no jail: code that means to hide
what it does can.
"""

import ast
import symtable
from collections.abc import Iterator, Mapping
from functools import cache

from statemachines import digest
from statemachines.syntax import tree_of
from statemachines.table import Finding

_CLOCK = "take the time from turn.now_ms: the event's own, and the same when it is folded again"
_CHANCE = "derive it from turn.event.id: unique, and the same when it is folded again"
_PROCESS = "it differs from process to process: use the value itself"
_SETTING = "make it a field of the flow's Config"
_ZONE = "name the time zone: else it is the machine's"
_WORLD = "ask for it with a request, such as turn.run_skill: a step performs nothing itself"
_OUTLIVES = "keep it in turn.data: what one step leaves behind, no other may find"
_HIDDEN = "import by name and call directly: the load check must see it"

_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("time", "sched"), _CLOCK),
    **dict.fromkeys(("numpy.random", "random", "secrets", "uuid"), _CHANCE),
    **dict.fromkeys(("getpass", "locale", "os", "platform"), _SETTING),
    **dict.fromkeys(("builtins", "ctypes", "importlib", "pkgutil", "runpy"), _HIDDEN),
    **dict.fromkeys(
        (
            "aiohttp", "asyncio", "concurrent", "fcntl", "ftplib", "glob", "http.client", "httpx",
            "logging", "mmap", "multiprocessing", "pathlib", "queue", "requests", "select",
            "selectors", "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess",
            "tempfile", "threading", "urllib.request", "urllib3", "websockets",
        ),
        _WORLD,
    ),
}  # fmt: skip
"""Modules that no flow imports. `datetime` is not among them: to read a date is pure."""

_BUILTINS: Mapping[str, str] = {
    **dict.fromkeys(("open", "input"), _WORLD),
    **dict.fromkeys(("id", "hash"), _PROCESS),
    **dict.fromkeys(("__import__", "eval", "exec"), _HIDDEN),
}
_CALLS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "datetime.date.today",
            "datetime.datetime.now",
            "datetime.datetime.today",
            "datetime.datetime.utcnow",
        ),
        _CLOCK,
    ),
    **dict.fromkeys(("codecs.open", "io.FileIO", "io.open", "io.open_code"), _WORLD),
}
_LOCAL_TIME = ("datetime.date.fromtimestamp", "datetime.datetime.fromtimestamp")
"""Without a zone they take the machine's."""
_CHANGES = frozenset(
    (
        "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
        "remove", "reverse", "setdefault", "sort", "update",
    )
)  # fmt: skip
"""Methods that change what they are called on; those of lists, sets and tables."""
_PATHS = ("pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath")
"""Words about paths, which touch no file: what of `pathlib` a flow may import."""


def check(module: str) -> Iterator[Finding]:
    """What is impure in a flow's module and in the project modules that it imports, by line."""
    for name in sorted(digest.modules(module)):
        for line, problem, fix in _impure(name):
            yield Finding(where=f"{name}, line {line}", problem=problem, fix=fix)


@cache
def _impure(module: str) -> tuple[tuple[int, str, str], ...]:
    """(line, problem, fix), in order."""
    source = digest.source(module)
    tree = _as_run(tree_of(source))
    meant = dict(_imported(tree))
    table = symtable.symtable(source, module, "exec")
    found = {*_builtins(tree, table), *_changed(tree, table)}
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom(level=0):
                named = {prefix for name in _names(node) for prefix in _prefixes(name)}
                for name in named & _MODULES.keys():
                    found.add((node.lineno, f"imports {name}", _MODULES[name]))
                if any(alias.name == "*" for alias in node.names):
                    found.add((node.lineno, "imports *", _HIDDEN))
            case ast.Attribute() | ast.Name(ctx=ast.Load()) if (
                called := _dotted(node, meant)
            ) in _CALLS:
                found.add((node.lineno, f"uses {called}()", _CALLS[called]))
            case ast.Call(func=func, args=args, keywords=keywords) if (
                called := _dotted(func, meant)
            ) in _LOCAL_TIME and len(args) + len(keywords) < 2:
                found.add((node.lineno, f"uses {called}() without a time zone", _ZONE))
    return tuple(sorted(found))


def _as_run(tree: ast.Module) -> ast.Module:
    """Without what only a type checker reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            match node.test:
                case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
                    node.body = [ast.Pass(lineno=node.lineno, col_offset=node.col_offset)]
    return tree


def _builtins(tree: ast.Module, table: symtable.SymbolTable) -> Iterator[tuple[int, str, str]]:
    """Where a built-in function is meant. Python's own tables say so for each scope."""
    own = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    own |= {one.get_name() for one in table.get_symbols() if one.is_namespace()}
    used = [
        (node.lineno, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]
    for scope in _scopes(table):
        for name in _BUILTINS.keys() - own:
            if _means_the_builtin(scope, name):
                lines = [line for line, id in used if id == name and line >= scope.get_lineno()]
                for line in sorted(lines)[:1]:
                    yield line, f"uses {name}()", _BUILTINS[name]


def _changed(tree: ast.Module, table: symtable.SymbolTable) -> Iterator[tuple[int, str, str]]:
    """Where a function changes what the module holds; what runs at the import may."""
    inner = [scope for top in table.get_children() for scope in _scopes(top)]
    local = {one.get_name() for scope in inner for one in scope.get_symbols() if one.is_local()}
    held = {one.get_name() for one in table.get_symbols() if one.is_assigned()} - local
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for function in (node for node in ast.walk(tree) if isinstance(node, functions)):
        for node in ast.walk(function):
            if isinstance(node, ast.expr | ast.stmt):
                for name in _targets(node):
                    if isinstance(node, ast.Global) or name in held:
                        yield node.lineno, f"changes {name}, which the module holds", _OUTLIVES


def _targets(node: ast.expr | ast.stmt) -> Iterator[str]:
    """The names whose value the statement changes, at whatever depth."""
    match node:
        case ast.Global(names=names):
            yield from names
        case ast.Call(func=ast.Attribute(value=changed, attr=attr)) if attr in _CHANGES:
            yield from _root(changed)
        case ast.Subscript(value=changed, ctx=ast.Store() | ast.Del()):
            yield from _root(changed)
        case ast.Attribute(value=changed, ctx=ast.Store() | ast.Del()):
            yield from _root(changed)


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for inner in table.get_children():
        yield from _scopes(inner)


def _means_the_builtin(scope: symtable.SymbolTable, name: str) -> bool:
    if name not in scope.get_identifiers():
        return False
    symbol = scope.lookup(name)
    return symbol.is_referenced() and symbol.is_global()


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """All that the statement may name; `from package import module` names a module, too."""
    base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        if (name := f"{base}{alias.name}") not in _PATHS:
            yield name


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that an import makes, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, meant: Mapping[str, str]) -> str:
    """What `a.b.c` stands for; empty for what is no such chain of names that an import begins."""
    match node:
        case ast.Name(id=name):
            return meant.get(name, "")
        case ast.Attribute(value=value, attr=attr):
            before = _dotted(value, meant)
            return f"{before}.{attr}" if before else ""
        case _:
            return ""
