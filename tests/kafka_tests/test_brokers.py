"""The brokers that the other tests stand on: what they keep, whom they refuse, what they leave."""

import asyncio
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.kafka.cluster import Cluster
from tests.kafka_tests.conftest import started
from tests.kafka_tests.records import append, create, leader, read
from tests.tidy.sources import ROOT

ENDS_WITHIN_S = 30


async def test_a_broker_takes_records_and_gives_them_back(broker: Cluster, prefix: str) -> None:
    await create(broker.bootstrap, prefix)
    await append(broker.bootstrap, prefix, b"one", b"two")
    assert await read(broker.bootstrap, prefix) == [b"one", b"two"]


async def test_what_was_acknowledged_survives_kill_9(prefix: str) -> None:
    with started() as cluster:
        (broker,) = cluster.brokers
        await create(cluster.bootstrap, prefix)
        await append(cluster.bootstrap, prefix, b"one", b"two")
        first = broker.pid
        broker.kill()
        assert not psutil.pid_exists(first)
        broker.start()
        broker.wait_ready()
        assert broker.pid != first
        await append(cluster.bootstrap, prefix, b"three")
        assert await read(cluster.bootstrap, prefix) == [b"one", b"two", b"three"]


async def test_a_client_goes_on_when_its_broker_comes_back_on_the_same_port(prefix: str) -> None:
    with started() as cluster:
        (broker,) = cluster.brokers
        await create(cluster.bootstrap, prefix)
        producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(prefix, b"before", partition=0)
            broker.kill()
            pending = asyncio.create_task(producer.send_and_wait(prefix, b"during", partition=0))
            await asyncio.to_thread(_start_again, cluster)
            await asyncio.wait_for(pending, ENDS_WITHIN_S)
        finally:
            await producer.stop()
        assert await read(cluster.bootstrap, prefix) == [b"before", b"during"]


async def test_nobody_gets_the_port_of_a_dead_broker(prefix: str) -> None:
    with started() as cluster:
        (broker,) = cluster.brokers
        broker.kill()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", broker.node.port))
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", broker.node.port))


async def test_a_paused_broker_answers_nobody_until_it_is_resumed(prefix: str) -> None:
    with started() as cluster:
        (broker,) = cluster.brokers
        await create(cluster.bootstrap, prefix)
        broker.pause()
        pending = asyncio.create_task(append(cluster.bootstrap, prefix, b"one"))
        assert not (await asyncio.wait([pending], timeout=1.0))[0]
        with pytest.raises(TimeoutError, match="0 of 1 brokers"):
            await asyncio.to_thread(broker.wait_ready, within_s=0.1)
        broker.resume()
        await asyncio.wait_for(pending, ENDS_WITHIN_S)
        assert await read(cluster.bootstrap, prefix) == [b"one"]


async def test_three_brokers_survive_the_death_of_the_one_that_leads(prefix: str) -> None:
    with started(brokers=3) as cluster:
        await create(cluster.bootstrap, prefix, copies=3)
        await append(cluster.bootstrap, prefix, b"one", b"two")
        dead = cluster.brokers[await leader(cluster.bootstrap, prefix) - 1]
        dead.kill()
        await append(cluster.bootstrap, prefix, b"three")
        assert await read(cluster.bootstrap, prefix) == [b"one", b"two", b"three"]
        dead.start()
        dead.wait_ready(brokers=3)


async def test_three_brokers_share_their_topics(cluster: Cluster, prefix: str) -> None:
    await create(cluster.bootstrap, prefix, copies=3)
    await append(cluster.bootstrap, prefix, b"one")
    for broker in cluster.brokers:
        assert await read(broker.node.address, prefix) == [b"one"]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_a_secured_broker_takes_who_has_the_authority_and_the_password(
    tls_broker: Cluster, prefix: str, mechanism: str
) -> None:
    security = _security(tls_broker, sasl_mechanism=mechanism)
    await create(tls_broker.secure_bootstrap, prefix, **security)
    await append(tls_broker.secure_bootstrap, prefix, b"one", **security)
    assert await read(tls_broker.secure_bootstrap, prefix, **security) == [b"one"]
    assert await read(tls_broker.bootstrap, prefix) == [b"one"]


