"""Coverage as people and CI read it: a table for a terminal, a JSON document, and what users do
that no test does.

Between `testkit.coverage`, which counts, and the pytest plugin and `ai-assistant flow coverage`,
which print. What it never does: count, or print by itself.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from engine.errors import Refused
from statemachines.flow import Flow
from testkit.coverage import MEASURED, Coverage, Entry, rounded
from testkit.coverage_universe import KINDS, Kind, universe

TITLES: dict[Kind, str] = {
    "row": "rows",
    "condition": "conditions",
    "cell": "cells",
    "pair": "pairs of rows",
    "crash": "crashes at rows",
}
SHOWN_MAX = 20
"""Things of one kind that users do and no test does: the most used ones."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one kind was seen. `percent`: 0 to 100, one decimal."""

    seen: int
    of: int
    percent: float


class FlowPart(msgspec.Struct, frozen=True, kw_only=True):
    """One flow's: `percent` is what `--flow-coverage-fail-under` compares; `missing` by name."""

    flow: str
    percent: float
    parts: dict[str, Part]
    missing: tuple[str, ...]
    coverage: Coverage


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What `--flow-coverage-json` writes, and `flow coverage --tests` reads."""

    flows: tuple[FlowPart, ...]
    schema: int = 1


def document(coverages: Iterable[Coverage]) -> Document:
    """The document of these flows."""
    return Document(flows=tuple(map(part, coverages)))


def part(coverage: Coverage) -> FlowPart:
    """One flow's part of the document."""
    return FlowPart(
        flow=coverage.flow,
        percent=rounded(coverage.percent()),
        parts={kind: _part(coverage, kind) for kind in KINDS},
        missing=tuple(entry.what for entry in coverage.missing(*MEASURED)),
        coverage=coverage,
    )


def read(text: bytes | str) -> tuple[Coverage, ...]:
    """The coverages of a document. Raises Refused where it is none."""
    try:
        found = msgspec.json.decode(text, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"it is no file that --flow-coverage-json wrote: {error}") from None
    return tuple(one.coverage for one in found.flows)


def untested(live: Coverage, tests: Coverage) -> tuple[Entry, ...]:
    """What users did and no test does: rows, conditions, cells and pairs, most used first."""
    # By name: another configuration's rows may have other numbers.
    tested = {(entry.kind, _unnumbered(entry.what)) for entry in tests.entries if entry.count}
    found = [
        entry
        for entry in live.entries
        if entry.count
        and entry.kind != "crash"
        and (entry.kind, _unnumbered(entry.what)) not in tested
    ]
    return tuple(sorted(found, key=lambda entry: -entry.count))


def alike(coverage: Coverage, flow: Flow) -> int:
    """How many things of the flow the coverage knows: the more, the liker are the two tables."""
    known = {(entry.kind, entry.what) for entry in coverage.entries}
    return sum((thing.kind, thing.what) in known for thing in universe(flow))


# ---- for a terminal ------------------------------------------------------------------------------


def told(
    coverage: Coverage, *, crashes: bool = True, named: Sequence[Kind] = KINDS
) -> Iterator[str]:
    """The table and, for the kinds in `named`, what was not seen.

    `crashes` False: nothing could crash, so that is left out.
    """
    yield summary(coverage)
    kinds = [kind for kind in KINDS if crashes or kind != "crash"]
    for kind in kinds:
        here = _part(coverage, kind)
        if here.of:
            yield f"  {TITLES[kind]:<16} {here.seen:>4} of {here.of:>4}  {here.percent:5.1f} %"
    yield from _beyond(coverage)
    for kind in kinds:
        missing = coverage.missing(kind)
        if missing and kind in named:
            yield f"{TITLES[kind]} not seen:"
            yield from (f"  {line}" for line in _names(kind, missing))


def _names(kind: Kind, missing: Sequence[Entry]) -> Iterator[str]:
    """What was not seen, on as few lines as a person can read: there are hundreds of pairs."""
    if kind == "cell":
        for state, keys in _grouped(missing):
            shown = [t if how == "moves" else f"{t} ({how})" for t, how in keys]
            yield f"{state}: {', '.join(shown)}"
    elif kind == "pair":
        for first, keys in _grouped(missing):
            yield f"row {first}, then {', '.join(then for (then,) in keys)}"
    elif kind == "crash":
        for point, keys in _grouped(missing):
            yield f"{point}: rows {', '.join(row for (row,) in keys)}"
    else:
        yield from (entry.what for entry in missing)


def _grouped(missing: Sequence[Entry]) -> Iterable[tuple[str, list[tuple[str, ...]]]]:
    """The entries' keys by the first part of them, the rest of each as text."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for entry in missing:
        first, *rest = map(str, entry.key)
        found.setdefault(first, []).append(tuple(rest))
    return found.items()


def summary(coverage: Coverage) -> str:
    """How much was seen, and in how much."""
    return (
        f"flow {coverage.flow}: {rounded(coverage.percent())} % of its rows, conditions and cells "
        f"seen in {_number(coverage.steps, 'step')} of {_number(coverage.sessions, 'session')}"
    )


def told_untested(entries: Sequence[Entry]) -> Iterator[str]:
    """What users do that no test does, with how often."""
    for kind in KINDS:
        here = [entry for entry in entries if entry.kind == kind]
        if here:
            yield f"{TITLES[kind]} that users take and no test does:"
            width = len(str(here[0].count))
            for entry in here[:SHOWN_MAX]:
                yield f"  {entry.count:>{width}} ×  {entry.what}"
            if len(here) > SHOWN_MAX:
                yield f"  … and {len(here) - SHOWN_MAX} more"


def _beyond(coverage: Coverage) -> Iterator[str]:
    """What the load check calls impossible and was seen all the same: a defect of one of them."""
    found = [e for e in coverage.entries if not e.possible and e.kind != "crash"]
    if found:
        yield "seen, though the load check calls it impossible:"
        yield from (f"  {entry.count} ×  {entry.what}" for entry in found)


def _part(coverage: Coverage, kind: Kind) -> Part:
    known = [entry for entry in coverage.of_kind(kind) if entry.possible]
    seen = sum(entry.count > 0 for entry in known)
    return Part(seen=seen, of=len(known), percent=rounded(coverage.percent(kind)))


def _unnumbered(what: str) -> str:
    return re.sub(r"\brow \d+ ", "", what)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
