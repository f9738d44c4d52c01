"""Applies the mutants one at a time to a copy of the product, and hunts each of them.

    python -m tests.mutants [NAME...] [--seconds 300] [--seed 1] [--jobs 2]
    python -m tests.mutants --none --seeds 3        the unchanged code: nothing may be found

Ends with 0 where 95 % were found (with --none: where nothing was), with 2 where a patch is stale.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import median

import msgspec

from tests.mutants.catalogue import BY_NAME, MUTANTS
from tests.mutants.patch import Mutant, Stale
from tests.mutants.report import Found, Report

ROOT = Path(__file__).parents[2]
COPIED = ("engine", "statemachines", "models", "adapters", "streams", "testkit", "console")
TESTS = ("histories", "engine_laws", "mutants")
ENOUGH = 0.95
GRACE_S = 120


def unchanged(into: Path) -> None:
    """The product as it is now, with what the hunt needs of the tests: mutants are made of it."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(ROOT / name, into / name, ignore=ignore)
    (into / "tests").mkdir()
    shutil.copy(ROOT / "tests/__init__.py", into / "tests/__init__.py")
    for name in TESTS:
        shutil.copytree(ROOT / "tests" / name, into / "tests" / name, ignore=ignore)


def hunted(source: Path, mutant: Mutant | None, *, seconds: float, seed: int) -> Report:
    """What the hunt tells of a copy of `source` with the mutant in it. Raises Stale."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder).resolve()
        shutil.copytree(source, copy, dirs_exist_ok=True)
        if mutant is not None:
            file = copy / mutant.file
            file.write_text(mutant.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
        return _hunt(copy, ["--seconds", str(seconds), "--seed", str(seed)], seconds=seconds)


def convicted(source: Path, mutant: Mutant, *, seconds: float, seed: int) -> Report:
    """The same, where what was found is the mutant's: the unchanged code passes that very run."""
    report = hunted(source, mutant, seconds=seconds, seed=seed)
    found = report.found
    if found is None or not found.list:  # it did not even load, or could not be stopped
        return report
    same = _hunt(source, ["--again"], seconds=seconds, given=msgspec.json.encode(found))
    if same.error or same.found is not None:
        said = same.error or f"{found.law}: {found.what}: {found.setting} {found.list}"
        return Report(error=f"the unchanged code does it, too: {said}", runs=report.runs)
    return report


def _hunt(copy: Path, arguments: Sequence[str], *, seconds: float, given: bytes = b"") -> Report:
    """The report of a process over this copy; one that says so where it did not end, or broke."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutants.hunt", str(copy), *arguments],
            input=given,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=seconds + GRACE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # No signal reaches what goes round in circles in C, a recursive query for one.
        what = "a run did not end, and could not be stopped"
        return Report(found=Found(law="it ends", what=what, seconds=seconds + GRACE_S))
    if done.returncode != 0:
        return Report(error=done.stderr.decode(errors="replace").strip()[-2_000:])
    return msgspec.json.decode(done.stdout, type=Report)


def main() -> int:
    """Hunt what was asked for, and tell of each as it ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--none", action="store_true", help="the unchanged code")
    parser.add_argument("--seeds", type=int, default=3, help="how many, with --none")
    parser.add_argument("--verbose", action="store_true", help="what reproduces each finding")
    given = parser.parse_args()
    if missing := [name for name in given.names if name not in BY_NAME]:
        parser.error(f"no such mutant: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="unchanged-") as folder:
        source = Path(folder).resolve()
        unchanged(source)
        return _none(source, given) if given.none else _all(source, given)


def _all(source: Path, given: argparse.Namespace) -> int:
    mutants = [BY_NAME[name] for name in given.names] or list(MUTANTS)
    if stale := [*_stale(source, mutants)]:  # said at once, not after an hour
        _write(stale)
        return 2
    reports: dict[str, Report] = {}
    with ThreadPoolExecutor(given.jobs) as pool:
        hunts = {
            pool.submit(convicted, source, one, seconds=given.seconds, seed=given.seed): one
            for one in mutants
        }
        for hunt in as_completed(hunts):
            mutant, report = hunts[hunt], hunt.result()
            reports[mutant.name] = report
            _tell(mutant, report, verbose=given.verbose)
    return _summary(reports)


def _stale(source: Path, mutants: Iterable[Mutant]) -> Iterator[str]:
    for mutant in mutants:
        try:
            mutant.applied((source / mutant.file).read_text(encoding="utf-8"))
        except Stale as error:
            yield str(error)


def _none(source: Path, given: argparse.Namespace) -> int:
    seeds = range(given.seed, given.seed + given.seeds)
    wrong = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        hunts = {s: pool.submit(hunted, source, None, seconds=given.seconds, seed=s) for s in seeds}
        for seed, hunt in hunts.items():
            report = hunt.result()
            _tell_unchanged(seed, report)
            wrong += bool(report.found or report.recorded or report.error)
    return 1 if wrong else 0


def _tell_unchanged(seed: int, report: Report) -> None:
    said = report.error or report.recorded
    if report.found is not None:
        said = f"{report.found.law}: {report.found.what}\n  {report.found.setting}"
        said += f"\n  {report.found.list}"
    _write([f"unchanged, seed {seed}: {said or 'nothing found'} in {report.runs} dialogs"])


def _tell(mutant: Mutant, report: Report, *, verbose: bool) -> None:
    found = report.found
    if report.error:
        lines = [f"ERROR      {mutant.name}: {report.error}"]
    elif found is not None:
        what = f"by '{found.law}' in {found.seconds:.1f} s, {found.stimuli} stimuli"
        lines = [f"found      {mutant.name}: {what}"]
        if verbose:
            lines += [
                f"    {found.subject}: {found.what}",
                f"    {found.setting}",
                f"    {found.list}",
            ]
    elif report.recorded:
        lines = [f"recorded   {mutant.name}: by the histories only: {report.recorded}"]
    else:
        lines = [f"NOT FOUND  {mutant.name} in {report.runs} dialogs; should: {mutant.law}"]
    _write(lines)


def _summary(reports: dict[str, Report]) -> int:
    """How many, and how short; 0 where that is enough."""
    generated = [report.found for report in reports.values() if report.found is not None]
    recorded = sum(bool(r.recorded) and r.found is None for r in reports.values())
    missed = [n for n, r in reports.items() if r.found is None and not r.recorded]
    sizes = [found.stimuli for found in generated if found.list]
    _write(
        [
            f"{len(generated) + recorded} of {len(reports)} found: {len(generated)} in generated "
            f"dialogs or when loading, {recorded} in recorded histories only",
            f"median: {median(sizes) if sizes else 0} stimuli, "
            f"{median([found.seconds for found in generated] or [0]):.1f} s",
            *([f"not found: {', '.join(missed)}"] if missed else []),
        ]
    )
    return 0 if len(reports) - len(missed) >= ENOUGH * len(reports) else 1


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
