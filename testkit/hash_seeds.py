"""Folding under two hash seeds: equal histories give equal bytes in any process.

Python orders sets of texts by a seed that each process draws: a flow whose data or order of effects
depends on it would fold a recorded dialog to other bytes elsewhere. Histories are made here, folded
in a process of another seed, and held against the digests that this process recorded.

    python -m testkit.hash_seeds < what is to be folded
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from random import Random

import msgspec

from engine import codec
from engine.step import new_session, step
from statemachines.flow import Flow
from testkit.coverage import tally_of
from testkit.dialogs import Dialog, dialogs
from testkit.generate import Explorer
from testkit.happening import let_happen
from testkit.pure import PureWorld
from testkit.script import Script

STEPS_MAX = 15_000
LISTS_WITHOUT_NEWS = 400
"""Then no more are made: after some seconds at most, and the same in each run."""
PLAIN = 10
"""So many are folded, whatever they show; the others where they showed something new."""
ENDS_WITHIN_S = 120


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A session's events, encoded, and the digest that each step left."""

    session_id: str
    events: tuple[bytes, ...]
    digests: tuple[str, ...]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the other process is to fold, and where it finds the flow."""

    path: tuple[str, ...]
    module: str
    file: str
    name: str
    config: bytes
    histories: tuple[History, ...]


def difference(flow: Flow, script: Script) -> str:
    """Fold generated histories in another process; the step that differs in words, else empty.

    The flow's class must stand at the top of its module, so that another process finds it.
    """
    kind = type(flow)
    if "<locals>" in kind.__qualname__:
        return (
            f"{kind.__qualname__} is made inside a function, where no other process finds it: "
            "put the class at the top of its module"
        )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    work = Work(
        path=tuple(sys.path),
        module=kind.__module__,
        file=str(getattr(sys.modules[kind.__module__], "__file__", "") or ""),
        name=kind.__qualname__,
        config=flow.config_bytes,
        histories=tuple(_histories(flow, script)),
    )
    done = subprocess.run(
        [sys.executable, "-m", "testkit.hash_seeds"],
        input=msgspec.json.encode(work),
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(_path())},
        capture_output=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    return said.strip() if done.returncode else ""


def _path() -> list[str]:
    """Where this package is found, and what the process was given."""
    here = str(Path(__file__).parents[1])
    given_path = os.environ.get("PYTHONPATH")
    return [here, *([given_path] if given_path else [])]


def _histories(flow: Flow, script: Script) -> list[History]:
    """Dialogs that go on from those that came to something new, so that few cells stay unseen."""
    found: list[History] = []
    explorer = Explorer(flow, script, rng=Random(0))
    seed = last = steps = 0
    while seed - last < LISTS_WITHOUT_NEWS and steps < STEPS_MAX:
        tried = explorer.next()
        world = PureWorld(flow, script=script, seed=seed)
        evidence, _ = let_happen(world, tried)  # what breaks is for other tests to say
        tally = tally_of(flow, evidence)
        is_new = explorer.learn(tried, frozenset(tally.counts))
        if is_new or seed < PLAIN:
            found += map(_history, dialogs(evidence))
        last = seed if is_new else last
        steps += tally.steps
        seed += 1
    return found


def _history(dialog: Dialog) -> History:
    known = [moment for moment in dialog.moments if moment.event is not None]
    events = [codec.encode(moment.event) for moment in known if moment.event is not None]
    digests = [moment.record.digest for moment in known]
    return History(session_id=dialog.session_id, events=tuple(events), digests=tuple(digests))


# ---- in the other process ------------------------------------------------------------------------


def main() -> int:
    """Fold what stands on standard input; 1 and a sentence where a digest differs."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    sys.path[:] = list(work.path)
    flow = _flow(work)
    for history in work.histories:
        session = new_session(flow, history.session_id)
        for number, (value, digest) in enumerate(zip(history.events, history.digests, strict=True)):
            event = codec.decode_event(value)
            done = step(flow, session, event)
            if done.record.digest != digest:
                sys.stdout.write(_difference(flow, number, event.type, done.record.after))
                sys.stdout.write(f"there its data: {bytes(done.session.data).decode()}\n")
                for turn in done.session.transcript[-1:]:
                    sys.stdout.write(f"and what was said last: {turn.bot}\n")
                return 1
            session = done.session
    return 0


def _difference(flow: Flow, number: int, kind: str, state: str) -> str:
    return (
        f"flow {flow.ref}: step {number} ({kind}, to {state}) gives other bytes in a process with "
        "another PYTHONHASHSEED.\nSomething goes over a set, or depends on `hash`: sort it\n"
    )


def _flow(work: Work) -> Flow:
    try:
        module = importlib.import_module(work.module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(work.module, work.file)
        assert spec is not None, f"{work.module} has no file"
        assert spec.loader is not None, f"{work.module} cannot be loaded"
        module = importlib.util.module_from_spec(spec)
        sys.modules[work.module] = module
        spec.loader.exec_module(module)
    kind: type[Flow] = attrgetter(work.name)(module)
    config = msgspec.json.decode(work.config, type=kind.Config)
    return kind(config)


if __name__ == "__main__":
    raise SystemExit(main())
