"""One broker or several that form a cluster: ports, folders, certificates, and a start in one call.

with Cluster(Plan(folder=somewhere, brokers=3)) as cluster:
    ... cluster.bootstrap ...
    cluster.brokers[1].kill()
"""

import base64
import socket
import tempfile
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.kafka import certificates, jars, settings
from deploy.kafka.broker import Broker
from deploy.kafka.java import QUICK_START, Java, with_kafka
from deploy.kafka.settings import HOST, Node

HEAP_MB_ALONE = 256
HEAP_MB_OF_SEVERAL = 192


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to start, with its data in `folder`, which later starts find again.

    `ports` are all ports in the order of the brokers, for each its own, its controller's and, when
    secured, its secured one; without, free ones are found. `settings` are more lines of
    server.properties. `heap_mb` 0 means what the number of brokers asks for. `java_options`: how
    each broker's Java runs, in place of a quick start. `only`: start this one, from 1, beside the
    others, which run already; 0: all.
    """

    folder: Path
    brokers: int = 1
    version: str = jars.VERSION
    secured: bool = False
    ports: tuple[int, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 0
    java_options: tuple[str, ...] = QUICK_START
    only: int = 0


class Cluster:
    """Brokers that were started together. Leaving the block stops them; their data stays."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.secrets = certificates.made(plan.folder / "secrets") if plan.secured else None
        self._java = with_kafka(plan.version)
        self._reserved: list[socket.socket] = []
        heap_mb = plan.heap_mb or (HEAP_MB_ALONE if plan.brokers == 1 else HEAP_MB_OF_SEVERAL)
        self._nodes = self._places()
        self.brokers = tuple(
            Broker(node, java=self._java, heap_mb=heap_mb, options=plan.java_options)
            for node in self._nodes
        )

    @property
    def started(self) -> tuple[Broker, ...]:
        """Those that it starts and stops: all, unless the plan says `only`."""
        only = self.plan.only
        return self.brokers[only - 1 : only] if only else self.brokers

    @property
    def bootstrap(self) -> str:
        """The plain addresses of all brokers, for a client."""
        return ",".join(node.address for node in self._nodes)

    @property
    def secure_bootstrap(self) -> str:
        """The addresses of all secured listeners."""
        return ",".join(node.secure_address for node in self._nodes)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Format what is new, start the brokers, return when each knows all the others."""
        make_archive(self._java)
        self._start()

    def _start(self, *, archive: Path | None = None) -> None:
        self._format()
        for broker in self.started:
            broker.start(archive=archive)
        for broker in self.started:
            broker.wait_ready(brokers=len(self.brokers))

    def stop(self) -> None:
        """Stop all brokers in an orderly way; none is left, whatever they do."""
        for broker in self.started:
            broker.ask_to_stop()
        for broker in self.started:
            broker.wait_stopped()
        self._give_ports_back()

    def kill(self) -> None:
        """Kill -9 all brokers: the quick end of a cluster whose data nobody wants."""
        for broker in self.started:
            broker.kill()
        self._give_ports_back()

    def _format(self) -> None:
        cluster_id = _cluster_id(self.plan.folder)
        with ThreadPoolExecutor(max_workers=len(self.started)) as pool:
            done = [
                pool.submit(
                    broker.format,
                    cluster_id,
                    properties=settings.properties(
                        broker.node, self._nodes, secrets=self.secrets, more=self.plan.settings
                    ),
                    secrets=self.secrets,
                )
                for broker in self.started
            ]
        for one in done:
            one.result()

    def _places(self) -> tuple[Node, ...]:
        numbers = range(1, self.plan.brokers + 1)
        ports = iter(self.plan.ports) if self.plan.ports else iter(self._free_port, None)
        return tuple(
            Node(
                number=number,
                folder=self.plan.folder / f"broker-{number}",
                port=next(ports),
                controller_port=next(ports),
                secure_port=next(ports) if self.plan.secured else None,
            )
            for number in numbers
        )

    def _free_port(self) -> int:
        """Reserve a free port: bound, but not listened on, so that Java may, and nobody else.

        Without, a client that calls a dead broker again and again could be given its very port as
        its own end, and would then be connected to itself.
        """
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        self._reserved.append(held)
        return int(held.getsockname()[1])

    def _give_ports_back(self) -> None:
        for held in self._reserved:
            held.close()
        self._reserved.clear()


def make_archive(java: Java) -> None:
    """Make the archive of loaded classes, unless it is there: by a broker that starts and stops."""
    if java.archive.exists():
        return
    with jars.only_one(java.archive.parent):
        if java.archive.exists():
            return
        jars.say(
            f"Kafka {java.version}: archiving its classes, once on this machine (some seconds)"
        )
        with tempfile.TemporaryDirectory(dir=java.archive.parent, prefix="archive-") as scratch:
            made = Path(scratch) / java.archive.name
            cluster = Cluster(Plan(folder=Path(scratch) / "data", version=java.version))
            try:
                cluster._start(archive=made)
                cluster.stop()
            finally:
                cluster.kill()
            made.replace(java.archive)


def _cluster_id(folder: Path) -> str:
    """Return the id of the cluster in `folder`; a new one gets one, kept for its next start."""
    kept = folder / "cluster.id"
    with suppress(FileNotFoundError):
        return kept.read_text()
    made = "-"
    while made.startswith("-"):  # the tool that formats would take it for an option
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(made)
    return made
