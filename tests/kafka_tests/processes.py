"""Workers as the processes that they are on a cluster, for tests that kill them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from adapters.kafka.clients import KafkaSettings, producer_of
from engine import codec
from statemachines import registry
from streams.sessions import activated
from streams.topics import T
from tests.kafka_tests.installation import PARTITIONS

ROOT = Path(__file__).parents[2]
CONFIG = b"{}"


def environment(settings: KafkaSettings, folder: Path, *, instance: str = "") -> dict[str, str]:
    """What a worker of this installation has in its environment; its settings are all there."""
    config = folder / "no-settings"
    config.mkdir(exist_ok=True)
    return {
        **os.environ,
        "AI_ASSISTANT_CONFIG": str(config),
        "AI_ASSISTANT_DATA": str(folder / "data"),
        "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0",
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_KAFKA__BROKERS": settings.brokers,
        "AI_ASSISTANT_KAFKA__PREFIX": settings.prefix,
        "AI_ASSISTANT_KAFKA__INSTANCE": instance,
        "AI_ASSISTANT_KAFKA__PARTITIONS": str(PARTITIONS),
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
        "PYTHONPATH": str(ROOT),
    }


def sessions_command() -> list[str]:
    """The command line of a worker with the role sessions."""
    return [sys.executable, "-P", "-m", "console.main", "worker", "--role", "sessions"]


@contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], *, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is killed at the end if it still runs. What it says goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=dict(env), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


async def activate(settings: KafkaSettings, *, partitions: int, at_ms: int) -> None:
    """Write each partition's first record: the assistant, as it comes."""
    control = activated(registry.build("assistant", CONFIG), CONFIG, at_ms=at_ms)
    producer = producer_of(settings)
    await producer.start()
    try:
        for partition in range(partitions):
            await producer.send_and_wait(
                settings.named(T.EVENTS), codec.encode(control), key=b"", partition=partition
            )
    finally:
        await producer.stop()
