"""What a person sets arrives, from wherever they set it, and says where it came from."""

from pathlib import Path

import msgspec
import pytest

from statemachines.assistant_config import AssistantConfig
from streams.settings import Settings, load, rows

EXAMPLE = Path(__file__).parents[2] / "config.example"
HOME = {"HOME": "/home/somebody"}


def write(directory: Path, text: str) -> Path:
    (directory / "assistant.toml").write_text(text, encoding="utf-8")
    return directory


def table(settings: Settings) -> dict[str, tuple[object, str]]:
    return {row.key: (row.value, row.origin) for row in rows(settings)}


def test_without_directory_every_value_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, HOME)
    assert settings.server.bind == "127.0.0.1:8080"
    assert settings.server.data_dir == Path("/home/somebody/.local/share/ai-assistant")
    assert settings.model.kind == "llama"
    assert {row.origin for row in rows(settings)} == {"default"}


def test_the_example_loads_and_shows_the_defaults(tmp_path: Path) -> None:
    example = load(EXAMPLE, HOME)
    values = {row.key: row.value for row in rows(example)}
    for row in rows(load(tmp_path, HOME)):
        assert values[row.key] == row.value, row.key
    assert [f.action for f in example.fallbacks] == ["escalate_to_human"]


def test_the_example_names_every_setting() -> None:
    text = (EXAMPLE / "assistant.toml").read_text(encoding="utf-8")
    keys = [row.key for row in rows(load(EXAMPLE, HOME)) if row.key.count(".") == 1]
    missing = [key for key in keys if f"{key.split('.')[1]} = " not in text]
    assert [key for key in missing if not key.startswith(("channels", "fallback"))] == []


def test_the_example_names_every_key_of_the_assistant_with_its_default() -> None:
    shown = msgspec.json.decode(load(EXAMPLE, HOME).flow.config)
    defaults = msgspec.to_builtins(AssistantConfig())
    for key in ("skills", "fallback_strategies", "max_tokens"):  # from elsewhere in the settings
        del defaults[key]
    assert shown == defaults


def test_the_example_as_it_stands_warns_of_nothing() -> None:
    settings = load(EXAMPLE, HOME)
    assert [a.channel.enabled for a in settings.accounts] == [False]
    assert settings.warnings == ()


def test_a_channel_with_the_examples_keys_stays_off_and_says_how_to_turn_it_on(
    tmp_path: Path,
) -> None:
    text = (EXAMPLE / "im_adapter.json").read_text(encoding="utf-8")
    on = text.replace('"enabled": false', '"enabled": true')
    assert on != text
    (tmp_path / "im_adapter.json").write_text(on, encoding="utf-8")
    settings = load(tmp_path, HOME)
    assert [a.channel.enabled for a in settings.accounts] == [False]
    (warning,) = settings.warnings
    assert "channels.enterprise_im stays off" in warning
    assert "app_key and channels.enterprise_im.app_secret still to be filled in" in warning
    assert '"enabled": false' in warning


def test_a_channel_that_is_off_needs_no_secrets(tmp_path: Path) -> None:
    entry = '{"channels": {"im": {"enabled": false, "app_secret": "${NO_SUCH_SECRET}"}}}'
    (tmp_path / "im_adapter.json").write_text(entry)
    assert load(tmp_path, HOME).warnings == ()


def test_a_local_gateway_may_be_open(tmp_path: Path) -> None:
    entry = '{"channels": {"im": {"enabled": false, "endpoint": "ws://127.0.0.1:9/stream"}}}'
    (tmp_path / "im_adapter.json").write_text(entry)
    assert load(tmp_path, HOME).accounts[0].channel.endpoint == "ws://127.0.0.1:9/stream"


def test_the_environment_wins_over_the_file_and_both_say_so(tmp_path: Path) -> None:
    write(tmp_path, "[server]\nbind = '0.0.0.0:1'\ndrain_s = 2\n[model]\nmax_tokens = 9")
    env = {**HOME, "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:2", "MAX_TOKENS": "17"}
    shown = table(load(tmp_path, env))
    assert shown["server.bind"] == ("127.0.0.1:2", "env AI_ASSISTANT_SERVER__BIND")
    assert shown["model.max_tokens"] == (17, "env MAX_TOKENS")
    assert shown["server.drain_s"] == (2.0, f"{tmp_path / 'assistant.toml'}:server.drain_s")


def test_lists_and_switches_come_from_the_environment(tmp_path: Path) -> None:
    env = {"AI_ASSISTANT_MODEL__LANGUAGES": "en, zh", "AI_ASSISTANT_WEBCHAT__ENABLED": "false"}
    settings = load(tmp_path, {**HOME, **env})
    assert settings.model.languages == ("en", "zh")
    assert settings.webchat.enabled is False


def test_an_empty_variable_and_a_kubernetes_service_change_nothing(tmp_path: Path) -> None:
    env = {
        "MODEL_PATH": "",
        "AI_ASSISTANT_SERVICE_HOST": "10.0.0.1",
        "AI_ASSISTANT_PORT": "tcp://x",
    }
    assert load(tmp_path, {**HOME, **env}).model.path is None


