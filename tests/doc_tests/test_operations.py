"""docs/operations.md: its commands and settings are there, its metrics are those of the code."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from console.commands import assistant
from statemachines.assistant_config import AssistantConfig
from streams.settings import load
from tests.deploy_tests.known_settings import unknown
from tests.doc_tests import pages
from tests.tidy import sources

PAGE = "docs/operations.md"
LINES = [
    line
    for snippet in pages.snippets(PAGE)
    if snippet.kind == "sh"
    for line in snippet.text.replace("\\\n", " ").splitlines()
]
_SET = re.compile(r"(AI_ASSISTANT_\w+)=")
FLOW = "AI_ASSISTANT_FLOW__CONFIG__"
KINDS = ("Counter", "Gauge", "Histogram")


def ai(*words: str) -> Result:
    """What `ai-assistant` does in this process."""
    return CliRunner().invoke(assistant, words, prog_name="ai-assistant")


def commands() -> Iterator[list[str]]:
    """The words behind `ai-assistant` of each line that begins with it, or with settings for it."""
    for line in LINES:
        words = [word for word in shlex.split(line, comments=True) if not _SET.match(word)]
        if words and words[0] == "ai-assistant":
            yield words[1:]


def test_every_command_is_there_with_its_options() -> None:
    found = list(commands())
    assert len(found) >= 8
    wrong = {" ".join(words): ai(*words, "--help") for words in found}
    assert {words: done.output for words, done in wrong.items() if done.exit_code} == {}


def test_every_variable_is_a_setting() -> None:
    named = _SET.findall("\n".join(LINES))
    of_the_flow = [name for name in named if name.startswith(FLOW)]
    assert unknown(name for name in named if name not in of_the_flow) == []
    known = AssistantConfig.__struct_fields__
    assert [n for n in of_the_flow if n.removeprefix(FLOW).lower() not in known] == []


def test_the_start_by_hand_has_all_that_its_gateway_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ai("keys", "create", "keys.json").exit_code == 0
    (tmp_path / "operator-token").write_text("c2VjcmV0IG9mIG9wZXJhdG9ycw==\n")
    given = [line for line in LINES if line.startswith("export ")]
    given.append(next(line for line in LINES if line.endswith("--role ingress")))
    words = [word for line in given for word in shlex.split(line)]
    env = dict(word.split("=", 1) for word in words if _SET.match(word))
    env = {name: text.replace("$PWD", str(tmp_path)) for name, text in env.items()}
    settings = load(None, {"HOME": str(tmp_path), **env})
    assert len(settings.kafka.brokers) == 3
    assert settings.kafka.keys_file == tmp_path / "keys.json"
    assert settings.operators.token is not None
    assert settings.operators.token.reveal() == "c2VjcmV0IG9mIG9wZXJhdG9ycw=="
    assert settings.server.data_dir == tmp_path / "data" / "ingress-0"
    assert (settings.kafka.instance, settings.server.port) == ("ingress-0", 8080)


def test_no_two_processes_of_the_page_have_one_name_or_one_address() -> None:
    workers = [shlex.split(line) for line in LINES if " worker --role " in line]
    for variable in ("KAFKA__INSTANCE", "SERVER__BIND"):
        taken = [w for words in workers for w in words if w.startswith(f"AI_ASSISTANT_{variable}=")]
        assert len(set(taken)) == len(taken) == len(workers)


def metrics() -> set[str]:
    """All that the code counts, as Prometheus shows it, with its labels."""
    found = set()
    for path in sources.python_files():
        if path.parts[0] not in sources.packages():
            continue
        for node in ast.walk(sources.tree_of(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id not in KINDS or not node.args:
                continue
            if not isinstance(node.args[0], ast.Constant):
                continue
            labels = ast.literal_eval(node.args[2]) if len(node.args) > 2 else []
            end = "_total" if node.func.id == "Counter" else ""
            found.add(f"{node.args[0].value}{end}" + (f"{{{','.join(labels)}}}" if labels else ""))
    return {name for name in found if name.startswith("assistant_")}


def test_the_table_of_metrics_is_the_codes() -> None:
    rows = re.findall(r"^\| `(assistant_[^`]+)` \|", pages.text_of(PAGE), re.M)
    assert len(set(rows)) == len(rows)
    assert set(rows) == metrics()


def test_a_metric_that_a_sentence_names_is_one() -> None:
    every = ("docs/architecture.md", "docs/reliability.md", PAGE, "README.md")
    named = {w for page in every for w in pages.code_words(page) if w.startswith("assistant_")}
    names = {name.partition("{")[0] for name in metrics()}
    assert {word.partition("{")[0] for word in named} - names == set()
