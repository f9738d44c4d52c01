"""The hunt of one build, in a process of its own over a copy of the product: one JSON line.

It knows nothing of any mutant: the same search runs over the unchanged code, and finds nothing
there. What it looks at, in this order: whether flows load, recorded histories, generated dialogs.

    python -m tests.mutants.hunt COPY --seconds 300 --seed 1
    python -m tests.mutants.hunt COPY --again       what another hunt found, read from stdin
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

import msgspec

from tests.mutants.report import Found, Report, last_line

IF_RECORDED_S = 60
PRODUCT = ("engine", "statemachines", "models", "adapters", "streams", "testkit")


def main() -> int:
    """Print the report of one hunt."""
    parser = argparse.ArgumentParser()
    parser.add_argument("copy", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    copy = given.copy.resolve()
    report = again(copy) if given.again else hunt(copy, given.seconds, seed=given.seed)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


def hunt(copy: Path, seconds: float, *, seed: int) -> Report:
    """Search for so long, or until something is found in generated dialogs."""
    began = time.monotonic()
    try:
        _is_the_copy(copy)
        # Only here: that the product cannot be imported, or its flows not be built, is a finding.
        from tests.mutants import recorded, search
        from tests.mutants.subjects import SUBJECTS

        for subject in SUBJECTS:
            subject.flow()
    except Exception as error:
        seconds = time.monotonic() - began
        return Report(found=Found(law="loads", what=last_line(error), seconds=seconds))
    report = Report(recorded=recorded.check())
    if report.recorded:  # a finding already: whether dialogs show it, too, is only of interest
        seconds = min(seconds, IF_RECORDED_S)
    report.found, report.runs = search.run(began, seconds, seed=seed)
    return report


def again(copy: Path) -> Report:
    """What comes here of the one run that found something elsewhere."""
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Found)
    _is_the_copy(copy)
    from tests.mutants import search

    return Report(found=search.again(told), runs=1)


def _is_the_copy(copy: Path) -> None:
    """No run may silently test the original."""
    for name in PRODUCT:
        file = importlib.import_module(name).__file__
        if file is None or not Path(file).resolve().is_relative_to(copy):
            sys.exit(f"{name} is {file}, not the copy's")


if __name__ == "__main__":
    raise SystemExit(main())
