"""Which skills there are: a table of the built-in ones, and the entry points of installed packages.

Read once at start, before the flow is built: a skill's name and trigger words are part of the
flow's configuration. Each skill's module is imported in a child process of its own, which is killed
when it takes too long: a plugin that hangs or crashes is a problem with a name, and nothing more.
What it never does: import a skill here, or put one into the table because of an import's side
effect.
"""

import importlib.metadata
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from adapters.skills import wire
from adapters.skills.metadata import SkillCard, SkillProblem, SkillSource, check, clash
from adapters.skills.process import WorkerProcess
from engine.errors import InvalidRecord, Refused, Unavailable

GROUP = "ai_assistant.skills"
BUILT_IN = {"summary": "adapters.skills.summary:DocumentSummary"}

DESCRIBE_WITHIN_S = 30
"""For all skills together, imports included."""

FIXES = {
    "import": "the entry point must name a class that can be imported, as module:Class",
    "get_metadata": "it must work on a skill made with an empty SkillContext()",
    "metadata": "return a dict of text, text and a list of texts",
}
"""By the place where an exception came from."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The skills that can be used, and why the others cannot."""

    cards: tuple[SkillCard, ...]
    problems: tuple[SkillProblem, ...]


def listed() -> tuple[SkillSource, ...]:
    """The built-in skills, then those of installed packages by package and name."""
    built_in = [
        SkillSource(entry=entry, target=target, origin="built in")
        for entry, target in BUILT_IN.items()
    ]
    installed = {
        (_package(point), point.name): SkillSource(
            entry=point.name, target=point.value, origin=f"package {_package(point)}"
        )
        for point in importlib.metadata.entry_points(group=GROUP)
    }
    return (*built_in, *(source for _, source in sorted(installed.items())))


def _package(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "without a name"


def enabled(
    entries: Sequence[str], *, within_s: float = DESCRIBE_WITHIN_S
) -> tuple[SkillCard, ...]:
    """The skills installed under these names, in this order; nothing else is looked at.

    Blocks as `survey` does. Raises Refused, naming each that is not there or cannot be used.
    """
    installed = listed()
    wrong: list[str] = []
    sources: list[SkillSource] = []
    for entry in entries:
        found = [source for source in installed if source.entry == entry]
        if len(found) == 1:
            sources.append(found[0])
        elif found:
            origins = ", ".join(source.origin for source in found)
            wrong.append(f"skill {entry}: it comes from {origins}; uninstall all but one")
        else:
            known = ", ".join(dict.fromkeys(source.entry for source in installed))
            wrong.append(f"skill {entry} is not installed; installed are {known}")
    surveyed = survey(sources, within_s=within_s)
    wrong += map(str, surveyed.problems)
    if wrong:
        raise Refused("; ".join(wrong))
    return surveyed.cards


def survey(sources: Sequence[SkillSource], *, within_s: float = DESCRIBE_WITHIN_S) -> Survey:
    """Ask each skill for its metadata, all at the same time, and check what they say.

    Blocks for `within_s` at the most. Of two skills with one name or trigger word the first is
    kept.
    """
    until_s = time.monotonic() + within_s
    asked = [(source, _ask(source)) for source in sources]
    cards: list[SkillCard] = []
    problems: list[SkillProblem] = []
    for source, process in asked:
        found = _read(source, process, until_s)
        if isinstance(found, SkillCard):
            found = clash(source, found, earlier=cards) or found
        if isinstance(found, SkillCard):
            cards.append(found)
        else:
            problems.append(found)
    return Survey(cards=tuple(cards), problems=tuple(problems))


def _ask(source: SkillSource) -> WorkerProcess:
    """A process of its own that was asked. Raises Unavailable where none can start."""
    try:
        process = WorkerProcess()
    except OSError as error:
        raise Unavailable(f"no process can be started to ask {source}: {error}") from error
    process.socket.sendall(wire.pack(wire.Describe(target=source.target)))
    return process


def _read(source: SkillSource, process: WorkerProcess, until_s: float) -> SkillCard | SkillProblem:
    """The card made of its answer, or what is wrong; the process is gone afterwards."""
    try:
        answer = _receive(process.socket, until_s)
    except TimeoutError:
        return _problem(source, "get_metadata", "no answer in time", "let it return at once")
    except (OSError, EOFError, InvalidRecord):
        return _problem(
            source, "get_metadata", "that its process died", "import it in a Python of your own"
        )
    finally:
        process.kill()
        process.reap()
        process.socket.close()
    if isinstance(answer, wire.Described):
        return check(source, msgspec.json.decode(answer.metadata))
    if isinstance(answer, wire.Failed):
        return _problem(
            source, answer.where, f"that it raised {answer.exception}", FIXES[answer.where]
        )
    return _problem(source, "get_metadata", "no metadata", "return a dict")


def _problem(source: SkillSource, key: str, found: str, fix: str) -> SkillProblem:
    return SkillProblem(source=source, key=key, found=found, fix=fix)


def _receive(host: socket.socket, until_s: float) -> wire.ToHost:
    """One frame. Raises TimeoutError, EOFError, InvalidRecord."""
    head = _exactly(host, wire.LENGTH_BYTES, until_s)
    return wire.to_host(_exactly(host, wire.body_length(head), until_s))


def _exactly(host: socket.socket, length: int, until_s: float) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        host.settimeout(max(0.001, until_s - time.monotonic()))
        part = host.recv(length - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
