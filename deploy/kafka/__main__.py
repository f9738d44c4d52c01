"""Start Kafka in the foreground: `make kafka` and `make kafka-cluster`.

    python -m deploy.kafka --folder data/kafka --port 9092 [--brokers 3] [--secured]

Ctrl-C or SIGTERM stops it; the data stays for the next start. With `--only 2` it starts that one of
the brokers, beside the others, which another process started: the one that ended there.
"""

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka import jars
from deploy.kafka.broker import Broker
from deploy.kafka.cluster import Cluster, Plan, make_archive
from deploy.kafka.jars import CannotStart, say
from deploy.kafka.java import with_kafka
from deploy.kafka.settings import HOST

LOOK_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The command line."""

    folder: Path
    port: int
    brokers: int
    version: str
    secured: bool
    prepare: bool
    only: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; 1 when Kafka cannot start, or ended by itself."""
    wanted = _parsed(arguments)
    try:
        if wanted.prepare:
            make_archive(with_kafka(wanted.version))
            return 0
        return _serve(wanted)
    except CannotStart as reason:
        print(reason, file=sys.stderr)
        return 1


def _parsed(arguments: Sequence[str] | None) -> Wanted:
    parser = argparse.ArgumentParser(prog="python -m deploy.kafka", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/kafka"), help="its data")
    parser.add_argument("--port", type=int, default=9092, help="the first broker's port")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--version", default=jars.VERSION, help="of Kafka")
    parser.add_argument("--secured", action="store_true", help="a listener with TLS and SASL too")
    parser.add_argument("--prepare", action="store_true", help="fetch what is needed, and end")
    parser.add_argument("--only", type=int, default=0, help="this one of the brokers, from 1")
    wanted = Wanted(**vars(parser.parse_args(arguments)))
    if not 0 <= wanted.only <= wanted.brokers:
        parser.error(f"--only {wanted.only}: there are brokers 1 to {wanted.brokers}")
    return wanted


def _serve(wanted: Wanted) -> int:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    ports = _ports(wanted)
    each = len(ports) // wanted.brokers
    first = each * (wanted.only - 1)
    _free_or_refuse(ports[first : first + each] if wanted.only else ports)
    plan = Plan(
        folder=wanted.folder.resolve(),
        brokers=wanted.brokers,
        version=wanted.version,
        secured=wanted.secured,
        ports=ports,
        only=wanted.only,
    )
    with Cluster(plan) as cluster:
        _greet(cluster)
        alive = list(cluster.started)
        while alive and not told.wait(LOOK_EVERY_S):
            alive = [broker for broker in alive if _lives(broker, wanted)]
        if alive:
            say("stopping; the data stays")
        return 0 if alive else 1


def _ports(wanted: Wanted) -> tuple[int, ...]:
    """The brokers' ports follow each other from --port; 1000 above are the controllers'."""
    kinds = (0, 1000, 2000) if wanted.secured else (0, 1000)
    first = wanted.port
    return tuple(first + number + kind for number in range(wanted.brokers) for kind in kinds)


def _free_or_refuse(ports: tuple[int, ...]) -> None:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise CannotStart(
                    f"port {port} is taken ({error.strerror}): another one with PORT=…"
                ) from error


def _greet(cluster: Cluster) -> None:
    ids = ", ".join(str(broker.pid) for broker in cluster.started)
    at = ",".join(broker.node.address for broker in cluster.started)
    say(f"Kafka {cluster.plan.version} is at {at} (process {ids})")
    if cluster.secrets is not None:
        secrets = cluster.secrets
        say(f"with TLS and SASL (SCRAM-SHA-512 or PLAIN) at {cluster.secure_bootstrap}")
        say(f"authority {secrets.authority}, user {secrets.user},")
        say(f"password in {secrets.authority.with_name('password')}")
    say(f"data and logs in {cluster.plan.folder}; Ctrl-C stops it")


def _lives(broker: Broker, wanted: Wanted) -> bool:
    if not broker.running:
        number = broker.node.number
        say(f"broker {number} has ended; what it said: {broker.log}")
        if wanted.brokers > 1:
            say(f"to start it again: {_again(number, wanted)}")
    return broker.running


def _again(number: int, wanted: Wanted) -> str:
    more = " --secured" if wanted.secured else ""
    more += f" --version {wanted.version}" if wanted.version != jars.VERSION else ""
    where = f"--folder {wanted.folder} --port {wanted.port} --brokers {wanted.brokers}"
    return f"{sys.executable} -m deploy.kafka {where}{more} --only {number}"


if __name__ == "__main__":
    sys.exit(main())
