"""Wrong settings are refused: the error names the place, what was found, and what is allowed."""

import json
from pathlib import Path

import pytest

from engine.errors import Refused
from streams.settings import load

HOME = {"HOME": "/home/somebody"}
CHANNEL = {"enabled": False, "endpoint": "wss://im.example.com/stream"}


def channel(**entry: object) -> str:
    return json.dumps({"channels": {"im": {**CHANNEL, **entry}}})


def strategy(pattern: object, action: object = "escalate_to_human") -> str:
    return json.dumps({"fallback_strategies": [{"pattern": pattern, "action": action}]})


TOML = {
    "a section that does not exist": ("[modle]", ["modle: unknown key", "Did you mean model?"]),
    "a key that does not exist": ("[server]\nbnid = '1:1'", ["server.bnid", "Did you mean bind?"]),
    "a text for a number": ("[model]\nn_ctx = 'big'", ['"big" (a text)', "from 256 to 1 048 576"]),
    "a number for a text": ("[flow]\nname = 3", ["flow.name: found 3", "a name: a letter"]),
    "a number for true or false": ("[webchat]\nenabled = 1", ["found 1", "true or false"]),
    "a number out of bounds": ("[model]\ntemperature = 3.5", ["found 3.5", "from 0 to 2"]),
    "a number that is none": ("[server]\ndrain_s = nan", ["server.drain_s", "from 0 to 600"]),
    "a home of nobody": ("[server]\ndata_dir = '~nobody-at-all/x'", ["server.data_dir", "home"]),
    "a path that cannot be": ('[model]\npath = "a\\u0000b"', ["model.path", "nothing at"]),
    "a secret's file that cannot be": (
        '[operators]\ntoken = "file:a\\u0000b"',
        ["operators.token"],
    ),
    "another kind of model": ("[model]\nkind = 'gpt'", ['found "gpt"', '"llama", "openai"']),
    "a value for a table": ("model = 3", ["model: found 3", "a table"]),
    "a table for a value": ("[server.bind]\nport = 1", ["server.bind: found a table"]),
    "an address without a port": ("[server]\nbind = 'localhost'", ["server.bind", "host:port"]),
    "a port that is none": ("[server]\nbind = '[::1]:70000'", ["server.bind", "0 to 65535"]),
    "a server without address": (
        "[model]\nkind = 'openai'\nmodel = 'm'",
        ["model.base_url", "http"],
    ),
    "a server without model": (
        "[model]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/v1'",
        ["model.model", "the name of a model"],
    ),
    "no language": ("[model]\nlanguages = []", ["model.languages", "at least one"]),
    "a language's long name": ("[model]\nlanguages = ['english']", ["a list of languages like"]),
    "a language with its country": (
        "[model]\nlanguages = ['zh-CN']",
        ["model.languages", "a list of languages like"],
    ),
    "a language in capitals": ("[model]\nlanguages = ['RU']", ["a list of languages like"]),
    "any language": ("[model]\nlanguages = ['*']", ["a list of languages like"]),
    "a number as token": ("[operators]\ntoken = 12345", ["operators.token", "a whole number"]),
    "a date in the flow's table": ("[flow.config]\nsince = 2026-01-01", ["flow.config", "a date"]),
    "a skill twice": ("[skills]\nenabled = ['a', 'a']", ["skills.enabled", "twice"]),
    "a skill as a path": (
        "[skills]\nenabled = ['../x.py']",
        ["skills.enabled", "installed skills"],
    ),
    "a broker without port": ("[kafka]\nbrokers = ['kafka']", ["kafka.brokers", "host:port"]),
    "brokers as a text": ("[kafka]\nbrokers = 'kafka:9092'", ["kafka.brokers", "a list of"]),
    "a broker's port that is none": ("[kafka]\nbrokers = ['k:0']", ['"k:0"', "1 to 65535"]),
    "a broker twice": ("[kafka]\nbrokers = ['k:1', 'k:1']", ["kafka.brokers", "each broker once"]),
    "a prefix that no topic has": ("[kafka]\nprefix = 'a/b'", ["kafka.prefix", "letters, digits"]),
    "an instance that is no name": ("[kafka]\ninstance = '0'", ["kafka.instance", "sessions-0"]),
    "no partitions": ("[kafka]\npartitions = 0", ["kafka.partitions", "from 1 to 1 000"]),
    "no copies": ("[kafka]\nreplication = 0", ["kafka.replication", "from 1 to 15"]),
    "another security": ("[kafka]\nsecurity = 'ssl'", ["kafka.security", '"plaintext", "tls"']),
    "a certificate without key": (
        "[kafka]\nsecurity = 'tls'\ncert_file = 'assistant.toml'",
        ["kafka.key_file", "cert_file and key_file together"],
    ),
    "an authority that is not there": (
        "[kafka]\nsecurity = 'tls'\nca_file = 'none.pem'",
        ["kafka.ca_file", "no file at"],
    ),
    "keys that are not there": ("[kafka]\nkeys_file = 'no.json'", ["kafka.keys_file", "no file"]),
    "another SASL": ("[kafka]\nsasl = 'gssapi'", ["kafka.sasl", '"scram-sha-512"']),
    "a user without SASL": ("[kafka]\nusername = 'ai'", ["kafka.sasl", "for a user"]),
    "SASL without user": (
        "[kafka]\nsasl = 'scram-sha-256'\npassword = 'hush'",
        ["kafka.username", "the user's name"],
    ),
    "SASL without password": (
        "[kafka]\nsasl = 'scram-sha-256'\nusername = 'ai'",
        ["kafka.password", "found nothing"],
    ),
    "the example's password": (
        "[kafka]\nsasl = 'scram-sha-256'\nusername = 'ai'\npassword = 'changeme'",
        ["kafka.password", "to be replaced"],
    ),
    "a password for all to read": (
        "[kafka]\nbrokers = ['k:9092']\nsasl = 'plain'\nusername = 'ai'\npassword = 'hush'",
        ["kafka.sasl", "sends the password as it is"],
    ),
    "a file that is no TOML": ("[server\nbind = 1", ["not TOML", "line 1"]),
    "a key given twice": ("[server]\ndrain_s = 1\ndrain_s = 2\n[model]", ["not TOML", "line 3"]),
}
JSON = {
    "another key at the top": ('{"chanels": {}}', ["chanels: unknown key", "mean channels?"]),
    "a list at the top": ("[]", ["the whole file: found a list", "a table"]),
    "a file that is no JSON": ('{"channels": ', ["not JSON", "line 1"]),
    "a key given twice": ('{"channels": {}, "channels": {}}', ["given twice"]),
    "a number that is none": (channel().replace("false", "NaN"), ["NaN"]),
    "another platform": (channel(kind="irc"), ["channels.im.kind", '"irc"', '"dingtalk"']),
    "another format": (channel(message_format="html"), ["message_format", '"markdown", "text"']),
    "an open endpoint": (channel(endpoint="ws://im.example.com/s"), ["endpoint", "not encrypted"]),
    "an endpoint of another kind": (channel(endpoint="https://im.example.com"), ["wss://host"]),
    "a password in the endpoint": (channel(endpoint="wss://u:hush@h/"), ["a user or password"]),
    "a limit of nothing": (channel(rate_limit={"max_requests": 0}), ["rate_limit.max_requests"]),
    "a limit's wrong key": (channel(rate_limit={"per_s": 1}), ["rate_limit.per_s: unknown"]),
    "a channel's odd name": ('{"channels": {"a b": {"enabled": false}}}', ["channels.a b", "name"]),
    "a number as key": (channel(app_key=7), ["channels.im.app_key: found a whole number"]),
    "a pattern that repeats repeats": (strategy("(a+)+$"), ["[0].pattern", "inside a repeat"]),
    "a pattern that refers back": (strategy(r"(a)\1"), ["[0].pattern", "back-reference"]),
    "a pattern that looks ahead": (strategy("a(?=b)"), ["[0].pattern", "look-around"]),
    "a pattern that is none": (strategy("(a"), ["[0].pattern", "not a regular expression"]),
    "a pattern that is too long": (strategy("a" * 201), ["[0].pattern", "1 to 200"]),
    "an action that nobody knows": (strategy("a", "escalate"), ["Did you mean escalate_to_human?"]),
    "a strategy without action": ('{"fallback_strategies": [{"pattern": "a"}]}', ["[0].action"]),
}
ENVIRONMENT = {
    "no such setting": (
        {"AI_ASSISTANT_SERVER__BNID": "1:1"},
        ["Did you mean AI_ASSISTANT_SERVER__BIND"],
    ),
    "no number": ({"MAX_TOKENS": "many"}, ["MAX_TOKENS (model.max_tokens)", '"many"']),
    "out of bounds": ({"MAX_TOKENS": "0"}, ["MAX_TOKENS", "from 1 to 32 768"]),
    "two names, two values": (
        {"MAX_TOKENS": "5", "AI_ASSISTANT_MODEL__MAX_TOKENS": "6"},
        ["MAX_TOKENS and MAX_TOKENS", "differently"],
    ),
    "no broker": (
        {"AI_ASSISTANT_KAFKA__BROKERS": "kafka-0:9092,kafka-1"},
        ["AI_ASSISTANT_KAFKA__BROKERS (kafka.brokers)", "host:port"],
    ),
    "no such password": (
        {"AI_ASSISTANT_KAFKA__PASSWORD": "file:/no/such"},
        ["AI_ASSISTANT_KAFKA__PASSWORD (kafka.password)", "cannot be read"],
    ),
    "no such model file": (
        {"MODEL_PATH": "/no/such/file.gguf"},
        ["MODEL_PATH", "nothing at /no/such"],
    ),
    "no such directory": (
        {"AI_ASSISTANT_CONFIG": "/no/such"},
        ["AI_ASSISTANT_CONFIG", "found nothing"],
    ),
}


