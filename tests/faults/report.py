"""A run's report as plain values, and as the table of docs/reliability.md."""

import statistics
from typing import Any

from tests.faults.trial import Report

SHOWN_MAX = 10
COLUMNS = ("fault", "messages", "blows", "lost", "doubled", "unknown", "wrong", "p50 s", "max s")


def summary(report: Report) -> dict[str, Any]:
    """All of it, for machines."""
    verdict = report.verdict
    return {
        "fault": report.fault,
        "messages": report.messages,
        "seconds": round(report.seconds, 1),
        "blows": dict(sorted(report.blows.items())),
        "recovered_s": {
            what: {
                "p50": round(statistics.median(times), 2),
                "max": round(max(times), 2),
                "n": len(times),
            }
            for what, times in sorted(report.recovered_s.items())
        },
        "notes": dict(sorted(report.notes.items())),
        "stall_s": round(report.stall_s, 2),
        "counted": dict(sorted(verdict.counted.items())),
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "unknown": verdict.unknown,
        "wrong": verdict.wrong,
        "broken": report.broken,
    }


def table(reports: list[Report]) -> str:
    """Markdown, and below it whatever was found."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [row for report in reports for row in _rows(report)]
    for report in reports:
        for name in ("lost", "doubled", "unknown", "wrong", "broken"):
            found: list[str] = report.broken if name == "broken" else getattr(report.verdict, name)
            if found:
                lines.append(f"\n{report.fault}: {name} {len(found)}")
                lines += [f"    {finding}" for finding in found[:SHOWN_MAX]]
    return "\n".join(lines)


def _rows(report: Report) -> list[str]:
    verdict = report.verdict
    counts = [len(verdict.lost), len(verdict.doubled), len(verdict.unknown), len(verdict.wrong)]
    found = [str(report.messages), *map(str, counts)]
    rows = []
    for what, n in sorted(report.blows.items()):
        times = report.recovered_s.get(what, [])
        p50, most = (f"{statistics.median(times):.2f}", f"{max(times):.2f}") if times else ("", "")
        cells = [report.fault, found[0], f"{n} x {what}", *found[1:], p50, most]
        rows.append("| " + " | ".join(cells) + " |")
    return rows or ["| " + " | ".join([report.fault, found[0], "", *found[1:], "", ""]) + " |"]
