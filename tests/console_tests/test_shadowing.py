"""Another package of the same name is noticed before anything of it is used."""

import os
import subprocess
import sys
from pathlib import Path

from console.shadowing import PACKAGES, ROOT, shadowed


def test_our_own_packages_are_no_strangers() -> None:
    assert shadowed() is None


def test_the_list_names_all_top_level_packages() -> None:
    for name in PACKAGES:
        assert (ROOT / name / "__init__.py").is_file()


def test_a_stranger_is_named_with_its_place() -> None:
    complaint = shadowed(("json", "no_such_package_here"))
    assert complaint is not None
    assert "json: " in complaint
    assert "no_such_package_here: not found" in complaint


def test_the_command_refuses_to_start_beside_a_stranger(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('the wrong engine ran')")
    asked = subprocess.run(
        [sys.executable, "-c", "from console.main import main; main()", "--help"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
        cwd=tmp_path,  # `-c` puts it first on the path
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert f"engine: {tmp_path / 'engine'}" in asked.stderr
    assert "virtual environment of its own" in asked.stderr
    assert "the wrong engine" not in asked.stderr + asked.stdout
