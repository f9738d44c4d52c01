"""The service `ai-core`, as the process that its container would be: it answers a message."""

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from models.fetch import cached_file, is_whole
from tests.deploy_tests.composed import as_process
from tests.host_tests.processes import Run

READY_WITHIN_S = 120


@pytest.mark.slow
def test_it_gets_ready_and_answers_with_the_model_that_its_path_names(tmp_path: Path) -> None:
    assert is_whole(cached_file()), "make test fetches it: python -m models.fetch"
    core = as_process("ai-core", tmp_path, AI_ASSISTANT_SERVER__BIND="127.0.0.1:0")
    folder = Path(core.env["MODEL_PATH"])
    folder.mkdir()
    (folder / cached_file().name).symlink_to(cached_file())
    with Run(core.env, command=core.argv).listening() as run:
        wait_until_ready(run.url)
        asked = [core.argv[0], "chat", "--url", run.url, "--once", "What is the capital of France?"]
        said = subprocess.run(asked, env=core.env, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr + run.said
        assert said.stdout.strip()
        assert run.stop() == 0
    data = core.mounts["/var/lib/ai-assistant"]
    assert (data / "log.sqlite").stat().st_size > 0
    for path in ("/etc/ai-config", "/tmp"):
        assert list(core.mounts[path].iterdir()) == []


def wait_until_ready(url: str) -> None:
    """Ask as the health check of the image does, until it is well."""
    until = time.monotonic() + READY_WITHIN_S
    while (answer := httpx.get(f"{url}/readyz")).status_code != 200:
        assert time.monotonic() < until, answer.text
        time.sleep(0.1)
