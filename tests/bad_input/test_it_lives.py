"""Wrong things that a running engine outlives: each has its answer, and nobody else feels it."""

import re
from pathlib import Path

import pytest

from tests.bad_input import rows_inside, rows_wire
from tests.bad_input.scene import Row, playing
from tests.host_tests.engines import Engine
from tests.host_tests.folding import dispositions, folds
from tests.host_tests.plugins import installed

ROWS = [*rows_wire.ROWS, *rows_inside.ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_wrong_thing_has_its_answer_and_the_next_message_too(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skills = {name: f"tests.skill_tests.rogues:{name}" for name in row.skills}
    monkeypatch.syspath_prepend(installed(tmp_path / "installed", **skills))
    data = tmp_path / "data"
    async with Engine(data, **row.engine()) as engine, playing(data, engine) as scene:
        told = await row.does(scene)
        assert re.search(row.told, told, re.DOTALL), told
        await scene.is_answered()
        assert engine.host.state().ready
        assert engine.host.state().dead_letters == 0
    assert sorted(dispositions(data)) == sorted((*row.ends, "answered"))
    folds(data)
