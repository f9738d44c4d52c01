"""The profile `cluster`: each service's command and environment as a process, on a real broker."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from models.fetch import cached_file, is_whole
from tests.deploy_tests.composed import Process, as_process
from tests.kafka_tests.conftest import started

ONCE = ("topics", "secrets")
ROLES = ("sessions", "model", "skill", "egress", "clock", "ingress")
READY_WITHIN_S = 180
ENDS_WITHIN_S = 60


@contextmanager
def running(process: Process, log: Path) -> Iterator[str]:
    """A worker until the block ends, which it then does with 0; where its probes are."""
    with log.open("wb") as out:
        made = subprocess.Popen(
            process.argv, env=process.env, cwd=process.folder, stdout=out, stderr=out
        )
    try:
        yield probes(made, log)
        made.send_signal(signal.SIGTERM)
        assert made.wait(ENDS_WITHIN_S) == 0, log.read_text()
    finally:
        made.kill()
        made.wait()


def probes(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"probes at (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"exit code {process.poll()}: {log.read_text()}")


def wait_until_ready(urls: dict[str, str]) -> None:
    """All of them, as the health check of the image asks."""
    until = time.monotonic() + READY_WITHIN_S
    for role, url in urls.items():
        while (answer := httpx.get(f"{url}/readyz")).status_code != 200:
            assert time.monotonic() < until, f"{role}: {answer.text}"
            time.sleep(0.1)


@pytest.mark.slow
def test_together_they_answer_and_each_stops_in_order(tmp_path: Path) -> None:
    assert is_whole(cached_file()), "make test fetches it: python -m models.fetch"
    with started() as broker, ExitStack() as workers:

        def service(name: str) -> Process:
            # The services share a volume where the file says so: secrets and ingress.
            folder = tmp_path / ("ingress" if name == "secrets" else name)
            folder.mkdir(exist_ok=True)
            return as_process(
                name,
                folder,
                AI_ASSISTANT_KAFKA__BROKERS=broker.bootstrap,
                AI_ASSISTANT_SERVER__BIND="127.0.0.1:0",
            )

        for name in ONCE:
            once = service(name)
            done = subprocess.run(
                once.argv, env=once.env, cwd=once.folder, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
        urls: dict[str, str] = {}
        for role in ROLES:
            process = service(role)
            if "MODEL_PATH" in process.env:
                folder = Path(process.env["MODEL_PATH"])
                folder.mkdir()
                (folder / cached_file().name).symlink_to(cached_file())
            urls[role] = workers.enter_context(running(process, tmp_path / f"{role}.log"))
        wait_until_ready(urls)
        ingress = service("ingress")
        asked = [ingress.argv[0], "chat", "--url", urls["ingress"], "--once", "What is in Paris?"]
        said = subprocess.run(
            asked, env=ingress.env, cwd=ingress.folder, capture_output=True, text=True
        )
        logs = "".join(f"\n{r}: {(tmp_path / f'{r}.log').read_text()}" for r in ROLES)
        assert said.returncode == 0, said.stdout + said.stderr + logs
        assert said.stdout.strip()
