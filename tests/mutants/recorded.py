"""Folding what was recorded: the histories of `tests/histories`, and this hunt's own once more.

A part of the hunt. The histories are the only judges of old schemas: what no dialog of today can
show. Folding under two hash seeds uses the process that the kit has for it.
"""

import os
import subprocess
import sys
from typing import Any

import msgspec

from engine import codec
from engine.step import new_session, step
from testkit import hash_seeds
from testkit.dialogs import dialogs
from testkit.worlds import Evidence
from tests.histories import files
from tests.mutants.subjects import SUBJECTS

TWO_HASH_SEEDS = "two hash seeds"
_KEPT_MAX = 60
_kept: dict[int, list[hash_seeds.History]] = {}


def check() -> str:
    """The first history that does not fold to its recorded steps; empty where all do."""
    for name in files.names():
        try:
            if wrong := _folded(name):
                return wrong
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}"
    return ""


def _folded(name: str) -> str:
    history = files.read(name)
    session = None
    flows = files.flows_of(history)
    for event, flow, written in zip(history.events, flows, history.records, strict=True):
        recorded = codec.decode_step(written)
        session = session or new_session(flow, event.session_id)
        done = step(flow, session, event)
        if (done.record.digest, done.record.error is None) != (
            recorded.digest,
            recorded.error is None,
        ):
            return f"{name}: seq {recorded.seq} leads to another session than was recorded"
        session = done.session
    return ""


def keep(number: int, evidence: Evidence) -> None:
    """Remember the histories of a subject's run, to be folded under another hash seed."""
    kept = _kept.setdefault(number, [])
    for dialog in dialogs(evidence):
        known = [moment for moment in dialog.moments if moment.event is not None]
        history = hash_seeds.History(
            session_id=dialog.session_id,
            events=tuple(codec.encode(m.event) for m in known if m.event is not None),
            digests=tuple(moment.record.digest for moment in known),
        )
        kept.append(history)
    del kept[:-_KEPT_MAX]


def other_hash_seed(number: int) -> tuple[str, str] | None:
    """Fold what was kept of a subject in a process with another hash seed."""
    histories = _kept.pop(number, [])
    if not histories:
        return None
    flow: Any = SUBJECTS[number].flow()
    kind = type(flow)
    work = hash_seeds.Work(
        path=tuple(sys.path),
        module=kind.__module__,
        file=str(sys.modules[kind.__module__].__file__),
        name=kind.__qualname__,
        config=flow.config_bytes,
        histories=tuple(histories),
    )
    seed = "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"
    done = subprocess.run(
        [sys.executable, "-m", "testkit.hash_seeds"],
        input=msgspec.json.encode(work),
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 0:
        return None
    said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
    return TWO_HASH_SEEDS, said[0] if said else "no word"
