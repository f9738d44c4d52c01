"""What the commands say on a cluster before any broker is asked, or where none answers."""

import json
from pathlib import Path

from console.exit_codes import ExitCode
from tests.console_tests.conftest import Say

BROKERS = {"AI_ASSISTANT_KAFKA__BROKERS": "127.0.0.1:1"}


def test_the_keys_of_a_cluster_are_made_once_listed_and_rotated(ai: Say, home: Path) -> None:
    file = home / "keys.json"
    made = ai("keys", "create", str(file))
    assert made.exit_code == ExitCode.OK, made.output
    assert "set kafka.keys_file" in made.output
    assert file.stat().st_mode & 0o777 == 0o600
    again = ai("keys", "create", str(file))
    assert again.exit_code == ExitCode.FAILED
    assert "there already" in again.output
    env = {**BROKERS, "AI_ASSISTANT_KAFKA__KEYS_FILE": str(file)}
    early = ai("keys", "rotate", **env)
    assert early.exit_code == ExitCode.FAILED
    assert "`ai-assistant keys announce` first" in early.output
    announced = ai("keys", "announce", **env)
    assert "key k2 is announced: restart all" in announced.output
    assert "announced already" in ai("keys", "announce", **env).output
    listed = json.loads(ai("keys", "list", "--json", **env).stdout)
    assert [one["id"] for one in listed if one["current"]] == ["k1"]
    assert [one["id"] for one in listed if one["announced"]] == ["k2"]
    assert "k2   announced: makes no ids before" in ai("keys", "list", **env).output
    rotated = ai("keys", "rotate", **env)
    assert "key k2 names new conversations" in rotated.output
    assert "restart them" in rotated.output
    listed = json.loads(ai("keys", "list", "--json", **env).stdout)
    assert [one["id"] for one in listed] == ["k2", "k1"]
    assert not (home / ".local").exists()  # no data directory has anything to do with it


def test_a_data_directory_announces_no_keys(ai: Say) -> None:
    assert "`keys rotate` is enough" in ai("keys", "announce").output


def test_without_a_keys_file_it_says_how_to_make_one(ai: Say) -> None:
    result = ai("keys", "list", **BROKERS)
    assert result.exit_code == ExitCode.FAILED
    assert "ai-assistant keys create" in result.output


def test_where_no_broker_answers_the_commands_say_so(ai: Say) -> None:
    for words in (("sessions", "list"), ("dead-letters", "list"), ("topics", "check")):
        result = ai(*words, **BROKERS)
        assert result.exit_code == ExitCode.UNAVAILABLE, result.output
        assert "Traceback" not in result.output
        assert "no broker answers at 127.0.0.1:1" in result.output


def test_chat_starts_no_engine_of_its_own(ai: Say, home: Path) -> None:
    result = ai("chat", "--once", "hello", AI_ASSISTANT_SERVER__BIND="127.0.0.1:9", **BROKERS)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert not list(home.rglob("log.sqlite"))


def test_a_flow_is_activated_on_a_cluster_only(ai: Say) -> None:
    result = ai("flow", "activate", "assistant@1")
    assert result.exit_code == ExitCode.FAILED
    assert "no brokers are set" in result.output
