"""The list of mutants fits the code, and five of them are really found."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, convicted, hunted, unchanged
from tests.mutants.catalogue import BY_NAME, MUTANTS
from tests.mutants.patch import Mutant, Stale

QUICK = (
    "seen-set-skipped",
    "cancel-leaves-the-pending",
    "mark-after-send",
    "merged-message-forgotten",
    "set-in-data",
)
SECONDS = 60


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        unchanged(Path(folder))
        yield Path(folder).resolve()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_its_file_exactly_once_and_compiles(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.applied(text)
    assert changed != text
    compile(changed, mutant.file, "exec")


def test_a_mutant_whose_text_has_changed_is_said_to_be_stale() -> None:
    mutant = MUTANTS[0]
    with pytest.raises(Stale, match=mutant.name):
        mutant.applied("nothing of it\n")
    with pytest.raises(Stale, match="2 times"):
        mutant.applied(mutant.old * 2)


def test_there_are_enough_mutants_of_different_files() -> None:
    assert len(MUTANTS) >= 45
    assert len({mutant.file for mutant in MUTANTS}) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_found(source: Path, name: str) -> None:
    report = convicted(source, BY_NAME[name], seconds=SECONDS, seed=1)
    assert not report.error
    assert report.found is not None, f"{name} was not found in {report.runs} dialogs"
    assert report.found.stimuli <= 8, report.found.list


def test_nothing_is_found_in_the_unchanged_code(source: Path) -> None:
    report = hunted(source, None, seconds=5, seed=1)
    assert not report.error
    assert report.found is None, f"{report.found}"
    assert not report.recorded
