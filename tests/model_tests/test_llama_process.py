"""How the parent ends its child process, and what does not end it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.events import ModelReplied
from models.llama_cpp import LlamaCpp, LlamaSettings
from models.llama_process import kill_now
from tests.model_tests import tiny_gguf
from tests.model_tests.asking import request
from tests.model_tests.tiny_gguf import Shape


async def test_killing_a_dying_child_leaves_its_exit_code_to_asyncio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(20):
        process = await asyncio.create_subprocess_exec("sleep", "100")
        for _ in range(50):  # it dies somewhere among these
            kill_now(process)
        assert await process.wait() == -signal.SIGKILL
        kill_now(process)
    assert caplog.text == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
async def test_a_signal_to_the_whole_group_leaves_the_child_to_its_parent(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tiny_gguf.write(tmp_path / "says.gguf", Shape(says="alive"))
    runner = LlamaCpp(LlamaSettings(model_path=path, n_ctx=1024))
    await runner.start()
    try:
        pid = runner.pid
        assert pid is not None
        os.kill(pid, number)
        outcome = await runner.run(request("hello"), lambda text: None)
        assert isinstance(outcome, ModelReplied), outcome
        assert runner.pid == pid
    finally:
        await runner.close()
