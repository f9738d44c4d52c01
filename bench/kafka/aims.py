"""The figures of one run beside what they are to be: ratios of the same run, and a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

AIMS = {
    "turns/s over plain Faust, 1 000 busy": "at least 2",
    "turns/s over plain Faust, 4 000 busy": "at least 2",
    "CPU a turn over Quix, 1 000 busy": "at most 2",
    "CPU a turn over Quix, 4 000 busy": "at most 2",
    "p50 at 20 turns/s over Quix": "at most 0.2",
    "p50 at 20 turns/s, ms": "at most 10",
    "sustained: p99 from append to reply, ms": "below 100",
    "Faust's own share, us CPU an event": "at most 15",
    "recovery of 200 000 sessions, s": "at most 5",
    "event at most over at least sessions": "flat",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One load on one contestant. CPU in microseconds a turn, the driver's left out.

    `appended_*`: from the message's append to its reply's, by the broker's clock; `p50_ms` and
    `p99_ms`: until it was read by the driver, committed. Above 0.3 `foreign_cores` the figures are
    a trial, not a measurement.
    """

    peer: str
    what: str
    turns: int
    turns_s: float
    cpu_us_turn: float
    cpu_us_by: Mapping[str, float]
    p50_ms: float
    p99_ms: float
    appended_p50_ms: float
    appended_p99_ms: float
    memory_mb: Mapping[str, float]
    driver_cores: float
    foreign_cores: float


def summary(runs: Sequence[Figures], more: Mapping[str, object]) -> dict[str, object]:
    """What the issue asks for, as far as it was measured."""
    found: dict[str, float | None] = {}
    for count, words in ((1_000, "1 000"), (4_000, "4 000")):
        load = f"sat{count}"
        found[f"turns/s over plain Faust, {words} busy"] = _ratio(runs, load, "turns_s", "faust")
        found[f"CPU a turn over Quix, {words} busy"] = _ratio(runs, load, "cpu_us_turn", "quix")
    found["p50 at 20 turns/s over Quix"] = _ratio(runs, "low", "p50_ms", "quix")
    found["p50 at 20 turns/s, ms"] = _median(runs, "ours", "low", "p50_ms")
    found["sustained: p99 from append to reply, ms"] = _median(
        runs, "ours", "sustained", "appended_p99_ms"
    )
    ratios = {name: value for name, value in found.items() if value is not None}
    return {"found": {**ratios, **_others(more)}, "aims": AIMS, **more}


def _others(more: Mapping[str, object]) -> dict[str, float]:
    found = {}
    match more.get("faust"):
        case {"faust_us_event": float(us)}:
            found["Faust's own share, us CPU an event"] = us
    match more.get("recovery"):
        case {"recovery_s": float(seconds)}:
            found["recovery of 200 000 sessions, s"] = seconds
    match more.get("event_us_by_sessions"):
        case {**costs}:
            each = [float(cost) for cost in costs.values()]
            found["event at most over at least sessions"] = round(each[-1] / each[0], 2)
    return found


def _median(runs: Iterable[Figures], peer: str, what: str, field: str) -> float | None:
    values = [getattr(run, field) for run in runs if (run.peer, run.what) == (peer, what)]
    return round(float(median(values)), 2) if values else None


def _ratio(runs: Sequence[Figures], what: str, field: str, peer: str) -> float | None:
    mine, theirs = _median(runs, "ours", what, field), _median(runs, peer, what, field)
    return None if mine is None or not theirs else round(mine / theirs, 2)


def show(runs: Sequence[Figures], found: Mapping[str, object]) -> None:
    """Print both as tables."""
    head = ("", "load", "turns/s", "CPU us", "of it", "p50 ms", "p99 ms", "MB", "foreign")
    rows = [head, *(_row(run) for run in runs)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print()
    for name, value in found.items():
        if isinstance(value, Mapping) and name == "found":
            for what, number in value.items():
                print(f"{what:45} {number:>10}   {AIMS[what]}")
        elif name != "aims":
            print(f"{name}: {value}")


def _row(run: Figures) -> tuple[str, ...]:
    parts = ", ".join(f"{who} {us:.0f}" for who, us in run.cpu_us_by.items())
    return (
        run.peer,
        run.what,
        f"{run.turns_s:.0f}",
        f"{run.cpu_us_turn:.0f}",
        parts,
        f"{run.p50_ms:.1f}",
        f"{run.p99_ms:.1f}",
        f"{sum(run.memory_mb.values()):.0f}",
        f"{run.foreign_cores:.2f}",
    )