def refusal(directory: Path | None, env: dict[str, str] | None = None) -> str:
    with pytest.raises(Refused) as caught:
        load(directory, {**HOME, **(env or {})})
    return str(caught.value)


@pytest.mark.parametrize(("text", "told"), TOML.values(), ids=TOML)
def test_a_wrong_assistant_toml_is_refused(text: str, told: list[str], tmp_path: Path) -> None:
    (tmp_path / "assistant.toml").write_text(text, encoding="utf-8")
    error = refusal(tmp_path)
    for part in (str(tmp_path / "assistant.toml"), *told):
        assert part in error
    assert "hush" not in error


@pytest.mark.parametrize(("text", "told"), JSON.values(), ids=JSON)
def test_a_wrong_im_adapter_json_is_refused(text: str, told: list[str], tmp_path: Path) -> None:
    (tmp_path / "im_adapter.json").write_text(text, encoding="utf-8")
    error = refusal(tmp_path)
    for part in (str(tmp_path / "im_adapter.json"), *told):
        assert part in error
    assert "hush" not in error


@pytest.mark.parametrize(("env", "told"), ENVIRONMENT.values(), ids=ENVIRONMENT)
def test_a_wrong_variable_is_refused(env: dict[str, str], told: list[str], tmp_path: Path) -> None:
    directory = None if "AI_ASSISTANT_CONFIG" in env else tmp_path
    error = refusal(directory, env)
    for part in told:
        assert part in error


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "assistant.toml").write_text("[server]\nbind = 1\nprot = 2\n[model]\nkind = 'x'")
    (tmp_path / "im_adapter.json").write_text("{")
    error = refusal(tmp_path, {"MAX_TOKENS": "x"})
    assert error.startswith("5 settings are wrong:")
    assert len(error.splitlines()) == 6


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assistant.toml").write_bytes(b"[flow]\nname = '\xff'")
    assert "byte at 15 that is not UTF-8" in refusal(tmp_path)


def test_a_directory_with_no_model_lists_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    assert "with readme.txt; allowed: a .gguf file" in refusal(None, {"MODEL_PATH": str(tmp_path)})


def test_a_directory_with_two_models_lists_them(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.GGUF", "c.txt"):
        (tmp_path / name).touch()
    assert "2 of them: a.GGUF, b.gguf;" in refusal(None, {"MODEL_PATH": str(tmp_path)})


def test_an_enabled_channel_with_real_keys_is_not_in_this_version(tmp_path: Path) -> None:
    text = channel(enabled=True, app_key="dingabc", app_secret="hush-hush")
    (tmp_path / "im_adapter.json").write_text(text)
    error = refusal(tmp_path)
    assert "dingtalk is not in this version" in error
    assert "hush-hush" not in error


def test_a_secret_that_is_not_there_is_named_by_where_it_should_be(tmp_path: Path) -> None:
    entry = {"enabled": True, "app_key": "${NO_SUCH_KEY}", "app_secret": "file:/no/such/secret"}
    (tmp_path / "im_adapter.json").write_text(channel(**entry))
    error = refusal(tmp_path)
    assert "app_key: the environment variable NO_SUCH_KEY is not set" in error
    assert "app_secret: /no/such/secret cannot be read" in error
