"""Whole workers on brokers that require TLS and a password: a turn through all of them."""

import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from deploy.kafka.cluster import Cluster
from streams.embedded import data_dir
from tests.kafka_tests.processes import environment, running
from tests.kafka_tests.test_commands import TOKEN, WITHIN_S, asked
from tests.kafka_tests.test_links import secured

ROLES = ("sessions", "model", "ingress")


def secured_environment(cluster: Cluster, prefix: str, folder: Path) -> dict[str, str]:
    """The environment of each process; only the secured listener is in it."""
    settings = secured(cluster, prefix)
    data_dir.make(folder / "keys.json")
    return {
        **environment(settings, folder),
        "AI_ASSISTANT_KAFKA__SECURITY": "tls",
        "AI_ASSISTANT_KAFKA__CA_FILE": str(settings.ca_file),
        "AI_ASSISTANT_KAFKA__SASL": settings.sasl,
        "AI_ASSISTANT_KAFKA__USERNAME": settings.username,
        "AI_ASSISTANT_KAFKA__PASSWORD": settings.password,
        "AI_ASSISTANT_KAFKA__KEYS_FILE": str(folder / "keys.json"),
        "AI_ASSISTANT_OPERATORS__TOKEN": TOKEN,
    }


@contextmanager
def worker(role: str, env: Mapping[str, str], folder: Path) -> Iterator[str]:
    """A process of this role; its address, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    own = {
        **env,
        "AI_ASSISTANT_SERVER__BIND": address,
        "AI_ASSISTANT_DATA": str(folder / role),
        "AI_ASSISTANT_KAFKA__INSTANCE": f"{role}-0",
    }
    command = [sys.executable, "-P", "-m", "console.main", "worker", "--role", role]
    log = folder / f"{role}.log"
    with running(command, own, log=log) as process:
        until = time.monotonic() + WITHIN_S
        while not _is(f"http://{address}/readyz"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        words = psutil.Process(process.pid).cmdline()
        assert env["AI_ASSISTANT_KAFKA__PASSWORD"] not in " ".join(words)
        yield f"http://{address}"


def _is(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_turn_goes_through_workers_of_each_role(
    tls_broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    env = secured_environment(tls_broker, prefix, tmp_path)
    created = asked(env, "topics", "create")
    assert created.exit_code == 0, created.output
    with ExitStack() as stack:
        urls = {role: stack.enter_context(worker(role, env, tmp_path)) for role in ROLES}
        answered = asked(env, "chat", "--once", "hello out there", "--url", urls["ingress"])
        assert answered.exit_code == 0, answered.output
        assert answered.output.strip()
        assert all(_is(f"{url}/healthz") for url in urls.values())
        counted = httpx.get(f"{urls['sessions']}/metrics").text
    assert "\nassistant_transactions_open 0.0" in counted
    assert "\nassistant_lag_events 0.0" in counted
    for role in ROLES:
        log = (tmp_path / f"{role}.log").read_text()
        assert env["AI_ASSISTANT_KAFKA__PASSWORD"] not in log
