"""The wheel: it builds, and holds the packages and the page's files, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tidy import sources

# What a browser gets: everything else that is no Python is a file that came in by mistake.
PAGE_FILES = frozenset({".html", ".js", ".css", ".svg", ".png", ".ico", ".webmanifest", ".woff2"})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the working tree without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [*command, str(sources.ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_it_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {str(path) for path in sources.files() if path.parts[0] in sources.packages()}
    missing, extra = sorted(wanted - inside), sorted(inside - wanted)
    assert not missing, sources.report(missing, fix="Not in the wheel; does .gitignore name them?")
    assert not extra, sources.report(extra, fix="In the wheel, but not in a package:")


def test_beside_python_it_ships_only_what_a_browser_gets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        others = [Path(name) for name in archive.namelist() if not name.endswith(".py")]
    found = [
        str(path)
        for path in others
        if not path.parts[0].endswith(".dist-info")
        and path.name != "py.typed"
        and not (path.parts[0] == "console" and path.suffix in PAGE_FILES)
    ]
    assert not found, sources.report(found, fix="No Python and no page file; move it out:")


def test_it_has_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("/entry_points.txt"))
        assert "ai-assistant = console.main:main" in archive.read(entry_points).decode()
    assert any(name.endswith("/licenses/LICENSE") for name in names)
