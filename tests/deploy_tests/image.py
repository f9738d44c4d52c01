"""The Dockerfile as the tests read it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tests.tidy import sources

FOLDER = sources.ROOT / "deploy" / "image"


def _module() -> ModuleType:
    """deploy/image/dockerfile.py: a script's neighbour, in no package that is shipped."""
    name = "deploy_image_dockerfile"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / "dockerfile.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


reader = _module()
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
