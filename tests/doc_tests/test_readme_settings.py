"""The READMEs' settings: each variable and each key is taken, and the defaults are as shown."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.effects import FallbackStrategy
from statemachines.assistant_config import AssistantConfig
from streams.parts import build_flow
from streams.settings import environment, load
from tests.doc_tests import pages

EXPORTS = [
    snippet
    for page in pages.READMES
    for snippet in pages.snippets(page)
    if snippet.text.startswith("export ")
]
_VARIABLE = re.compile(r"\b(?:AI_ASSISTANT_[A-Z_]+|MODEL_PATH|MAX_TOKENS)\b")


def exported(snippet: pages.Snippet) -> Iterator[tuple[str, str]]:
    """What the `export` lines of a snippet set."""
    for line in snippet.text.splitlines():
        command, *words = shlex.split(line)
        if command == "export":
            for word in words:
                name, _, value = word.partition("=")
                yield name, value


@pytest.mark.parametrize("snippet", EXPORTS, ids=str)
def test_the_variables_of_a_snippet_are_taken_as_they_stand(
    snippet: pages.Snippet, tmp_path: Path
) -> None:
    env = dict(exported(snippet))
    for name in env.keys() & {"MODEL_PATH", "AI_ASSISTANT_KAFKA__KEYS_FILE"}:
        file = tmp_path / Path(env[name]).name  # the reader's own: here it is one that exists
        file.touch()
        env[name] = str(file)
    settings = load(tmp_path, {"HOME": str(tmp_path)} | env)
    keys = [(key, name) for key, found in environment.read(env).items() for name, _ in found]
    assert sorted(name for _, name in keys) == sorted(env)
    assert [settings.origin(key) for key, _ in keys] == [f"env {name}" for _, name in keys]
    build_flow(settings, [])


@pytest.mark.parametrize("page", pages.READMES)
def test_every_variable_that_is_named_is_one(page: str, tmp_path: Path) -> None:
    load(tmp_path, {"HOME": str(tmp_path), "AI_ASSISTANT_SERVER__BIND": "0.0.0.0:8080"})
    named = set(_VARIABLE.findall(pages.text_of(page)))
    checked = {name for snippet in EXPORTS for name, _ in exported(snippet)}
    directories = {"AI_ASSISTANT_CONFIG", "AI_ASSISTANT_DATA"}
    assert named - checked - directories == {"AI_ASSISTANT_SERVER__BIND"}
    assert directories <= named


@pytest.mark.parametrize("page", pages.READMES)
def test_the_flows_configuration_is_shown_with_its_defaults(page: str, tmp_path: Path) -> None:
    (snippet,) = (s for s in pages.snippets(page) if s.kind == "toml")
    (tmp_path / "assistant.toml").write_text(snippet.text, encoding="utf-8")
    build_flow(load(tmp_path, {"HOME": str(tmp_path)}), [])
    shown = tomllib.loads(snippet.text)["flow"]["config"]
    defaults = AssistantConfig()
    assert shown == {name: getattr(defaults, name) for name in shown}


@pytest.mark.parametrize("page", pages.READMES)
def test_the_fallback_strategy_is_taken(page: str, tmp_path: Path) -> None:
    (snippet,) = (s for s in pages.snippets(page) if s.kind == "json")
    (tmp_path / "im_adapter.json").write_text(snippet.text, encoding="utf-8")
    settings = load(tmp_path, {"HOME": str(tmp_path)})
    wanted = FallbackStrategy(pattern="^系统错误", action="escalate_to_human")
    assert settings.fallbacks == (wanted,)
    _, config = build_flow(settings, [])
    assert msgspec.json.decode(config)["fallback_strategies"] == [msgspec.to_builtins(wanted)]
