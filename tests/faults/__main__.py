"""`python -m tests.faults`: run faults, print a table; exit code 1 where anything was found."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.faults.catalogue import FAULTS, SHORT
from tests.faults.report import summary, table
from tests.faults.trial import run

MESSAGES = 20_000


def main() -> None:
    """Run, print, exit."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="this one; default: all")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="in each run, at least")
    parser.add_argument("--rounds", type=int, default=0, help="how often; default: each fault's")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices")
    parser.add_argument("--people", type=int, default=0, help="how many talk at once")
    parser.add_argument("--data", type=Path, help="a new folder, to be kept afterwards")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    at = parser.parse_args()
    reports = []
    for name in at.fault or [name for name in FAULTS if name != SHORT.name]:
        fault = FAULTS[name]
        if at.people:
            fault = replace(fault, shape=replace(fault.shape, people=at.people))
        print(f"{name}: {at.messages} messages, seed {at.seed}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
            folder = (at.data or Path(scratch)) / name
            rounds = at.rounds or fault.rounds
            report = asyncio.run(
                run(fault, folder, messages=at.messages, rounds=rounds, seed=at.seed)
            )
        print(table([report]), file=sys.stderr, flush=True)
        reports.append(report)
    print(json.dumps([summary(r) for r in reports], indent=2) if at.json else table(reports))
    sys.exit(0 if all(report.ok for report in reports) else 1)


if __name__ == "__main__":
    main()
