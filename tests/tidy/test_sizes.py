"""Sizes: a file is one stage, a function is one thought, and a call says what it passes.

The numbers are a ratchet: aim for 400 lines a file and 40 a body; what is enforced is here. What
was over a bound when it was introduced stands in EXCEPTIONS with its size, and may only shrink.
"""

import ast

from tests.tidy import sources

FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 800
BODY_LINES_MAX = 70
PARAMETERS_MAX = 6
POSITIONAL_MAX = 2

# Others pass these their parameters by position: Python, and an ASGI server.
CALLED_BY_OTHERS = frozenset({"__exit__", "__aexit__", "__call__"})
# Signatures that are given: the first two by the design, the third by Jinja.
GIVEN = frozenset(
    {
        "engine/step.py::step",
        "engine/fold.py::fold",
        "models/chat_prompt.py::_Sandbox.call_binop",
    }
)

CODE = frozenset({".py", ".js", ".css", ".html", ".sh"})

# "path" → lines, and "path::Class.function" → lines of its body. Lower a number when you can, never
# raise one.
EXCEPTIONS: dict[str, int] = {}


def test_no_file_is_longer_than_a_person_reads_in_one_go() -> None:
    found = [
        f"{path}: {lines} lines, at most {limit}"
        for path, lines in _file_lines().items()
        if lines > (limit := _file_limit(path))
    ]
    assert not found, sources.report(
        found, fix="Split by stage or by port; each part says what it is:"
    )


def test_no_body_is_longer_than_a_screen() -> None:
    found = [
        f"{body.place}: {lines} lines, at most {limit}"
        for body, lines in _body_lines()
        if lines > (limit := EXCEPTIONS.get(body.name, BODY_LINES_MAX))
    ]
    assert not found, sources.report(found, fix="Name the parts of it as functions of their own:")


def test_an_exception_only_shrinks_and_goes_when_it_is_not_needed() -> None:
    sizes = _file_lines() | {body.name: lines for body, lines in _body_lines()}
    found = [
        f"{name}: {sizes.get(name, 'gone')} now, {size} listed"
        for name, size in EXCEPTIONS.items()
        if sizes.get(name) != size
    ]
    assert not found, sources.report(found, fix="Lower the number in EXCEPTIONS, or take it out:")


def test_no_function_takes_more_parameters_than_a_person_holds_in_mind() -> None:
    found = [
        f"{body.place}: {count} parameters, at most {PARAMETERS_MAX}"
        for body in _own_functions()
        if (count := len(_parameters(body)) + len(body.node.args.kwonlyargs)) > PARAMETERS_MAX
    ]
    assert not found, sources.report(found, fix="Pass one record, or split what it does:")


def test_public_parameters_after_the_second_are_passed_by_name() -> None:
    found = [
        f"{body.place}({', '.join(names)})"
        for body in _own_functions()
        if len(names := _parameters(body)) > POSITIONAL_MAX
        and body.node.name not in CALLED_BY_OTHERS
        and body.name not in GIVEN
        # A private one is called a few lines away, where its parameters can still be seen.
        and (body.node.name == "__init__" or not body.node.name.startswith("_"))
        and not _called_by_name(body.node)
    ]
    assert not found, sources.report(found, fix="Put a * after the second parameter:")


def _file_lines() -> dict[str, int]:
    """Lines of each file of code."""
    texts = {str(path): sources.text_of(path) for path in sources.files() if path.suffix in CODE}
    return {path: len(text.splitlines()) for path, text in texts.items() if text is not None}


def _file_limit(path: str) -> int:
    general = TEST_FILE_LINES_MAX if path.startswith("tests/") else FILE_LINES_MAX
    return EXCEPTIONS.get(path, general)


def _body_lines() -> list[tuple[sources.Body, int]]:
    """Lines of each function's body, without its docstring."""
    bodies = [body for path in sources.python_files() for body in sources.functions(path)]
    return [(body, _lines_below_docstring(body.node)) for body in bodies]


def _lines_below_docstring(node: sources.Function) -> int:
    statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not statements:
        return 0
    last = statements[-1]
    return (last.end_lineno or last.lineno) - statements[0].lineno + 1


def _own_functions() -> list[sources.Body]:
    """All functions but those of the tests: pytest passes fixtures by name."""
    paths = [path for path in sources.python_files() if not sources.in_tests(path)]
    return [body for path in paths for body in sources.functions(path)]


def _called_by_name(node: sources.Function) -> bool:
    """Tell whether click calls it: it passes each parameter by its name."""
    return any("command(" in ast.unparse(decorator) for decorator in node.decorator_list)


def _parameters(body: sources.Body) -> list[str]:
    """Names of the parameters that can be passed by position, without self and cls."""
    arguments = body.node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    decorators = {node.id for node in body.node.decorator_list if isinstance(node, ast.Name)}
    bound = body.owner is not None and "staticmethod" not in decorators
    return names[1:] if bound else names
