"""One broker as a process: format, start, wait until it answers, stop, kill, pause, start again.

It keeps its port over a death, so that clients find it where it was.
"""

import socket
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

from deploy.kafka.certificates import Secrets
from deploy.kafka.java import QUICK_START, Java, ended
from deploy.kafka.settings import HOST, Node

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 8.0  # several at once lose their quorum, and wait for it in vain
POLL_S = 0.05
LOG_BYTES_SHOWN = 3000


class Broker:
    """A broker of this machine. Use it from one thread at a time."""

    def __init__(
        self, node: Node, *, java: Java, heap_mb: int, options: tuple[str, ...] = QUICK_START
    ) -> None:
        self.node = node
        self._java = java
        self._options = (f"-Xmx{heap_mb}m", *options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the broker itself wrote, over all its lives."""
        return self.node.folder / "broker.log"

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether its process lives (paused or not)."""
        return self._process is not None and self._process.poll() is None

    def format(self, cluster_id: str, *, properties: str, secrets: Secrets | None) -> None:
        """Write its settings, and prepare its storage unless an earlier life has done so."""
        self.node.folder.mkdir(parents=True, exist_ok=True)
        config = self._config
        config.touch(mode=0o600)
        config.write_text(properties)
        if (self.node.folder / "log" / "meta.properties").exists():
            return
        scram = []
        if secrets is not None:
            # In the process list for a second: Kafka has no other way in, the password is made up.
            user = f"name={secrets.user},password={secrets.password}"
            scram = ["--add-scram", f"SCRAM-SHA-512=[{user}]"]
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)]
        self._java.run([*tool, *scram])

    def start(self, *, archive: Path | None = None) -> None:
        """Start its process, without waiting; with `archive` it writes one there when it ends."""
        if self.running:
            raise RuntimeError(f"broker {self.node.number} runs already, as {self.pid}")
        options = [*self._options]
        if archive is not None:
            options.append(f"-XX:ArchiveClassesAtExit={archive}")
        self._process = self._java.start([*options, "kafka.Kafka", str(self._config)], log=self.log)

    def wait_ready(self, *, brokers: int = 1, within_s: float = READY_WITHIN_S) -> None:
        """Return once it answers and knows `brokers` live ones; raise with its log if it dies."""
        give_up = time.monotonic() + within_s
        while (known := _live_brokers(self.node.port)) < brokers:
            if not self.running:
                raise RuntimeError(f"broker {self.node.number} ended at its start: {self._tail()}")
            if time.monotonic() > give_up:
                raise TimeoutError(
                    f"broker {self.node.number} knows {known} of {brokers} brokers after"
                    f" {within_s:.0f} s: {self._tail()}"
                )
            time.sleep(POLL_S)

    def stop(self, *, within_s: float = STOPPED_WITHIN_S) -> None:
        """Ask it to stop (SIGTERM), kill it when it takes too long; a dead one is left alone."""
        self.ask_to_stop()
        self.wait_stopped(within_s=within_s)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, without waiting."""
        if self.running:
            self._running().send_signal(SIGCONT)  # a paused one would not hear it
            self._running().send_signal(SIGTERM)

    def wait_stopped(self, *, within_s: float = STOPPED_WITHIN_S) -> None:
        """Wait for its end, and bring it about in the end."""
        if self._process is not None and not ended(self._process, within_s=within_s):
            self.kill()

    def kill(self) -> None:
        """Kill -9, and wait until the kernel has taken it away; a dead one is left alone."""
        if self.running:
            process = self._running()
            process.send_signal(SIGKILL)
            process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its port and its connections, and answers nobody."""
        self._running().send_signal(SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(SIGCONT)

    @property
    def _config(self) -> Path:
        return self.node.folder / "server.properties"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"broker {self.node.number} does not run")
        return self._process

    def _tail(self) -> str:
        return self.log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace")


def _live_brokers(port: int) -> int:
    """Ask which brokers live (Metadata, version 1, no topics); 0 when there is no answer."""
    request = struct.pack(">hhih", 3, 1, 0, -1) + struct.pack(">i", 0)
    with (
        suppress(OSError, struct.error),
        socket.create_connection((HOST, port), timeout=2) as link,
    ):
        link.sendall(struct.pack(">i", len(request)) + request)
        head = link.recv(12, socket.MSG_WAITALL)
        _size, _correlation, count = struct.unpack(">iii", head)
        return int(count)
    return 0
