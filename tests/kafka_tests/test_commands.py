"""The commands of `ai-assistant` against a whole small cluster: a person, an operator, a trace."""

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from adapters.kafka.clients import KafkaSettings
from console.commands import assistant
from console.exit_codes import ExitCode
from deploy.kafka.cluster import Cluster
from streams.embedded import data_dir
from tests.kafka_tests.processes import environment, running

WITHIN_S = 40
TOKEN = "a-token-that-only-tests-use"
PARTITIONS = 3


def asked(env: Mapping[str, str], *words: str) -> Result:
    return CliRunner().invoke(assistant, list(words), env=dict(env))


@pytest.fixture
def env(broker: Cluster, prefix: str, tmp_path: Path) -> dict[str, str]:
    """The environment of all processes of an installation whose topics are there."""
    data_dir.make(tmp_path / "keys.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kafka = KafkaSettings(brokers=broker.bootstrap, prefix=f"{prefix}.")
    made = {
        **environment(kafka, tmp_path, instance="all-0"),
        "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{port}",
        "AI_ASSISTANT_KAFKA__PARTITIONS": str(PARTITIONS),
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
        "AI_ASSISTANT_KAFKA__KEYS_FILE": str(tmp_path / "keys.json"),
        "AI_ASSISTANT_OPERATORS__TOKEN": TOKEN,
    }
    created = asked(made, "topics", "create")
    assert created.exit_code == 0, created.output
    return made


@pytest.fixture
def url(env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Where the pages of a running installation are."""
    command = [sys.executable, "-P", "-m", "console.main", "worker"]
    roles = ["--role", "ingress", "--role", "sessions", "--role", "model"]
    log = tmp_path / "worker.log"
    with running(command + roles, env, log=log) as process:
        url = f"http://{env['AI_ASSISTANT_SERVER__BIND']}"
        until = time.monotonic() + WITHIN_S
        while not _is_ready(url):
            ended = process.poll() is not None or time.monotonic() > until
            assert not ended, log.read_text()
            time.sleep(0.05)
        yield url


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_conversation_is_had_listed_shown_and_traced(env: dict[str, str], url: str) -> None:
    answered = asked(env, "chat", "--once", "hello out there", "--url", url)
    assert answered.exit_code == 0, answered.output
    assert answered.output.strip()
    listed = json.loads(asked(env, "sessions", "list", "--json").stdout)
    (session,) = listed
    assert session["last_text"] == "hello out there"
    session_id = session["session_id"]
    for name in (session_id, session_id[-8:]):
        shown = json.loads(asked(env, "sessions", "show", name, "--json").stdout)
        said = [(e["author"], e["text"]) for e in shown["entries"] if e["author"]]
        assert said[0] == ("person", "hello out there")
        assert said[-1] == ("bot", answered.output.strip())
    message = next(e["id"] for e in shown["entries"] if e["author"] == "person")
    reply = next(e["id"] for e in shown["entries"] if e["author"] == "bot")
    for name in (message, message.rpartition("/")[2], reply, reply.rpartition("/")[2]):
        traced = asked(env, "trace", name, "--json")
        assert traced.exit_code == 0, traced.output
        found = json.loads(traced.stdout)
        assert found["message"] == message
        assert found["disposition"] == "answered"
        whats = [hop["what"] for hop in found["hops"]]
        assert whats[0] == "appended"
        assert {"stepped", "effect", "outcome", "receipted"} <= set(whats)
    assert asked(env, "sessions", "show", "nobody").exit_code == 1
    assert "none" in asked(env, "dead-letters", "list").output


def test_an_operator_answers_and_hands_back(env: dict[str, str], url: str) -> None:
    asked(env, "chat", "--once", "human", "--url", url)
    waiting = json.loads(asked(env, "operator", "list", "--json", "--url", url).stdout)
    (one,) = waiting
    said = asked(env, "operator", "say", one["session_id"][-8:], "I am here", "--url", url)
    assert said.exit_code == 0, said.output
    back = asked(env, "operator", "hand-back", one["session_id"], "--url", url)
    assert back.exit_code == 0, back.output
    until = time.monotonic() + WITHIN_S
    while "nobody" not in asked(env, "operator", "list", "--url", url).output:
        assert time.monotonic() < until
        time.sleep(0.05)
    shown = json.loads(asked(env, "sessions", "show", one["session_id"], "--json").stdout)
    assert ("operator", "I am here") in [(e["author"], e["text"]) for e in shown["entries"]]


@pytest.mark.parametrize("role", ["egress", "ingress", "all"])
def test_a_worker_refuses_a_channel_that_it_would_not_serve(tmp_path: Path, role: str) -> None:
    channel = {"kind": "dingtalk", "enabled": True, "app_key": "key1", "app_secret": "secret1"}
    settings = json.dumps({"channels": {"desk": channel}})
    (tmp_path / "im_adapter.json").write_text(settings)
    env = {
        "AI_ASSISTANT_CONFIG": str(tmp_path),
        "AI_ASSISTANT_KAFKA__BROKERS": '["127.0.0.1:1"]',
    }
    found = asked(env, "worker", "--role", role)
    assert found.exit_code == ExitCode.SETTINGS
    assert "channels.desk" in found.output
    assert '"enabled": false' in found.output
