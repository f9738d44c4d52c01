"""The install: targets that explain themselves, scripts that parse, one build for two installs."""

import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tidy import sources


@pytest.fixture
def llama_wheel() -> ModuleType:
    """The script that compiles llama.cpp, as a module: it is no part of a package."""
    path = sources.ROOT / "deploy" / "install" / "llama_wheel.py"
    spec = importlib.util.spec_from_file_location("llama_wheel", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_help_explains_every_target() -> None:
    makefile = (sources.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    ).stdout
    for target in targets[1].split():
        assert re.search(rf"^  make {target} +\w+", shown, re.MULTILINE), target


def test_every_shell_script_parses_and_those_that_are_started_may_be() -> None:
    scripts = [path for path in sources.files() if (sources.text_of(path) or "")[:2] == "#!"]
    assert Path(".ci/run") in scripts
    for path in scripts:
        first = (sources.text_of(path) or "").splitlines()[0]
        if "bash" in first or first.endswith("/sh"):
            subprocess.run(["bash", "-n", str(sources.ROOT / path)], check=True)
        assert os.access(sources.ROOT / path, os.X_OK), f"chmod +x {path}"


def test_other_flags_are_another_wheel(
    llama_wheel: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = llama_wheel.wheel_folder(("-DA=ON",)), llama_wheel.wheel_folder(("-DA=OFF",))
    assert one != other
    assert one.parent == tmp_path / "ai-assistant" / "wheels"
    assert llama_wheel.VERSION in one.name


def test_the_flags_of_another_kind_of_machine_name_no_x86(
    llama_wheel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not any("AVX" in flag for flag in llama_wheel.cmake_flags())
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert "-DGGML_AVX2=ON" in llama_wheel.cmake_flags()


def test_the_pinned_version_is_the_one_that_the_extra_asks_for(llama_wheel: ModuleType) -> None:
    wanted = sources.pyproject()["project"]["optional-dependencies"]["llama"]
    assert wanted == [f"llama-cpp-python~={llama_wheel.VERSION}"]


def test_a_second_install_waits_for_the_first_ones_build(
    llama_wheel: ModuleType, tmp_path: Path
) -> None:
    second = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('llama_wheel', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "with module.only_one_builder(pathlib.Path(sys.argv[2])): print('in')\n"
    )
    command = [sys.executable, "-c", second, llama_wheel.__file__ or "", str(tmp_path)]
    with llama_wheel.only_one_builder(tmp_path):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        assert "waiting" in waiting.stdout.readline()
        assert waiting.poll() is None
    said, _ = waiting.communicate(timeout=30)
    assert said == "in\n"


def test_progress_is_a_line_now_and_then_in_a_log_and_one_line_on_a_terminal(
    llama_wheel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr("sys.stdout", log)
    monkeypatch.setattr(llama_wheel, "SECONDS_BETWEEN_LINES", 0.0)
    progress = llama_wheel.Progress()
    for line in ["-- Configuring", "  [1/83] /usr/bin/g++ -c a.cpp", "warning", "[83/83] Linking"]:
        progress.see(line)
    progress.end()
    assert re.findall(r"\[(\d+)/83\] after \d+ s\n", log.getvalue()) == ["1", "83"]

    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", terminal)
    progress = llama_wheel.Progress()
    progress.see("[1/2] g++")
    progress.see("[2/2] g++")
    progress.end()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r") == 2
