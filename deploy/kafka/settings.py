"""server.properties of one broker: what Kafka needs in KRaft mode, and what makes a test quick.

A broker has two or three listeners, all on loopback: `INSIDE` (plain, for clients and the other
brokers), `CONTROLLER` (the quorum), and on a secured broker `SECURE` (TLS and SASL, for clients).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.certificates import Secrets

HOST = "127.0.0.1"

# Waits that a broker makes with a cluster of machines in mind, cut to what one machine needs.
QUICK = {
    "group.initial.rebalance.delay.ms": "0",  # 3 s for every new group
    "group.min.session.timeout.ms": "1000",  # a test of a dead worker asks for less than 6 s
    "offsets.topic.num.partitions": "4",  # 50
    "transaction.state.log.num.partitions": "4",  # 50
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",  # 10 s
    "log.cleaner.dedupe.buffer.size": "16777216",  # 128 MB
}
# After kill -9 a broker that comes back waits until its own registration has run out: 9 s.
ALONE = {"broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "300"}
ONE_OF_SEVERAL = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "300",
    "controller.quorum.fetch.timeout.ms": "1500",
    "replica.lag.time.max.ms": "5000",
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One broker's place: its number, its folder and its ports."""

    number: int
    folder: Path
    port: int
    controller_port: int
    secure_port: int | None = None

    @property
    def address(self) -> str:
        """Where plain clients reach it."""
        return f"{HOST}:{self.port}"

    @property
    def secure_address(self) -> str:
        """Where clients with TLS and SASL reach it."""
        if self.secure_port is None:
            raise ValueError(f"broker {self.number} was started without its secured listener")
        return f"{HOST}:{self.secure_port}"


def properties(
    node: Node, nodes: tuple[Node, ...], *, secrets: Secrets | None, more: Mapping[str, str]
) -> str:
    """Return the text of a node's server.properties; `more` has the last word."""
    return "".join(
        f"{name}={value}\n"
        for name, value in {
            **_quorum(node, nodes),
            **_listeners(node, secrets),
            **_copies(len(nodes)),
            **QUICK,
            **(ALONE if len(nodes) == 1 else ONE_OF_SEVERAL),
            **more,
        }.items()
    )


def _quorum(node: Node, nodes: tuple[Node, ...]) -> dict[str, str]:
    voters = (f"{other.number}@{HOST}:{other.controller_port}" for other in nodes)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(voters),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INSIDE",
        "log.dirs": str(node.folder / "log"),
        "auto.create.topics.enable": "false",
    }


def _listeners(node: Node, secrets: Secrets | None) -> dict[str, str]:
    clients = f"INSIDE://{node.address}"
    protocols = "INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"
    secured = {}
    if secrets is not None:
        clients += f",SECURE://{node.secure_address}"
        protocols += ",SECURE:SASL_SSL"
        secured = _secured(secrets)
    return {
        "listeners": f"{clients},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": protocols,
        **secured,
    }


def _secured(secrets: Secrets) -> dict[str, str]:
    modules = "org.apache.kafka.common.security"
    user = f'user_{secrets.user}="{secrets.password}"'
    return {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "ssl.enabled.protocols": "TLSv1.2,TLSv1.3",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(secrets.server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(secrets.authority),
        # The user of SCRAM is made when the storage is formatted; PLAIN has its users here.
        "listener.name.secure.scram-sha-512.sasl.jaas.config": (
            f"{modules}.scram.ScramLoginModule required;"
        ),
        "listener.name.secure.plain.sasl.jaas.config": (
            f"{modules}.plain.PlainLoginModule required {user};"
        ),
    }


def _copies(brokers: int) -> dict[str, str]:
    return {
        "default.replication.factor": str(brokers),
        "min.insync.replicas": str(brokers // 2 + 1),
        "offsets.topic.replication.factor": str(brokers),
        "transaction.state.log.replication.factor": str(brokers),
        "transaction.state.log.min.isr": str(brokers // 2 + 1),
        "share.coordinator.state.topic.replication.factor": str(brokers),
        "share.coordinator.state.topic.min.isr": str(brokers // 2 + 1),
    }