def test_the_flows_table_is_handed_on_as_json_with_sorted_keys(tmp_path: Path) -> None:
    write(tmp_path, "[flow.config]\nsettle_s = 2\nbusy = 'queue'\ngreeting = '你好'")
    env = {**HOME, "AI_ASSISTANT_FLOW__CONFIG__SETTLE_S": "5"}
    settings = load(tmp_path, env)
    assert bytes(settings.flow.config).decode() == (
        '{"busy": "queue", "greeting": "你好", "settle_s": 5}'
    )
    shown = table(settings)
    assert shown["flow.config.settle_s"] == (5, "env AI_ASSISTANT_FLOW__CONFIG__SETTLE_S")


@pytest.mark.parametrize(
    ("env", "given", "expected"),
    [
        ({}, None, "/home/somebody/.local/share/ai-assistant"),
        ({"XDG_DATA_HOME": "/xdg"}, None, "/xdg/ai-assistant"),
        ({"XDG_DATA_HOME": "relative"}, None, "/home/somebody/.local/share/ai-assistant"),
        ({"XDG_DATA_HOME": "/xdg", "AI_ASSISTANT_DATA": "/data"}, None, "/data"),
        ({"AI_ASSISTANT_DATA": "/data"}, Path("/given"), "/given"),
    ],
)
def test_the_data_directory_is_the_first_that_somebody_names(
    env: dict[str, str], given: Path | None, expected: str, tmp_path: Path
) -> None:
    settings = load(tmp_path, {**HOME, **env}, data_dir=given)
    assert settings.server.data_dir == Path(expected)
    if given:
        assert settings.origin("server.data_dir") == "--data"


def test_the_directory_is_the_given_one_else_the_variables_else_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("given", 1), ("named", 2), ("config", 3)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"[server]\nbind = 'localhost:{port}'")
    monkeypatch.chdir(tmp_path)
    env = {**HOME, "AI_ASSISTANT_CONFIG": "named"}
    assert load(Path("given"), env).server.port == 1
    assert load(None, env).server.port == 2
    assert load(None, HOME).server.port == 3


def test_a_folder_config_of_another_project_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "webpack.js").touch()
    monkeypatch.chdir(tmp_path)
    assert load(None, HOME).directory is None


def test_a_directory_without_our_files_is_a_warning(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, HOME).warnings
    assert "neither assistant.toml nor im_adapter.json is there" in warning


def test_model_path_may_be_a_file_or_a_directory_with_one(tmp_path: Path) -> None:
    file = tmp_path / "one.gguf"
    file.touch()
    for given in (file, tmp_path):
        assert load(None, {**HOME, "MODEL_PATH": str(given)}).model.path == file


def test_a_relative_path_in_a_file_starts_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    write(tmp_path, "[model]\npath = 'm.gguf'\n[server]\ndata_dir = 'data'")
    settings = load(tmp_path, HOME)
    assert settings.model.path == tmp_path / "m.gguf"
    assert settings.server.data_dir == tmp_path / "data"


def test_a_key_of_another_kind_of_model_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "[model]\nbase_url = 'http://127.0.0.1:11434/v1'")
    (warning,) = load(tmp_path, HOME).warnings
    assert "model.base_url: has no effect" in warning
    assert "set model.kind to 'openai'" in warning


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "im_adapter.json").write_bytes(b'\xef\xbb\xbf{"channels": {}}')
    assert load(tmp_path, HOME).accounts == ()


@pytest.mark.parametrize(
    ("bind", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("[::1]:0", "::1", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("127.example.com:80", "127.example.com", 80, False),
    ],
)
def test_an_address_knows_who_can_reach_it(
    bind: str, host: str, port: int, loopback: bool, tmp_path: Path
) -> None:
    server = load(write(tmp_path, f"[server]\nbind = '{bind}'"), HOME).server
    assert (server.host, server.port, server.is_loopback) == (host, port, loopback)


def test_a_cluster_comes_from_the_environment_and_its_password_is_masked(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush-hush\n")
    env = {
        "AI_ASSISTANT_KAFKA__BROKERS": "kafka-0:9092, [::1]:9093",
        "AI_ASSISTANT_KAFKA__INSTANCE": "sessions-0",
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
        "AI_ASSISTANT_KAFKA__SASL": "scram-sha-512",
        "AI_ASSISTANT_KAFKA__USERNAME": "assistant",
        "AI_ASSISTANT_KAFKA__PASSWORD": f"file:{tmp_path / 'password'}",
    }
    settings = load(tmp_path, {**HOME, **env})
    assert settings.on_cluster
    assert settings.kafka.brokers == ("kafka-0:9092", "[::1]:9093")
    assert settings.kafka.password is not None
    assert settings.kafka.password.reveal() == "hush-hush"
    shown = table(settings)
    assert shown["kafka.instance"] == ("sessions-0", "env AI_ASSISTANT_KAFKA__INSTANCE")
    assert shown["kafka.password"][0] == "••••"
    assert "hush" not in str(shown)


def test_without_brokers_the_log_is_a_file(tmp_path: Path) -> None:
    assert not load(write(tmp_path, "[kafka]\nprefix = 'x.'"), HOME).on_cluster


def test_a_certificate_without_tls_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "[kafka]\nca_file = 'assistant.toml'")
    (warning,) = load(tmp_path, HOME).warnings
    assert "kafka.ca_file: has no effect" in warning
    assert "set kafka.security to 'tls'" in warning
