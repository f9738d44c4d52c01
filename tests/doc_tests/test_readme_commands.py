"""The README's commands, run: `make` says what it would do, `ai-assistant` really does it.

One engine with a scripted model runs beside them, with the settings that the README itself shows.
The Chinese README has the same snippets (`test_pages`), so they are run once.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.doc_tests import pages
from tests.doc_tests.engines import ENDED_WITHIN_S, Engine

SHELL = [snippet for snippet in pages.snippets(pages.ENGLISH) if snippet.kind == "sh"]
TYPED = "Good morning"

# What each command of the README prints when all is well: some words of it.
PRINTS = {
    "doctor": "ok    address",
    "chat": f"assistant> {TYPED}",
    "chat --once": "What is the capital of France?",  # the scripted model repeats what was said
    "operator list": "webchat:web:",
    "operator say": "said in webchat:web:",
    "operator hand-back": "handed back: webchat:web:",
    "sessions list": "webchat:web:",
    "sessions show": "CallModel",
    "trace": "nothing is left to do",
    "flow check": "B, how long a message can wait at most",
    "flow show": "stateDiagram-v2",
    "flow coverage": "of its rows, conditions and cells seen in",
    "flow test": "every law holds in",
    "config check": "settings are fine",
    "config show": "fallback_strategies",
}


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run make in the repository, also where make runs this test."""
    env = {key: text for key, text in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS")}
    return subprocess.run(
        ["make", *words],
        cwd=pages.ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_S,
        check=False,
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all commands; its settings are the README's own."""
    home = tmp_path_factory.mktemp("home")
    files = {"toml": "assistant.toml", "json": "im_adapter.json"}
    for snippet in pages.snippets(pages.ENGLISH):
        if snippet.kind in files:
            (home / files[snippet.kind]).write_text(snippet.text, encoding="utf-8")
    running = Engine(home)
    yield running
    assert running.stop() == 0


def stands_for(engine: Engine, text: str) -> dict[str, str]:
    """What the capitals of a snippet stand for: a session and a message made for it."""
    if "operator" in text:
        engine.ai("chat", "--new", "--once", "human")
        waiting = json.loads(engine.ai("operator", "list", "--json"))
        return {"SESSION": waiting[-1]["session_id"]}
    if "sessions" in text:
        engine.ai("chat", "--new", "--once", "hello")
        session_id = json.loads(engine.ai("sessions", "list", "--json"))[0]["session_id"]
        shown = json.loads(engine.ai("sessions", "show", session_id, "--json"))
        message = next(e["id"] for e in shown["entries"] if e["author"] == "person")
        return {"SESSION": session_id, "MESSAGE": message}
    return {}


def kind_of(words: list[str]) -> str:
    """The command and its subcommand or `--once`, as the table above has them."""
    return next(k for k in (" ".join(words[:2]), words[0]) if k in PRINTS)


@pytest.mark.parametrize("snippet", [s for s in SHELL if "ai-assistant " in s.text], ids=str)
def test_the_commands_of_a_snippet_do_what_they_say(snippet: pages.Snippet, engine: Engine) -> None:
    names = stands_for(engine, snippet.text)
    for line in snippet.text.splitlines():
        command, *words = (names.get(word, word) for word in shlex.split(line))
        assert command == "ai-assistant"
        kind = kind_of(words)
        typed = f"{TYPED}\n" if kind == "chat" else ""
        assert PRINTS[kind] in engine.ai(*words, typed=typed)


@pytest.mark.parametrize("snippet", [s for s in SHELL if "make " in s.text], ids=str)
def test_make_knows_the_targets_of_a_snippet(snippet: pages.Snippet) -> None:
    for line in snippet.text.splitlines():
        command, *words = shlex.split(line)
        if command != "export":
            assert command == "make"
            planned = make("--dry-run", *words)
            assert (planned.returncode, planned.stderr) == (0, "")
            assert planned.stdout


def test_the_variable_of_make_crash_is_the_number_of_kills() -> None:
    assert "--kills 7" in make("--dry-run", "crash", "N=7").stdout


def test_make_bench_installs_and_measures_the_peers_only_when_asked() -> None:
    alone = make("--dry-run", "bench").stdout
    compared = make("--dry-run", "bench", "PEERS=1").stdout
    assert "bench.turns --ours" in alone
    assert 'test -z "" ||' in alone
    assert 'test -z "1" || bash bench/peers/setup.sh' in compared
    assert "--ours" not in compared


def test_make_run_fetches_a_model_only_where_it_is_used() -> None:
    assert "models fetch --if-needed" in make("--dry-run", "run").stdout


def test_every_shell_snippet_is_run_by_a_test() -> None:
    known = re.compile(r"(export|make|ai-assistant) ")
    assert [str(s) for s in SHELL if not all(map(known.match, s.text.splitlines()))] == []


def test_every_command_that_the_table_expects_is_in_the_readme() -> None:
    lines = "\n".join(s.text for s in SHELL)
    assert [kind for kind in PRINTS if f"ai-assistant {kind}" not in lines] == []
