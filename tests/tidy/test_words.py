"""Words: what each file says about itself, and what no file says.

A pattern here is written so that it does not match its own line.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.tidy import sources

FORBIDDEN = {
    "a path of somebody's machine": (
        r"(?<![\w.])[/](work|root|Users)/|[/]tmp/w/|[/]home/(?!somebody/)\w+/|\bshared[/](design|reference|b)",
        "Name a place in the repository, or a setting",
    ),
    "the host name of a package registry": (
        r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|crates\.io|proxy\.golang\.org"
        r"|deb\.debian\.org|maven\.org|maven\.apache\.org|rubygems\.org",
        "Name the package; which registry or mirror brings it is the user's configuration",
    ),
    "a private key": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        "Make it in the test, or read it from a setting; and change the key",
    ),
    "a promise without an issue": (
        r"\bTO[D]O\b(?!\(#\d+\))|\bFIX[M]E\b|\bX[X]X\b",
        "Do it now, or open an issue and write its number in brackets with a # behind the word",
    ),
}

WEIGHTS = frozenset({".gguf", ".safetensors", ".pt", ".pth", ".onnx", ".bin", ".whl"})
FILE_BYTES_MAX = 1_000_000


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    pattern, fix = FORBIDDEN[what]
    compiled = re.compile(pattern)
    found = [
        f"{path}:{number}: {line.strip()[:90]}"
        for path in sources.files()
        if compiled.search(text := sources.text_of(path) or "")
        for number, line in enumerate(text.splitlines(), start=1)
        if compiled.search(line)
    ]
    assert not found, sources.report(found, fix=f"These lines name {what}. {fix}:")


def test_every_module_says_what_it_is() -> None:
    found = [
        str(path)
        for path in sources.python_files()
        if not (ast.get_docstring(sources.tree_of(path)) or "").strip()
    ]
    assert not found, sources.report(
        found,
        fix="Begin with a docstring: what it is, its place in the data path, what it never does:",
    )


def test_no_module_is_named_like_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}
    found = [str(path) for path in sources.files() if _stem(path) in drawers]
    assert not found, sources.report(found, fix="Name each by what is in it:")


def _stem(path: Path) -> str:
    return path.stem if path.suffix == ".py" else ""


def test_no_weights_and_nothing_big_is_committed() -> None:
    found = [
        f"{path}: {size} bytes"
        for path in sources.files()
        if (size := (sources.ROOT / path).stat().st_size) > FILE_BYTES_MAX or path.suffix in WEIGHTS
    ]
    assert not found, sources.report(found, fix="Make or fetch it where it is needed:")
