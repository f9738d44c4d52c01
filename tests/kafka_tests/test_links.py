"""Links that a broker requires to be encrypted and named: every client keeps to them."""

from pathlib import Path

import pytest

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings, Mechanism
from adapters.kafka.records import Row
from adapters.kafka.work import WorkQueue
from deploy.kafka.cluster import Cluster
from engine.errors import Refused, Unavailable
from engine.ports import Append
from streams.machine_clock import MachineClock
from streams.topics import T
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
        ({"ca_file": Path("/no/such/file")}, Refused, "TLS files"),
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
