"""The command line as a test calls it: in this process, in an environment of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from console.commands import assistant

Say = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, the working directory in it, and nothing of ours in the environment."""
    for name in [n for n in os.environ if n.startswith(("AI_ASSISTANT", "MODEL_PATH", "MAX_TOK"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ai(home: Path) -> Say:
    """Calls `ai-assistant` with these arguments and extra environment."""

    def say(*args: str, **env: str) -> Result:
        return CliRunner().invoke(assistant, args, prog_name="ai-assistant", env=env)

    return say
