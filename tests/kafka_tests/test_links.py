"""Links that a broker requires to be encrypted and named: every client keeps to them."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from adapters.kafka.admin import describe_topics
from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings, Mechanism, tls_context
from adapters.kafka.records import Row
from adapters.kafka.work import WorkQueue
from deploy.kafka.cluster import Cluster
from engine.errors import Refused, Unavailable
from engine.ports import Append
from streams.machine_clock import MachineClock
from streams.topics import T
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import appending, everything, made, written


def secured(cluster: Cluster, prefix: str, **more: object) -> KafkaSettings:
    secrets = cluster.secrets
    assert secrets is not None
    given: dict[str, object] = {
        "brokers": cluster.secure_bootstrap,
        "prefix": f"{prefix}.",
        "security": "tls",
        "ca_file": secrets.authority,
        "sasl": "scram-sha-512",
        "username": secrets.user,
        "password": secrets.password,
    }
    return KafkaSettings(**{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("mechanism", ["scram-sha-512", "plain"])
async def test_every_client_gets_in_with_the_right_secrets(
    tls_broker: Cluster, prefix: str, mechanism: Mechanism
) -> None:
    settings = secured(tls_broker, prefix, sasl=mechanism)
    await made(settings, partitions=1)
    async with appending(settings) as appender:
        await appender.append(Append("webchat:web:s", "webchat:web:s/1", b"{}"))
    await written(settings, [Row(T.MODEL, b"k", b"v")])
    assert [r.value for r in await everything(settings, T.EVENTS, partitions=1)] == [b"{}"]
    queue = WorkQueue(settings, T.MODEL, group="g", instance="a")
    try:
        await queue.start()
        got = []
        while not got:
            got = await queue.fetch(wanted=1, within_ms=500)
    finally:
        await queue.stop()
    assert got[0].value == b"v"


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"password": "other"}, Refused, "user name and password"),
        ({"username": "nobody"}, Refused, "user name and password"),
        ({"sasl": ""}, Unavailable, "connect"),
        ({"security": "plaintext"}, Unavailable, "connect"),
        ({"ca_file": None}, Refused, "certificate"),
        ({"ca_file": Path("/no/such/file")}, Refused, r"kafka\.ca_file cannot be read"),
    ],
)
async def test_nobody_gets_in_without(
    tls_broker: Cluster, prefix: str, wrong: dict[str, object], error: type[Exception], says: str
) -> None:
    settings = secured(tls_broker, prefix, **wrong)
    appender = Appender(settings, clock=MachineClock(), instance="test")
    with pytest.raises(error, match=says) as raised:
        await appender.start()
    await appender.stop()
    assert settings.password not in str(raised.value)
    assert settings.password not in repr(settings)


def test_files_of_tls_that_cannot_be_used_are_named_by_their_setting(tmp_path: Path) -> None:
    """Nobody is asked for a passphrase: a worker has no terminal, and would wait for ever."""

    def refused(**files: Path) -> str:
        settings = KafkaSettings(brokers="localhost:1", security="tls", **files)
        with pytest.raises(Refused) as raised:
            tls_context(settings)
        return str(raised.value)

    words, cert, key = tmp_path / "words", tmp_path / "cert", tmp_path / "key"
    words.write_text("no certificate")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-subj", "/CN=us"]
    files = ["-out", str(cert), "-keyout", str(key), "-passout", "pass:secret"]
    subprocess.run([*make, *files], check=True, capture_output=True)
    assert refused(ca_file=words).startswith("kafka.ca_file has no certificates")
    missing = tmp_path / "missing"
    assert refused(cert_file=cert, key_file=missing).startswith("kafka.key_file cannot be read")
    assert refused(cert_file=missing, key_file=key).startswith("kafka.cert_file cannot be read")
    assert refused(cert_file=cert, key_file=key).startswith("kafka.key_file is encrypted")
    assert "kafka.cert_file and kafka.key_file" in refused(cert_file=cert, key_file=words)


async def test_topics_that_may_not_be_seen_are_not_taken_for_missing(prefix: str) -> None:
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with started(secured=True, settings=rules) as cluster:
        plain = KafkaSettings(brokers=cluster.bootstrap, prefix=f"{prefix}.")
        await made(plain, partitions=1)
        settings = secured(cluster, prefix)
        with pytest.raises(Refused, match="does not allow"):
            await describe_topics(settings, {T.EVENTS: ["retention.ms"]})
        user = f"User:{settings.username}"
        allowed = ["--allow-principal", user, "--topic", "*", "--operation", "Describe"]
        tool = ["org.apache.kafka.tools.AclCommand", "--bootstrap-server", cluster.bootstrap]
        await asyncio.to_thread(cluster._java.run, [*tool, "--add", *allowed])
        assert list(await describe_topics(settings, {T.EVENTS: []})) == [T.EVENTS]
        with pytest.raises(Refused, match="does not allow"):
            await describe_topics(settings, {T.EVENTS: ["retention.ms"]})
