"""docs/skills.md does what it says: its snippets run, its package is built, found and performed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from adapters.skills.registry import enabled
from adapters.skills.runner import SkillPool, SkillSettings
from engine.events import SkillDone
from tests.skill_tests.pools import NOW_MS, request

PAGE = (Path(__file__).parents[2] / "docs" / "skills.md").read_text("utf-8")


def snippets(language: str) -> list[str]:
    """The page's code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_first_skill_is_about_fifteen_lines() -> None:
    assert len([line for line in snippets("python")[0].splitlines() if line.strip()]) <= 15


def test_every_python_snippet_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = snippets("python")
    assert len(code) >= 6
    (tmp_path / "unit_skill.py").write_text(code[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for snippet in code:
        exec(compile(snippet, "docs/skills.md", "exec"), names)


async def test_the_pages_package_is_built_found_and_performed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, settings = snippets("toml")
    (tmp_path / "unit_skill.py").write_text(snippets("python")[0], "utf-8")
    (tmp_path / "pyproject.toml").write_text(project, "utf-8")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    monkeypatch.syspath_prepend(installed)

    skills = tomllib.loads(settings)["skills"]
    cards = enabled(skills["enabled"])
    assert [card.name for card in cards] == ["文档摘要", "单位换算"]
    pool = SkillPool(SkillSettings(cards=cards, workers=1, spare=1, own=skills["settings"]))
    await pool.start()
    done = await pool.run(request("单位换算", "3 kg"), NOW_MS)
    await pool.close()
    assert isinstance(done, SkillDone)
    assert done.text == "3 kg = 6.61 lb"
