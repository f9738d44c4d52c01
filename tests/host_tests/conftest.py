"""A data directory and the installed rogues, for tests of the embedded host."""

from pathlib import Path

import pytest

from tests.host_tests.plugins import installed


@pytest.fixture
def rogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow `rogue` is installed in this process."""
    monkeypatch.syspath_prepend(installed(tmp_path / "installed"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"