@pytest.mark.parametrize(
    "without",
    [
        {"security_protocol": "PLAINTEXT"},
        {"security_protocol": "SSL"},
        {"security_protocol": "SASL_PLAINTEXT"},
        {"sasl_plain_password": "another one"},
        {"sasl_plain_password": "another one", "sasl_mechanism": "PLAIN"},
        {"sasl_plain_username": "somebody"},
        {"ssl_context": ssl.create_default_context()},
    ],
    ids=lambda changed: "-".join(f"{name}" for name in changed),
)
async def test_a_secured_broker_refuses_who_lacks_one_of_them(
    tls_broker: Cluster, without: dict[str, Any]
) -> None:
    security = _security(tls_broker) | without
    if security["security_protocol"] in ("PLAINTEXT", "SASL_PLAINTEXT"):
        del security["ssl_context"]
    if security["security_protocol"] in ("PLAINTEXT", "SSL"):
        security = {name: value for name, value in security.items() if "sasl" not in name}
    producer = AIOKafkaProducer(
        bootstrap_servers=tls_broker.secure_bootstrap, request_timeout_ms=2000, **security
    )
    try:
        with pytest.raises(KafkaError):
            await asyncio.wait_for(producer.start(), ENDS_WITHIN_S)
    finally:
        await producer.stop()


async def test_tls_of_the_last_decade_is_refused(tls_broker: Cluster) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    host, port = tls_broker.secure_bootstrap.split(":")
    with socket.create_connection((host, int(port))) as link, pytest.raises(ssl.SSLError):
        old.wrap_socket(link)


def test_stop_leaves_no_process_and_keeps_the_data_for_the_next_start(tmp_path: Path) -> None:
    with _foreground(tmp_path) as first:
        pid, address = _said(first)
        first.send_signal(signal.SIGINT)
        assert first.wait(ENDS_WITHIN_S) == 0
        assert not psutil.pid_exists(pid)
    asyncio.run(_nothing_listens(address))
    formatted = (tmp_path / "broker-1" / "log" / "meta.properties").read_text()
    with _foreground(tmp_path) as second:
        pid, _ = _said(second)
        second.terminate()
        assert second.wait(ENDS_WITHIN_S) == 0
        assert not psutil.pid_exists(pid)
    assert (tmp_path / "broker-1" / "log" / "meta.properties").read_text() == formatted


def test_a_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    with _foreground(tmp_path) as process:
        broker = psutil.Process(_said(process)[0])
        process.kill()
        process.wait()
        psutil.wait_procs([broker], timeout=ENDS_WITHIN_S)
        assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE


def test_a_broker_that_ends_by_itself_ends_the_command_with_its_log(tmp_path: Path) -> None:
    with _foreground(tmp_path) as process:
        os.kill(_said(process)[0], signal.SIGKILL)
        said, _ = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 1
    assert f"broker 1 has ended; what it said: {tmp_path}/broker-1/broker.log" in said


def test_a_taken_port_is_named(tmp_path: Path, broker: Cluster) -> None:
    with _foreground(tmp_path, port=broker.brokers[0].node.port) as process:
        said, _ = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 1
    assert said.startswith(f"port {broker.brokers[0].node.port} is taken")


def _security(cluster: Cluster, **changed: str) -> dict[str, Any]:
    secrets = cluster.secrets
    assert secrets is not None
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": secrets.user,
        "sasl_plain_password": secrets.password,
        "ssl_context": ssl.create_default_context(cafile=secrets.authority),
        **changed,
    }


def _start_again(cluster: Cluster) -> None:
    cluster.brokers[0].start()
    cluster.brokers[0].wait_ready()


def _foreground(folder: Path, *, port: int | None = None) -> subprocess.Popen[str]:
    """What `make kafka` runs, on ports of its own."""
    command = [sys.executable, "-m", "deploy.kafka", "--folder", str(folder)]
    return subprocess.Popen(
        [*command, "--port", str(port or _free_pair())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _free_pair() -> int:
    """A port that is free, as is the one 1000 above it; none that a client could be given."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1000))
            return port


def _said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The broker's process id and its address, once it can be reached."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if " is at " in line:
            address = line.split(" is at ")[1].split()[0]
            return int(line.split("(process ")[1].split(")")[0]), address
    raise AssertionError(f"it ended with {process.wait()}: {said}")


async def _nothing_listens(address: str) -> None:
    host, port = address.split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))
