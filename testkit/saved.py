"""A finding as a `.chat` file beside the test, and back: it runs as a plain test for ever.

The file holds the words, too, so that it still means the same when the test's words have changed.
It runs and judges nothing; how stimuli are written as lines is `testkit.chat`'s.
"""

from itertools import count
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from engine.errors import Refused
from streams.chat.parse import parse
from streams.chat.write import write as written
from testkit.chat import from_chat, head_of, to_chat
from testkit.chat_world import around_of
from testkit.judging import Broken
from testkit.script import Script
from testkit.shrunk import chat
from testkit.strategies import Plan


class Saved(NamedTuple):
    """What such a file holds. `found_by`: the test that found it; empty where it says none."""

    plan: Plan
    script: Script
    world: str
    found_by: str


def begins(tests: type, file: Path) -> str:
    """How the files of a class begin; two modules of a folder may each have a class of a name."""
    return f"{file.stem}.{tests.__qualname__}."


def place(folder: Path, name: str, *, told: Broken) -> Path:
    """Where to save it: over a dialog of the same test that breaks the same, beside one that is
    mended and must stay so."""
    for number in count(1):
        path = folder / (f"{name}.chat" if number == 1 else f"{name}-{number}.chat")
        if not path.exists() or _breaks(told, path):
            break
    return path


def _breaks(told: Broken, path: Path) -> bool:
    try:
        found = read(path)
    except Refused:  # somebody's own, or half edited: it is not ours to write over
        return False
    return told.breaks(found.plan, found.script)


def write(path: Path, told: Broken, *, found_by: str) -> Path:
    """Write the file over what is there, its folder too; its path. `found_by`: the test, its file
    and what pytest calls it there."""
    verdict, finding, script = told.verdict, told.finding, told.script
    plan, flow = verdict.plan, verdict.flow
    head = head_of(flow, script, world=verdict.world, seed=plan.seed, around=plan.around)
    head = replace(head, found_by=found_by, breaks=f"{finding.kind} {finding.name}")
    found = to_chat(plan.stimuli, script, flow=flow, head=head)
    shown = (line.rstrip() for line in chat(verdict.evidence, finding))
    notes = (f"{finding.name}: {finding.what}", *shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written(replace(found, notes=notes)), encoding="utf-8")
    return path


def read(path: Path) -> Saved:
    """What `write` wrote.

    Of the file's first dialog; what its lines expect is left out. Raises Refused where the file
    cannot be read, or holds no dialog.
    """
    try:
        found = parse(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError:
        raise Refused(f"{path.name}: this is no UTF-8 text") from None
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: {error}") from None
    if not found.dialogs:
        raise Refused(f"{path.name}: there is no dialog in it: no line below its head, no ## TITLE")
    head = found.head_of(found.dialogs[0])
    dialog = from_chat(found)
    plan = Plan(stimuli=dialog.stimuli, seed=head.seed or 0, around=around_of(head))
    return Saved(plan, dialog.script, head.world or "pure", head.found_by)
