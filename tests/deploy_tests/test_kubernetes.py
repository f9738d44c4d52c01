"""The Kubernetes manifests: judged by the schemas of three versions, and by what pods must be."""

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from console.commands.worker import ROLES
from streams.settings import load
from streams.settings.schema import Kafka
from streams.topics import T
from tests.deploy_tests import keda, known_settings
from tests.deploy_tests.image import runtime
from tests.tidy import sources

FOLDER = sources.ROOT / "deploy" / "kubernetes"
EXAMPLE = FOLDER / "examples" / "autoscaling.yaml"
VERSIONS = ("1.30", "1.33", "1.36")
SECRETS = "/run/secrets/ai-assistant"

Manifest = dict[str, Any]

MANIFESTS: dict[str, Manifest] = {
    f"{manifest['kind']}/{manifest['metadata']['name']}": manifest
    for file in sorted(FOLDER.glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
}
PODS: dict[str, Manifest] = {
    name: manifest["spec"]["template"]["spec"]
    for name, manifest in MANIFESTS.items()
    if "template" in manifest["spec" if "spec" in manifest else "data"]
}


def role(name: str) -> Manifest:
    """The StatefulSet of a role."""
    return MANIFESTS[f"StatefulSet/ai-assistant-{name}"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_it_is_a_manifest_without_a_field_that_nobody_knows(name: str, version: str) -> None:
    assert kubernetes_validate.validate(MANIFESTS[name], version, strict=True) == version


def test_the_schemas_see_a_slip_of_the_pen() -> None:
    for path, wrong in [
        (("spec", "replica"), 2),
        (("spec", "template", "spec", "securityContext", "runAsNonroot"), True),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "90s"),
    ]:
        manifest = copy.deepcopy(role("model"))
        inner = manifest
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = wrong
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_can_do_no_more_than_its_work(name: str) -> None:
    pod = PODS[name]
    user = int(runtime.last("USER").rest.split(":")[0])
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    wanted, most = container["resources"]["requests"], container["resources"]["limits"]
    assert wanted.keys() == most.keys() == {"cpu", "memory", "ephemeral-storage"}
    assert wanted["memory"] == most["memory"]


@pytest.mark.parametrize("name", PODS)
def test_what_it_writes_to_is_a_volume_and_its_settings_are_where_the_image_looks(
    name: str,
) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    env = runtime.environment()
    for path in (env["AI_ASSISTANT_DATA"], "/tmp"):
        assert not mounts[path].get("readOnly")
    assert mounts[env["AI_ASSISTANT_CONFIG"]]["readOnly"] is True
    assert {mount["name"] for mount in mounts.values()} == {v["name"] for v in pod["volumes"]}
    for volume in pod["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})
        assert "hostPath" not in volume


def test_there_is_one_of_each_role() -> None:
    sets = [name for name, manifest in MANIFESTS.items() if manifest["kind"] == "StatefulSet"]
    assert sorted(sets) == sorted(f"StatefulSet/ai-assistant-{name}" for name in ROLES)


@pytest.mark.parametrize("name", ROLES)
def test_a_worker_is_its_role_under_its_pods_name(name: str) -> None:
    manifest = role(name)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["worker", "--role", name]
    (instance,) = (e for e in container["env"] if e["name"] == "AI_ASSISTANT_KAFKA__INSTANCE")
    assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert manifest["spec"]["podManagementPolicy"] == "Parallel"
    assert manifest["spec"]["serviceName"] == "ai-assistant-workers"
    assert manifest["spec"]["replicas"] >= 2


@pytest.mark.parametrize("name", ROLES)
def test_it_is_probed_at_the_images_port_and_given_time_to_end(name: str) -> None:
    pod = role(name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    bind = runtime.environment()["AI_ASSISTANT_SERVER__BIND"]
    assert container["ports"] == [{"name": "http", "containerPort": int(bind.split(":")[1])}]
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": "/healthz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    assert pod["terminationGracePeriodSeconds"] == 90


@pytest.mark.parametrize("name", ROLES)
def test_at_most_one_worker_of_a_role_is_taken_away_at_a_time(name: str) -> None:
    budget = MANIFESTS[f"PodDisruptionBudget/ai-assistant-{name}"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == role(name)["spec"]["selector"]
    labels = role(name)["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"] == labels


def test_people_reach_the_gateways_only() -> None:
    service = MANIFESTS["Service/ai-assistant"]["spec"]
    assert service["selector"] == role("ingress")["spec"]["selector"]["matchLabels"]
    headless = MANIFESTS["Service/ai-assistant-workers"]["spec"]
    assert headless["clusterIP"] == "None"
    for name in ROLES:
        labels = role(name)["spec"]["template"]["metadata"]["labels"]
        assert headless["selector"].items() <= labels.items()


def test_no_pod_may_talk_to_anybody_but_whom_a_policy_names() -> None:
    policies = {n: m["spec"] for n, m in MANIFESTS.items() if m["kind"] == "NetworkPolicy"}
    nothing = policies["NetworkPolicy/ai-assistant-nothing"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert {"ingress", "egress"}.isdisjoint(nothing)
    chosen = nothing["podSelector"]["matchLabels"].items()
    for name, pod in MANIFESTS.items():
        if name in PODS:
            assert chosen <= pod["spec"]["template"]["metadata"]["labels"].items()
    for policy in policies.values():
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert rule.get("ports"), policy
            assert rule.get("to", rule.get("from")), policy


@pytest.mark.parametrize("name", PODS)
def test_secrets_are_files_of_a_secret_and_never_variables(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    for variable in container["env"]:
        assert "secretKeyRef" not in variable.get("valueFrom", {})
        assert not re.search("SECRET|PASSWORD|TOKEN$|KEY$", variable["name"])
    (secret,) = (v["secret"] for v in pod["volumes"] if "secret" in v)
    assert secret == {"secretName": "ai-assistant", "defaultMode": 0o440}
    assert not [n for n, m in MANIFESTS.items() if m["kind"] == "Secret"]


@pytest.mark.parametrize("name", PODS)
def test_every_variable_is_read_by_somebody(name: str) -> None:
    (container,) = PODS[name]["containers"]
    assert known_settings.unknown(variable["name"] for variable in container["env"]) == []


def test_the_settings_in_the_config_map_are_right(tmp_path: Path) -> None:
    data = MANIFESTS["ConfigMap/ai-assistant"]["data"]
    secrets = {"keys.json"}
    for name in ("assistant.toml", "im_adapter.json"):
        secrets |= set(re.findall(f"{SECRETS}/([a-z.-]+)", data[name]))
        (tmp_path / name).write_text(data[name].replace(SECRETS, str(tmp_path)))
    for name in secrets:
        (tmp_path / name).write_text("secret")
    brokers = {"AI_ASSISTANT_KAFKA__BROKERS": data["brokers"]}
    settings = load(tmp_path, {"HOME": str(tmp_path), **brokers})
    assert settings.warnings == ()
    assert settings.kafka.security == "tls"
    assert settings.kafka.keys_file == tmp_path / "keys.json"
    operations = (sources.ROOT / "docs" / "operations.md").read_text()
    assert [name for name in secrets if f"--from-file={name}" not in operations] == []
    most = role("sessions")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.server.drain_s + 5 < most


def test_im_adapter_json_is_the_example_with_its_secrets_in_files() -> None:
    example = json.loads((sources.ROOT / "config.example" / "im_adapter.json").read_text())
    mine = json.loads(MANIFESTS["ConfigMap/ai-assistant"]["data"]["im_adapter.json"])
    for name in ("app_key", "app_secret"):
        assert mine["channels"]["enterprise_im"].pop(name).startswith(f"file:{SECRETS}/")
        example["channels"]["enterprise_im"].pop(name)
    assert mine == example


def test_the_autoscaling_example_scales_what_there_is_by_what_waits() -> None:
    example = yaml.safe_load(EXAMPLE.read_text())
    jsonschema.validate(example, keda.SCALED_OBJECT)
    target = example["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" in MANIFESTS
    (trigger,) = example["spec"]["triggers"]
    brokers = MANIFESTS["ConfigMap/ai-assistant"]["data"]["brokers"]
    assert trigger["metadata"]["bootstrapServers"] == brokers
    kafka = tomllib.loads(MANIFESTS["ConfigMap/ai-assistant"]["data"]["assistant.toml"])["kafka"]
    assert trigger["metadata"]["topic"] == kafka["prefix"] + T.MODEL
    assert trigger["metadata"]["consumerGroup"] == kafka["prefix"] + "model"
    least, most = example["spec"]["minReplicaCount"], example["spec"]["maxReplicaCount"]
    assert role("model")["spec"]["replicas"] <= least < most <= Kafka().partitions
    wrong = copy.deepcopy(example)
    wrong["spec"]["triggers"][0]["metadata"]["lagTreshold"] = "20"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, keda.SCALED_OBJECT)
