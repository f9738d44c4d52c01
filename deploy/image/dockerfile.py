"""The instructions of a Dockerfile, and what .dockerignore lets into its context.

Read by `deploy/image/in_chroot.py`, which carries them out without a container engine, and by the
tests. It knows what our Dockerfile uses; anything else is refused, never passed over.
"""

import fnmatch
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

KNOWN = frozenset(
    {
        *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM"),
        *("HEALTHCHECK", "RUN", "USER", "WORKDIR"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its word, the rest as written (lines joined), and the line it begins at."""

    word: str
    rest: str
    line: int

    def argv(self) -> list[str]:
        """The words of the JSON form: of CMD, ENTRYPOINT and HEALTHCHECK."""
        words = json.loads(self.rest[self.rest.index("[") :])
        return [str(word) for word in words]

    def pairs(self) -> dict[str, str]:
        """The names and values of ENV and ARG."""
        return dict(pair.split("=", 1) for pair in shlex.split(self.rest))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage: what it is built from, its name, and what is done."""

    base: str
    name: str
    steps: tuple[Instruction, ...]

    def last(self, word: str) -> Instruction | None:
        """The last instruction with this word: the one that counts."""
        return next((step for step in reversed(self.steps) if step.word == word), None)

    def environment(self) -> dict[str, str]:
        """All that ENV sets."""
        env: dict[str, str] = {}
        for step in self.steps:
            if step.word == "ENV":
                env |= step.pairs()
        return env


def instructions(text: str) -> list[Instruction]:
    """All instructions of a Dockerfile. Raises ValueError at one that is not known here."""
    found: list[Instruction] = []
    joined, began = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        began = began if joined else number
        joined += line.removesuffix("\\").strip() + " "
        if line.endswith("\\"):
            continue
        word, _, rest = joined.strip().partition(" ")
        if word not in KNOWN:
            raise ValueError(f"line {began}: {word} is not known here")
        found.append(Instruction(word=word, rest=rest.strip(), line=began))
        joined = ""
    return found


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, with the ARGs before the first FROM filled in."""
    given: dict[str, str] = {}
    found: list[Stage] = []
    for step in instructions(text):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            found.append(Stage(base=_filled(base, given), name=name.strip(), steps=()))
        elif not found:
            given |= step.pairs()
        else:
            last = found[-1]
            found[-1] = Stage(base=last.base, name=last.name, steps=(*last.steps, step))
    return found


def _filled(text: str, given: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], text)


def context(files: Iterable[Path], ignored: str) -> list[Path]:
    """The files that .dockerignore lets into the context: the last pattern that fits decides."""
    patterns = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    return [path for path in files if not _is_ignored(path, patterns)]


def _is_ignored(path: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        if any(_fits(str(part), wanted) for part in (path, *path.parents) if part.name):
            ignored = not pattern.startswith("!")
    return ignored


def _fits(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.rpartition("/")[2], pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatch(path, pattern)
