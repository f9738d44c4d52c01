"""Each command explains itself, and every end has its documented code."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from console.commands import COMMANDS, assistant
from console.exit_codes import MEANINGS, ExitCode
from console.invocation import Assistant, code_of
from console.shadowing import ROOT
from engine.errors import Conflict, Divergence, InvalidRecord, Refused, Unavailable
from streams.settings import WrongSettings
from tests.console_tests.conftest import Say


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        inner = (*path, name)
        found += every_command(command, inner) if isinstance(command, click.Group) else [inner]
    return found


PATHS = every_command(assistant)


def test_the_commands_stand_in_the_order_in_which_a_newcomer_needs_them(ai: Say) -> None:
    listed = ai("--help").output
    places = [listed.index(f"\n  {command.name} ") for command in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("path", PATHS, ids=[" ".join(p) or "ai-assistant" for p in PATHS])
def test_every_command_explains_itself(path: tuple[str, ...], ai: Say) -> None:
    result = ai(*path, "--help")
    assert result.exit_code == ExitCode.OK
    usage, _, rest = result.output.partition("\n")
    assert usage.startswith(" ".join(("Usage: ai-assistant", *path)))
    assert len(rest.strip().splitlines()[0]) > 20


@pytest.mark.parametrize(
    "path", [p for p in PATHS if p and (p[-1] in ("list", "show", "trace", "doctor"))], ids=" ".join
)
def test_all_that_lists_can_print_json(path: tuple[str, ...], ai: Say) -> None:
    if path != ("flow", "show"):
        assert "--json" in ai(*path, "--help").output


@pytest.mark.parametrize(
    "group", ["sessions", "dead-letters", "models", "operator", "keys", "config"]
)
def test_no_group_cuts_what_its_commands_do(group: str, ai: Say) -> None:
    listed = ai(group, "--help").output.partition("\nCommands:\n")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


def test_the_help_holds_the_whole_table_of_exit_codes(ai: Say) -> None:
    output = ai("--help").output
    for code in ExitCode:
        assert f"{code.value:>5}  {MEANINGS[code]}" in output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("x"), ExitCode.FAILED),
        (Divergence("x"), ExitCode.FAILED),
        (WrongSettings("x"), ExitCode.SETTINGS),
        (Unavailable("x"), ExitCode.UNAVAILABLE),
        (InvalidRecord("x"), ExitCode.RECORD),
        (Conflict("x"), ExitCode.IN_USE),
    ],
)
def test_each_class_of_errors_has_its_code(error: Exception, code: ExitCode) -> None:
    assert code_of(error) == code  # type: ignore[arg-type]


def test_a_bug_has_a_code_of_its_own_and_tells_where_it_is() -> None:
    @click.command()
    def broken() -> None:
        raise KeyError("a bug")

    result = CliRunner().invoke(Assistant(commands={"broken": broken}), ["broken"])
    assert result.exit_code == ExitCode.INTERNAL
    assert "KeyError: 'a bug'" in result.stderr


def test_chinese_in_a_terminal_without_it_fails_nothing(home: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "console.main", "config", "show"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "ascii",
            "AI_ASSISTANT_FLOW__CONFIG__GREETING": "你好",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "flow.config.greeting" in asked.stdout


def test_what_is_not_understood_ends_with_usage(ai: Say) -> None:
    assert ai("sesions", "list").exit_code == ExitCode.USAGE
    assert ai("sessions", "list", "--limit", "0").exit_code == ExitCode.USAGE


def test_a_wrong_setting_ends_with_its_code_and_is_told_whole(ai: Say) -> None:
    result = ai("config", "check", MAX_TOKENS="many", AI_ASSISTANT_SERVER__DRAIN_S="-1")
    assert result.exit_code == ExitCode.SETTINGS
    assert "2 settings are wrong:" in result.output
    assert "MAX_TOKENS (model.max_tokens)" in result.output


def test_without_a_log_the_fix_is_told(ai: Say) -> None:
    result = ai("sessions", "list")
    assert result.exit_code == ExitCode.FAILED
    assert "there is no log in" in result.output
    assert "--data" in result.output


def test_without_an_engine_its_absence_has_a_code_of_its_own(ai: Say) -> None:
    result = ai("operator", "list", "--url", "http://127.0.0.1:9")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "start one with `ai-assistant run`" in result.output


def test_the_local_token_is_sent_to_no_other_machine(ai: Say) -> None:
    result = ai("operator", "list", "--url", "http://engine.example.com")
    assert result.exit_code == ExitCode.FAILED
    assert "AI_ASSISTANT_OPERATORS__TOKEN" in result.output


def test_an_address_that_is_none_is_refused(ai: Say) -> None:
    assert "such as http://127.0.0.1:8080" in ai("operator", "list", "--url", "nonsense").output


def test_config_and_data_may_stand_before_or_after_the_command(ai: Say, home: Path) -> None:
    for args in (
        ("--data", "here", "config", "show"),
        ("config", "show", "--data", "here"),
        ("--data", "there", "config", "show", "--data", "here"),
    ):
        assert f"{home / 'here'}" in ai(*args).output


def test_the_help_is_quick_because_it_imports_little() -> None:
    heavy = "numpy", "llama_cpp", "fastapi", "transitions", "sqlite3", "gguf"
    code = f"import console.commands, sys; print([m for m in {heavy} if m in sys.modules])"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "[]"
