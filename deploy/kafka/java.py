"""Java processes: how Kafka's classes are run here, and that none outlives who started it."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka import jars

# A broker that one machine shares with its clients: little memory, a quick start. C1 alone makes
# a broker half as fast under full load; a bench takes this out.
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGER = "-Dorg.slf4j.simpleLogger"
LOGGING = (
    f"{_LOGGER}.defaultLogLevel=warn",
    f"{_LOGGER}.showDateTime=true",
    f"{_LOGGER}.dateTimeFormat=HH:mm:ss.SSS",
    # A line for each attempt to reach a broker that is down, several a second.
    f"{_LOGGER}.log.org.apache.kafka.clients.NetworkClient=error",
)

# The kernel kills a broker when the *thread* that started it ends (PR_SET_PDEATHSIG), so that a
# killed test leaves none behind. This thread lives as long as the process does.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-starter")
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True, kw_only=True)
class Java:
    """One version of Kafka on one Java: where its jars and its archive of classes are."""

    path: str
    jars: Path
    archive: Path

    @property
    def version(self) -> str:
        """Kafka's version: the cache folder is named by it."""
        return self.jars.parent.name

    def run(self, arguments: list[str]) -> None:
        """Run one of Kafka's tools to its end; raise with what it said when it fails."""
        done = subprocess.run(
            [self.path, *self._archived(), *QUICK_START, *LOGGING, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{arguments[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def start(self, arguments: list[str], *, log: Path) -> subprocess.Popen[bytes]:
        """Start a process that writes to `log` and dies with this one."""
        command = [*DIES_WITH_US, self.path, *self._archived(), *LOGGING, *arguments]
        return _STARTER.submit(self._popen, command, log).result()

    def _popen(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as kept:
            return subprocess.Popen(
                command,
                env=self._environment(),
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=kept,
                stderr=kept,
                # Ctrl-C is ours to take: we stop the brokers, in order.
                start_new_session=True,
            )

    def _archived(self) -> list[str]:
        return [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []

    def _environment(self) -> dict[str, str]:
        # Sorted, not "jars/*": the archive is good for one order of the class path only.
        return os.environ | {"CLASSPATH": ":".join(map(str, sorted(self.jars.glob("*.jar"))))}


def with_kafka(version: str) -> Java:
    """Return what runs this version of Kafka, fetched if need be, or raise CannotStart."""
    path = jars.java()
    folder = jars.fetched(version)
    said = subprocess.run([path, "-version"], capture_output=True, check=True).stderr
    name = f"classes-{hashlib.sha256(said).hexdigest()[:12]}.jsa"
    return Java(path=path, jars=folder, archive=folder.parent / name)


def ended(process: subprocess.Popen[bytes], *, within_s: float) -> bool:
    """Tell whether a process ended in time; a zombie is reaped."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True
