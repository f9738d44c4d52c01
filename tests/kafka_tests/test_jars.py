"""Where Kafka cannot be had, one line says what to install, and nothing is skipped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.kafka import jars
from deploy.kafka.certificates import made
from deploy.kafka.jars import CannotStart
from tests.tidy.sources import ROOT

JAVA = shutil.which("java")  # asked for before a test hides it
INSTALL = "apt-get install default-jre-headless maven"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with nothing in it; and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_without_java(path: Path) -> None:
    with pytest.raises(CannotStart, match=INSTALL):
        jars.fetched()


def test_without_maven(path: Path) -> None:
    assert JAVA is not None
    (path / "java").symlink_to(JAVA)
    with pytest.raises(CannotStart, match=f"Maven.*{INSTALL}"):
        jars.fetched()


def test_with_a_java_of_old(path: Path) -> None:
    old = path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    with pytest.raises(CannotStart, match=r"Java 17 or newer.*11\.0\.2"):
        jars.fetched()


def test_the_command_says_it_in_one_line_and_fails(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.kafka", "--folder", str(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"Kafka needs Java, and there is none: {INSTALL}\n"
    assert not done.stdout


def test_certificates_without_openssl(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="apt-get install openssl"):
        made(tmp_path / "secrets")


def test_a_second_start_finds_the_password_of_the_first_and_nobody_else_may_read_it(
    tmp_path: Path,
) -> None:
    secrets = made(tmp_path / "secrets")
    assert made(tmp_path / "secrets") == secrets
    assert secrets.password not in repr(secrets)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_makefile_and_the_code_mean_the_same_version() -> None:
    assert f"\nKAFKA ?= {jars.VERSION}\n" in (ROOT / "Makefile").read_text()
