"""Build the llama.cpp wheel once per machine, and install it for the interpreter that runs this.

`make install` calls it with `.venv/bin/python`, before the project itself is installed. Only a
source package of llama-cpp-python is published; its default build takes four times as long as ours
and is tied to the CPU it was compiled on. So we compile it with our own flags and keep the wheel
outside the checkout, under a key made of version, machine and flags: the next clone, and the next
`make clean && make install`, take it from there.

It uses the standard library only, since nothing else is installed yet. It never changes the
system, and never downloads a binary.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "0.3.36"

# Vision (LLAVA) is not used. GGML_NATIVE would tie a cached wheel to the CPU that compiled it: on
# another one it would die of SIGILL.
FLAGS = ("-DLLAVA_BUILD=OFF", "-DGGML_NATIVE=OFF")
# Every x86-64 server of the last ten years has these; without, a token takes several times longer.
X86_FLAGS = ("-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON")

# llama.cpp's "common" library serves its own command-line tools only and is half of the compile.
# The source package forces it on, whatever the flags say, so the line itself has to change.
FORCED_ON = 'set(LLAMA_BUILD_COMMON ON CACHE BOOL "Build llama.cpp common library" FORCE)'
FORCED_OFF = FORCED_ON.replace(" ON CACHE", " OFF CACHE")

NINJA_PROGRESS = re.compile(r"^\s*\[(\d+)/(\d+)\]")
SECONDS_BETWEEN_LINES = 10.0
LOG_LINES_ON_FAILURE = 30


def main() -> int:
    """Leave the wanted llama-cpp-python installed; say what is done and why it takes long."""
    if installed_version() == VERSION:
        return 0
    flags = cmake_flags()
    folder = wheel_folder(flags)
    with only_one_builder(folder):
        wheel = next(folder.glob("*.whl"), None)
        if wheel is None:
            wheel = build(folder, flags=flags)
        else:
            say(f"llama.cpp {VERSION}: taking the wheel built earlier, {wheel}")
    run_quietly([*pip(), "install", "--quiet", str(wheel)])
    return 0


def say(line: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"  {line}", flush=True)


def pip() -> list[str]:
    """Return the command line of this interpreter's own pip."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def installed_version() -> str | None:
    """Return the version that this interpreter already has, or None."""
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return None


def cmake_flags() -> tuple[str, ...]:
    """Return the build flags for this machine."""
    return FLAGS + X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else FLAGS


def wheel_folder(flags: tuple[str, ...]) -> Path:
    """Return the cache folder of one build: version, and a digest of what changes the outcome."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    recipe = " ".join((platform.machine(), *flags, FORCED_OFF))
    key = f"llama-cpp-python-{VERSION}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    return cache / "ai-assistant" / "wheels" / key


@contextmanager
def only_one_builder(folder: Path) -> Iterator[None]:
    """Hold the build lock: a second install waits and takes the first one's wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another install is compiling llama.cpp; waiting for its wheel")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(folder: Path, *, flags: tuple[str, ...]) -> Path:
    """Download the source, compile the half of it that is used, put the wheel into `folder`."""
    say(f"llama.cpp {VERSION}: downloading the source (77 MB; no ready-made wheel exists)")
    # The work happens inside the cache, so that the finished wheel arrives by a rename: nobody
    # finds half of one.
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
        source = unpacked_source(Path(scratch))
        say(f"llama.cpp: compiling on {cores()} cores: minutes, but once on this machine")
        say(f"llama.cpp: the wheel will be kept in {folder}")
        began = time.monotonic()
        compile_wheel(source, flags=flags, out=Path(scratch) / "out", log=folder / "build.log")
        built = next((Path(scratch) / "out").glob("*.whl"))
        wheel = folder / built.name
        built.replace(wheel)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    say(f"llama.cpp: compiled in {minutes} min {seconds} s")
    return wheel


def unpacked_source(scratch: Path) -> Path:
    """Fetch and unpack the source package, with the "common" library switched off."""
    source_only = ["--no-deps", "--no-binary", "llama-cpp-python"]
    wanted = [*source_only, "--dest", str(scratch), f"llama-cpp-python=={VERSION}"]
    run_quietly([*pip(), "download", "--quiet", *wanted])
    # tar, not tarfile: Debian 12's Python has no extraction filter yet, and tar refuses to write
    # outside its folder by itself.
    run_quietly(["tar", "-xzf", str(next(scratch.glob("*.tar.gz"))), "-C", str(scratch)])
    source = next(path for path in scratch.iterdir() if path.is_dir())
    lists = source / "CMakeLists.txt"
    text = lists.read_text(encoding="utf-8")
    if FORCED_ON not in text:
        raise SystemExit(f"{lists.name} has no line {FORCED_ON!r}: adapt FORCED_ON in {__file__}")
    lists.write_text(text.replace(FORCED_ON, FORCED_OFF), encoding="utf-8")
    return source


def cores() -> int:
    """Return how many cores this process may use: a container's share, not the machine's count."""
    return len(os.sched_getaffinity(0))


def compile_wheel(source: Path, *, flags: tuple[str, ...], out: Path, log: Path) -> None:
    """Run the compile and show its progress; on failure show the end of the log and exit with 1."""
    environment = os.environ | {"CMAKE_ARGS": " ".join(flags)}
    environment.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(cores()))
    command = [*pip(), "wheel", "--verbose", "--no-deps", "--wheel-dir", str(out), str(source)]
    last_lines: deque[str] = deque(maxlen=LOG_LINES_ON_FAILURE)
    progress = Progress()
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as compiler,
    ):
        assert compiler.stdout is not None
        for line in compiler.stdout:
            kept.write(line)
            last_lines.append(line)
            progress.see(line)
    progress.end()
    if compiler.returncode != 0:
        sys.stderr.writelines(last_lines)
        raise SystemExit(f"llama.cpp did not compile. The whole log: {log}")


class Progress:
    """Shows ninja's [n/m]: rewritten in place on a terminal, a line every ten seconds in a log."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._began = self._shown_at = time.monotonic()

    def see(self, line: str) -> None:
        """Show the step count if `line` has one and it is time for it."""
        found = NINJA_PROGRESS.match(line)
        if found is None:
            return
        now = time.monotonic()
        text = f"  llama.cpp: [{found[1]}/{found[2]}] after {now - self._began:.0f} s"
        if self._on_terminal:
            print(f"\r{text}\033[K", end="", flush=True)
        elif now - self._shown_at >= SECONDS_BETWEEN_LINES:
            self._shown_at = now
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line that was rewritten."""
        if self._on_terminal:
            print(flush=True)


def run_quietly(command: list[str]) -> None:
    """Run a command that says nothing unless it fails; then show what it said and exit with 1."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
