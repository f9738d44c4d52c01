"""`python -m tests.crash --kills N`: one run and its table; exit code 1 where it found anything."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.crash.killer import WINDOWS, Killer, Report

SHOWN_MAX = 20


def main() -> None:
    """Run, print, exit."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="how often the engine dies")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices")
    parser.add_argument("--data", type=Path, help="a new data directory, to be kept afterwards")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    at = parser.parse_args()
    print(f"crash test: {at.kills} kills, seed {at.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="crash-") as scratch:
        data = at.data or Path(scratch) / "data"
        report = asyncio.run(Killer(data, kills=at.kills, seed=at.seed).run())
    found = summary(report)
    print(json.dumps(found, indent=2) if at.json else table(found))
    sys.exit(0 if report.ok else 1)


def summary(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    verdict = report.verdict
    back_ms = {
        how: sorted(
            1_000 * k.back_s for k in report.kills if k.back_s is not None and k.how in kinds
        )
        for how, kinds in (
            ("engine, imports done", ("anywhere", "aimed", "start")),
            ("ai-assistant run", ("before its parent", "under its parent")),
            ("its parent killed", ("parent",)),
        )
    }
    return {
        "kills": len(report.kills),
        "seconds": round(report.seconds),
        "windows": {window.value: report.windows[window] for window in WINDOWS},
        "between windows": report.windows[None],
        "how": dict(Counter(kill.how for kill in report.kills)),
        "back_ms": {
            how: {
                "p50": round(statistics.median(times)),
                "p95": round(times[int(0.95 * len(times))]),
                "max": round(times[-1]),
            }
            for how, times in back_ms.items()
            if times
        },
        "counted": dict(sorted(verdict.counted.items())),
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "unknown": verdict.unknown,
        "wrong": verdict.wrong,
        "broken": report.broken,
    }


def table(found: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [
        f"{found['kills']} kills in {found['seconds']} s",
        "",
        "kills landed, by the engine's mark:",
    ]
    landed = {**found["windows"], "between windows": found["between windows"]}
    lines += [f"  {name:<18}{n:>6}" for name, n in landed.items()]
    lines += ["", "kills by what was killed and when:"]
    lines += [f"  {name:<18}{n:>6}" for name, n in found["how"].items()]
    lines += ["", "from kill to the first welcome:"]
    lines += [
        f"  {how:<21} p50 {t['p50']} ms, p95 {t['p95']} ms, max {t['max']} ms"
        for how, t in found["back_ms"].items()
    ]
    lines += ["", "looked at:"]
    lines += [f"  {name:<28}{n:>8}" for name, n in found["counted"].items()]
    lines.append("")
    for name in ("lost", "doubled", "unknown", "wrong", "broken"):
        lines.append(f"{name:<10}{len(found[name]):>6}")
        lines += [f"    {finding}" for finding in found[name][:SHOWN_MAX]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
