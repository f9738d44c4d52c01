"""Says clearly when another installed package shadows one of ours.

Our packages are plain top-level ones (`engine`, `streams`, …), shipped for a virtual environment of
their own. In a shared one another distribution may bring the same name, and Python would silently
import that. Imports nothing of ours: any of it may be the wrong one.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

PACKAGES = ("engine", "statemachines", "models", "adapters", "streams", "console")
ROOT = Path(__file__).resolve().parent.parent


def shadowed(packages: tuple[str, ...] = PACKAGES, root: Path = ROOT) -> str | None:
    """What to tell the person if a package that Python finds is not ours; None if all are."""
    strangers = [(name, place) for name in packages if (place := _place(name)) != root / name]
    if not strangers:
        return None
    lines = [
        f"  {name}: {place}{_brought_by(name)}" if place else f"  {name}: not found"
        for name, place in strangers
    ]
    return "\n".join(
        [
            f"ai-assistant is installed in {root}, but Python finds other packages of these names:",
            *lines,
            "Install ai-assistant into a virtual environment of its own, or start it elsewhere:",
            "  python3 -m venv assistant && assistant/bin/pip install ai-assistant",
        ]
    )


def _place(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    if found is None:
        return None
    if found.origin:
        return Path(found.origin).resolve().parent
    # A folder without __init__.py, found because it lies in a directory of Python's path.
    return next((Path(p).resolve() for p in found.submodule_search_locations or ()), None)


def _brought_by(name: str) -> str:
    owners = importlib.metadata.packages_distributions().get(name, [])
    others = sorted(set(owners) - {"ai-assistant"})
    return f" (of {', '.join(others)})" if others else ""
