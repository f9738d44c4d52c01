"""docker-compose.yml: judged by Compose itself, and held to what each service must be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from console.commands.worker import ROLES
from tests.deploy_tests import known_settings
from tests.deploy_tests.composed import FILE, as_process, composed, environment, targets
from tests.deploy_tests.image import runtime

SERVICES: dict[str, Any] = composed()["services"]
CLUSTER = ("kafka", "topics", "secrets", *ROLES)


def judged(file: Path) -> subprocess.CompletedProcess[str]:
    """What Compose says of a file; it needs no engine for that."""
    command = shutil.which("docker-compose")
    assert command, "apt-get install docker-compose: `make install` does it"
    asked = [command, "--profile", "cluster", "--file", str(file), "config"]
    # With nothing of ours in its environment: it is a program of the system's Python.
    env = {"PATH": os.defpath, "HOME": str(file.parent)}
    return subprocess.run(asked, env=env, capture_output=True, text=True, check=False)


def test_compose_takes_the_file_and_sees_all_services() -> None:
    said = judged(FILE)
    assert said.returncode == 0, said.stderr
    assert set(yaml.safe_load(said.stdout)["services"]) == {"ai-core", *CLUSTER} == set(SERVICES)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "read_onyl: true"),
        ("condition: service_healthy", "condition: service_well"),
        ("topics: {condition:", "topic: {condition:"),
        ('"kafka:/var/lib/kafka/data"', '"kafkas:/var/lib/kafka/data"'),
    ],
)
def test_compose_refuses_a_slip_of_the_pen(tmp_path: Path, right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    (tmp_path / FILE.name).write_text(text.replace(right, wrong))
    assert judged(tmp_path / FILE.name).returncode != 0


def test_the_embedded_service_is_exactly_what_was_promised() -> None:
    core = SERVICES["ai-core"]
    assert core["image"] == "ai-assistant:latest"
    assert core["ports"] == ["8080:8080"]
    assert core["volumes"][:2] == ["./config:/etc/ai-config", "./models:/var/lib/ai-models"]
    assert core["environment"] == ["MODEL_PATH=/var/lib/ai-models/llama-7b", "MAX_TOKENS=2048"]


def test_it_needs_nothing_of_the_cluster_and_keeps_its_data() -> None:
    core = SERVICES["ai-core"]
    assert {"profiles", "depends_on", "command", "entrypoint"}.isdisjoint(core)
    kept = [volume.split(":") for volume in core["volumes"][2:]]
    data = runtime.environment()["AI_ASSISTANT_DATA"]
    assert [(name in composed()["volumes"], target) for name, target in kept] == [(True, data)]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    user = service["user"]
    assert user == ("1000:1000" if name == "kafka" else runtime.last("USER").rest)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"pids_limit", "mem_limit", "stop_grace_period", "restart"} <= service.keys()
    assert {"privileged", "cap_add", "network_mode", "pid"}.isdisjoint(service)
    assert "/tmp" in targets(service)
    assert name == "ai-core" or "cpus" in service


@pytest.mark.parametrize("name", ["ai-core", *ROLES])
def test_where_the_assistant_keeps_data_something_is_mounted(name: str) -> None:
    mounted = targets(SERVICES[name])
    env = runtime.environment()
    assert {env["AI_ASSISTANT_DATA"], env["AI_ASSISTANT_CONFIG"]} <= set(mounted)
    assert len(mounted) == len(set(mounted))


@pytest.mark.parametrize("name", CLUSTER)
def test_the_cluster_starts_only_when_asked_for(name: str) -> None:
    assert SERVICES[name]["profiles"] == ["cluster"]


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_waits_for_broker_and_topics_and_has_a_name_of_its_own(role: str) -> None:
    service = SERVICES[role]
    assert service["command"] == ["worker", "--role", role]
    done = {"condition": "service_completed_successfully"}
    made = {"secrets": done} if role == "ingress" else {}
    assert service["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": done,
        **made,
    }
    assert environment(service)["AI_ASSISTANT_KAFKA__INSTANCE"] == f"{role}-0"


def test_the_topics_are_made_once_by_the_healthy_broker() -> None:
    topics = SERVICES["topics"]
    assert topics["command"] == ["topics", "create"]
    assert topics["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert topics["restart"] == "on-failure"
    assert "nc" in SERVICES["kafka"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "kafka"])
def test_every_variable_is_read_by_somebody(name: str) -> None:
    assert known_settings.unknown(environment(SERVICES[name])) == []


def test_the_shared_secrets_are_made_once_for_the_gateway_alone(tmp_path: Path) -> None:
    (script,) = SERVICES["secrets"]["command"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    here = script.replace(runtime.environment()["AI_ASSISTANT_DATA"], str(tmp_path))
    kept = []
    for _ in range(2):
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(FILE.parent)}
        subprocess.run(["sh", "-ec", here], cwd=tmp_path, env=env, check=True)
        kept.append({file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert kept[0] == kept[1]
    assert kept[0].keys() == {"keys.json", "operator.token"}
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    env = as_process("ingress", tmp_path).env
    assert Path(env["AI_ASSISTANT_KAFKA__KEYS_FILE"]).name in kept[0]
    assert Path(env["AI_ASSISTANT_OPERATORS__TOKEN"]).name in kept[0]


def test_no_value_is_taken_from_the_shell_that_starts_it() -> None:
    assert "$" not in FILE.read_text()


def test_a_service_becomes_a_process_with_the_containers_paths_led_here(tmp_path: Path) -> None:
    process = as_process("model", tmp_path, AI_ASSISTANT_KAFKA__BROKERS="127.0.0.1:1")
    assert process.argv[1:] == ("worker", "--role", "model")
    assert Path(process.argv[0]).name == "ai-assistant"
    assert process.env["MODEL_PATH"] == str(tmp_path / "var-lib-ai-models" / "llama-7b")
    assert process.env["AI_ASSISTANT_DATA"] == str(tmp_path / "var-lib-ai-assistant")
    assert process.env["AI_ASSISTANT_KAFKA__BROKERS"] == "127.0.0.1:1"
    assert process.env["AI_ASSISTANT_KAFKA__INSTANCE"] == "model-0"
    assert all(place.is_dir() for place in process.mounts.values())
