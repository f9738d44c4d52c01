"""The Dockerfile as the tests read it."""

from pathlib import Path

from deploy.image import dockerfile as reader
from tests.tidy import sources

FOLDER = sources.ROOT / "deploy" / "image"

builder, runtime = reader.stages((sources.ROOT / "Dockerfile").read_text())


def pinned(name: str) -> dict[str, str]:
    """The versions in requirements.txt or build.txt, by package."""
    lines = (FOLDER / name).read_text().splitlines()
    pairs = (line.removesuffix("\\").strip().partition("==")[::2] for line in lines if "==" in line)
    return dict(pairs)


def let_in() -> set[Path]:
    """The files of the repository that a build gets."""
    ignored = (sources.ROOT / ".dockerignore").read_text()
    return set(reader.context(sources.files(), ignored))
